package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/configs"
)

// writeValid writes a certificate for a name that is valid from and until these times from now, and its key.
func writeValid(t *testing.T, dir, file, name string, from, until time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		BasicConstraintsValid: true,
		NotBefore:             time.Now().Add(from), NotAfter: time.Now().Add(until),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{
		file + ".pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		file + ".key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	})
}

const day = 24 * time.Hour

// TestExamine: what check finds on a machine, serve logs, word for word.
func TestExamine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeValid(t, dir, "expired", "expired.example", -100*day, -10*day)
	writeValid(t, dir, "early", "early.example", 7*day, 100*day)
	writeValid(t, dir, "soon", "soon.example", -100*day, 5*day)
	writeValid(t, dir, "own", "localhost", -100*day, -3*day)
	writeValid(t, dir, "clients", "clients", -100*day, -2*day)
	writeValid(t, dir, "acme/certificates/an-issuer/late.example/late.example", "late.example", -100*day, -4*day)
	if err := os.Rename(filepath.Join(dir, "acme/certificates/an-issuer/late.example/late.example.pem"),
		filepath.Join(dir, "acme/certificates/an-issuer/late.example/late.example.crt")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{
		"tenants.d/acme.yaml":          "allow: [::1]\nhosts: [acme.example]\napps:\n  shop:\n    role: readwrite\n",
		"policies/p.rego":              "package sessionserver.authz\n\nallow := true\n",
		"policies/tenants/gone/p.rego": "package sessionserver.tenant\n\nallow := true\n",
		"admin-token":                  strings.Repeat("t", 40) + "\n", "audit.log": "", "dns": "#!/bin/sh\nexit 1\n",
		"config.yaml": strings.ReplaceAll(`listen: [{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8], client_certificates: optional,
  client_ca: DIR/clients.pem}]
public_address: tls://sessions.example:9090
tenants: DIR/tenants.d
storage: {path: DIR/sessions}
policy: {folder: DIR/policies}
audit: {output: DIR/audit.log}
admin: {address: "127.0.0.1:0", token_file: DIR/admin-token, certificate: DIR/own.pem, key: DIR/own.key}
tls:
  certificates:
    - {cert: DIR/expired.pem, key: DIR/expired.key}
    - {cert: DIR/early.pem, key: DIR/early.key}
    - {cert: DIR/soon.pem, key: DIR/soon.key}
  acme: {names: [late.example, new.example], agree_terms: true, directory: "https://127.0.0.1:1/",
    storage: DIR/acme, dns_program: DIR/dns}
`, "DIR", dir),
	})
	for path, mode := range map[string]fs.FileMode{
		"config.yaml": 0o666, "tenants.d": 0o777, "tenants.d/acme.yaml": 0o666, "policies/p.rego": 0o666,
		"admin-token": 0o644, "expired.key": 0o604,
		"early.pem": 0o666, "clients.pem": 0o666, "audit.log": 0o644,
		"acme/certificates/an-issuer/late.example/late.example.key": 0o644, "dns": 0o777,
	} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config.yaml")
	out, said, status := newCLI(t, "").run("", "check", file)
	if status != 1 {
		t.Errorf("status %d\n%s", status, out)
	}
	want := []string{
		"tls.certificates[0]: DIR/expired.pem: the certificate expired 10 days ago, at ",
		"tls.certificates[0]: other users of this machine may read or write DIR/expired.key (mode -rw----r--): chmod " +
			"o= ",
		"tls.certificates[1]: DIR/early.pem: the certificate is not valid before ", "6 days from now",
		"tls.certificates[1]: other users of this machine may write DIR/early.pem (mode -rw-rw-rw-): chmod o-w ",
		"DIR/clients.pem: the authority CN=clients expired 2 days ago", "may write DIR/clients.pem",
		"admin.certificate: DIR/own.pem: the certificate expired 3 days ago", "may read or write DIR/admin-token ",
		"tls.acme.names: the certificate of late.example expired 4 days ago and was not renewed", "may write DIR/dns ",
		"may read or write DIR/acme/certificates/an-issuer/late.example/late.example.key ",
		"public_address: no certificate is for sessions.example: ",
		"config.yaml: other users of this machine may write DIR/config.yaml",
		"tenants: other users of this machine may write DIR/tenants.d ",
		"DIR/tenants.d/acme.yaml: other users of this machine may write it, and so let themselves in",
		"policy.folder: other users of this machine may write DIR/policies/p.rego ",
	}
	for _, text := range want {
		if !strings.Contains(said, strings.ReplaceAll(text, "DIR", dir)) {
			t.Errorf("check does not say %q", text)
		}
	}
	if t.Failed() {
		t.Logf("it says\n%s", said)
	}

	s := serve(t, "--config", file)
	defer s.stop()
	var logged []string
	for lines := bufio.NewScanner(strings.NewReader(s.logged())); lines.Scan(); {
		var entry struct{ Level, Msg, Problem string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Level == "ERROR" {
			logged = append(logged, entry.Problem)
		} else if entry.Level == "WARN" {
			logged = append(logged, entry.Msg)
		}
	}
	text := strings.Join(logged, "\n") + "\n"
	for line := range strings.Lines(said) {
		if !strings.Contains(text, line) {
			t.Errorf("check says and serve does not: %s", line)
		}
	}
	for _, note := range []string{
		"DIR/soon.pem: the certificate expires in 4 days, at ",
		"new.example has no certificate yet: the server obtains it while it runs",
		"tenant acme names hosts that no certificate is for: acme.example",
		"app acme/shop has neither a secret nor a certificate",
		"there are policies in tenants/gone, and no tenant gone",
		"other users of this machine may read DIR/audit.log (mode -rw-r--r--)",
	} {
		if !strings.Contains(text, strings.ReplaceAll(note, "DIR", dir)) {
			t.Errorf("serve does not note %q", note)
		}
	}
	if t.Failed() {
		t.Logf("it logs\n%s", text)
	}
}

// TestExaminePublicAddress: the name that DSNs have must be that of a certificate, unless a balancer may do TLS.
func TestExaminePublicAddress(t *testing.T) {
	dir := t.TempDir()
	writeValid(t, dir, "one", "*.one.example", -day, 100*day)
	files := "tls: {certificates: [{cert: " + dir + "/one.pem, key: " + dir + "/one.key}]}\n"
	acme := func(names string) string {
		return "tls: {acme: {names: [" + names + "], agree_terms: true, storage: " + dir +
			"/acme, dns_program: /bin/true}}\n"
	}
	for _, row := range []struct {
		text           string
		problem, noted bool
	}{
		{"public_address: tls://sessions.one.example\n" + files, false, false},
		{"public_address: tls://SESSIONS.one.example:9090\n" + files, false, false},
		{"public_address: tls://one.example\n" + files, true, false},
		{"public_address: tls://192.0.2.1\n" + files, true, false},
		{"public_address: tcp://192.0.2.1\n" + files, false, false},
		{"public_address: tls://a.example\n" + acme("b.example, a.example"), false, false},
		{"public_address: tls://a.b.example\n" + acme(`"*.b.example"`), false, false},
		{"public_address: tls://a.a.b.example\n" + acme(`"*.b.example"`), true, false},
		{"public_address: tls://anything\ntls: {local_ca: " + dir + "/ca}\n", false, false},
		{"public_address: tls://anything\n", false, true},
		{"listen: [{address: \"127.0.0.1:0\", allow: [::1], proxies: [::1]}]\npublic_address: tls://anything\n" + files,
			false, true},
	} {
		cfg, err := configs.Parse("c.yaml", []byte("storage: {driver: memory}\n"+row.text))
		if err != nil {
			t.Fatalf("%s: %v", row.text, err)
		}
		found := examine(cfg, new(configs.Tenants), time.Now())
		if got := strings.Contains(fmt.Sprint(found.problems),
			"public_address: no certificate is for"); got != row.problem {
			t.Errorf("%s: problems %v", row.text, found.problems)
		}
		if got := strings.Contains(fmt.Sprint(found.notes), "public_address"); got != row.noted {
			t.Errorf("%s: notes %q", row.text, found.notes)
		}
	}
}

// TestStoragePrivate: the storage is for its owner alone, with every driver and umask, and a folder that was open
// before is closed.
func TestStoragePrivate(t *testing.T) {
	for driver := range drivers {
		if driver == "memory" {
			continue
		}
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			file, state := config(t, "storage: {driver: "+driver+", path: STATE}\n")
			if err := os.MkdirAll(filepath.Join(state, "lost+found"), 0o755); err != nil {
				t.Fatal(err)
			}
			writeFiles(t, state, map[string]string{"DRIVER": driver + "\n"})
			for _, path := range []string{state, filepath.Join(state, "DRIVER")} {
				if err := os.Chmod(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, said, status := newCLI(t, "").run("", "check", file); status != 1 ||
				!strings.Contains(said, "storage.path: other users of this machine may use the folder "+state+" "+
					"(mode -rwxr-xr-x)") ||
				!strings.Contains(said, "are not for their owner alone, 2 of them") {
				t.Errorf("check: status %d\n%s", status, said)
			}
			wrapper := filepath.Join(t.TempDir(), "wrapper")
			if err := os.WriteFile(wrapper, []byte("#!/bin/sh\numask 000\nexec \""+binary()+"\" \"$@\"\n"),
				0o700); err != nil {
				t.Fatal(err)
			}
			s := serveWith(t, wrapper, "--config", file)
			c := mustConnect(t, s.addr)
			for range 20 {
				for _, line := range []string{"new", "put k " + strings.Repeat("v", 1000), "close"} {
					c.mustAsk(t, line)
				}
			}
			private(t, state)
			if !strings.Contains(s.logged(), "the storage was open to other users of this machine and is not any "+
				"more") {
				t.Errorf("it is not logged:\n%s", s.logged())
			}
			s.stop()
			private(t, state)
			if out, said, status := newCLI(t, "").run("", "check", file); status != 0 {
				t.Errorf("check after it: status %d\n%s%s", status, out, said)
			}
		})
	}
}

// private fails for anything in a folder that is not for its owner alone.
func private(t *testing.T, folder string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) { // the server has removed it
			return nil
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files: %v", files, err)
	}
}
