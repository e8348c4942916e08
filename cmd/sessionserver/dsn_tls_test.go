package main

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

// TestEncryptedKey checks the error for a private key with a passphrase, wherever a key is read.
func TestEncryptedKey(t *testing.T) {
	dir := t.TempDir()
	servertest.Certificate{Name: "one.example"}.Write(t, dir, "one")
	certificate, key := filepath.Join(dir, "one.pem"), filepath.Join(dir, "one.key")
	for name, block := range map[string]pem.Block{
		"PKCS #8": {Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("sealed")},
		"RFC 1421": {Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED",
			"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("sealed")},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(key, pem.EncodeToMemory(&block), 0o600); err != nil {
				t.Fatal(err)
			}
			pair := "{cert: " + certificate + ", key: " + key + "}"
			for what, text := range map[string]string{
				"tls": "tls: {certificates: [" + pair + "]}\n",
				"admin": "admin: {address: \"10.0.0.1:0\", certificate: " + certificate + ", key: " + key +
					", client_ca: " + certificate + "}\n",
			} {
				c := newCLI(t, text)
				if err := os.Mkdir(c.File(""), 0o700); err != nil {
					t.Fatal(err)
				}
				if _, stderr, status := c.Run("", "check", c.Config); status != 1 || !strings.Contains(stderr,
					"the key "+key+" has a passphrase") || strings.Contains(stderr, "no pair") {
					t.Errorf("%s: status %d\n%s", what, status, stderr)
				}
			}
			dsn := "tls://127.0.0.1:1/acme?certfile=" + certificate + "&keyfile=" + key
			if _, stderr, status := newCLI(t, "").Run(dsn, "dsn", "check", "-"); status != 1 ||
				!strings.Contains(stderr,
					"keyfile: "+key+" is encrypted with a passphrase") ||
				strings.Contains(stderr, "not reached") {
				t.Errorf("DSN: status %d\n%s", status, stderr)
			}
		})
	}
}
