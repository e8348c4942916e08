package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

// WriteFiles writes files below a folder, given by name, and makes the folders that they need. A file with the text "-"
// is removed.
func WriteFiles(t testing.TB, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(folder, name)
		if text == "-" {
			require.NoError(t, os.Remove(path))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// ReadFile returns the text of a file.
func ReadFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// WriteConfig writes a configuration for a server on a free port, where clients of this machine act as dev/app. In the
// further settings STATE is the path of a folder that does not exist yet. Without a setting of the storage, sessions
// are kept in memory: the default would be a folder of the machine. It returns the paths of both.
func WriteConfig(t testing.TB, settings string) (file, state string) {
	t.Helper()
	dir := t.TempDir()
	state = filepath.Join(dir, "state")
	if !strings.HasPrefix(settings, "storage:") && !strings.Contains(settings, "\nstorage:") {
		settings = "storage: {driver: memory}\n" + settings
	}
	text := fmt.Sprintf(`listen:
  - {name: main, address: "127.0.0.1:0", allow: [127.0.0.1], anonymous: dev/app}
%s`, strings.ReplaceAll(settings, "STATE", state))
	WriteFiles(t, dir, map[string]string{"config.yaml": text})
	return filepath.Join(dir, "config.yaml"), state
}

// Certificate describes a self-signed certificate for servers and clients. Its zero value is valid for an hour.
type Certificate struct {
	Subject   pkix.Name // default: CN=Name
	Name      string    // a DNS name
	Authority bool      // it may sign others
	NotBefore time.Time
	NotAfter  time.Time // default: in an hour
}

// Write writes the certificate to name.pem in a folder, and its key to name.key.
func (c Certificate) Write(t testing.TB, folder, name string) {
	t.Helper()
	if c.Subject.String() == "" {
		c.Subject.CommonName = c.Name
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: c.Subject, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		IsCA: c.Authority, BasicConstraintsValid: c.Authority,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if c.Name != "" {
		template.DNSNames = []string{c.Name}
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	WriteFiles(t, folder, map[string]string{
		name + ".pem": encode("CERTIFICATE", certificate), name + ".key": encode("PRIVATE KEY", pkcs8),
	})
}
