package e2e

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
)

const day = 24 * time.Hour

// TestExamine checks that serve logs the problems that check prints, word for word.
func TestExamine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servertest.Certificate{Name: "expired.example", Authority: true, NotBefore: time.Now().Add(-100 * day),
		NotAfter: time.Now().Add(-10 * day)}.Write(t, dir, "expired")
	servertest.Certificate{Name: "early.example", Authority: true, NotBefore: time.Now().Add(7 * day),
		NotAfter: time.Now().Add(100 * day)}.Write(t, dir, "early")
	servertest.Certificate{Name: "soon.example", Authority: true, NotBefore: time.Now().Add(-100 * day),
		NotAfter: time.Now().Add(5 * day)}.Write(t, dir, "soon")
	servertest.Certificate{Name: "localhost", Authority: true, NotBefore: time.Now().Add(-100 * day),
		NotAfter: time.Now().Add(-3 * day)}.Write(t, dir, "own")
	servertest.Certificate{Name: "clients", Authority: true, NotBefore: time.Now().Add(-100 * day),
		NotAfter: time.Now().Add(-2 * day)}.Write(t, dir, "clients")
	servertest.Certificate{Name: "late.example", Authority: true, NotBefore: time.Now().Add(-100 * day),
		NotAfter: time.Now().Add(-4 * day)}.
		Write(t, dir, "acme/certificates/an-issuer/late.example/late.example")
	if err := os.Rename(filepath.Join(dir, "acme/certificates/an-issuer/late.example/late.example.pem"),
		filepath.Join(dir, "acme/certificates/an-issuer/late.example/late.example.crt")); err != nil {
		t.Fatal(err)
	}
	servertest.WriteFiles(t, dir, map[string]string{
		"tenants.d/acme.yaml":          "allow: [::1]\nhosts: [acme.example]\napps:\n  shop:\n    role: readwrite\n",
		"policies/p.rego":              "package sessionserver.authz\n\nallow := true\n",
		"policies/tenants/gone/p.rego": "package sessionserver.tenant\n\nallow := true\n",
		"admin-token":                  strings.Repeat("t", 40) + "\n", "audit.log": "", "dns": "#!/bin/sh\nexit 1\n",
		"config.yaml": strings.ReplaceAll(`listen: [{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8],
  client_certificates: optional, client_ca: DIR/clients.pem}]
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
	out, stderr, status := newCLI(t, "").Run("", "check", file)
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
		if !strings.Contains(stderr, strings.ReplaceAll(text, "DIR", dir)) {
			t.Errorf("the output of check lacks %q", text)
		}
	}
	if t.Failed() {
		t.Logf("check prints\n%s", stderr)
	}

	s := serve(t, "--config", file)
	defer s.stop()
	var logged []string
	for lines := bufio.NewScanner(strings.NewReader(s.log())); lines.Scan(); {
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
	for line := range strings.Lines(stderr) {
		if !strings.Contains(text, line) {
			t.Errorf("serve does not log %s", line)
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
			t.Errorf("serve does not log %q", note)
		}
	}
	if t.Failed() {
		t.Logf("serve logs\n%s", text)
	}
}

// TestStoragePrivate checks that the storage is accessible to its owner only, with every driver and umask. A folder
// that was accessible to others is closed.
func TestStoragePrivate(t *testing.T) {
	for _, driver := range drivers(t) {
		if driver == "memory" {
			continue
		}
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			file, state := servertest.WriteConfig(t, "storage: {driver: "+driver+", path: STATE}\n")
			if err := os.MkdirAll(filepath.Join(state, "lost+found"), 0o755); err != nil {
				t.Fatal(err)
			}
			servertest.WriteFiles(t, state, map[string]string{"DRIVER": driver + "\n"})
			for _, path := range []string{state, filepath.Join(state, "DRIVER")} {
				if err := os.Chmod(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, stderr, status := newCLI(t, "").Run("", "check", file); status != 1 ||
				!strings.Contains(stderr, "storage.path: other users of this machine may use the folder "+state+" "+
					"(mode -rwxr-xr-x)") ||
				!strings.Contains(stderr, "are not for their owner alone, 2 of them") {
				t.Errorf("check: status %d\n%s", status, stderr)
			}
			wrapper := filepath.Join(t.TempDir(), "wrapper")
			if err := os.WriteFile(wrapper, []byte("#!/bin/sh\numask 000\nexec \""+binary()+"\" \"$@\"\n"),
				0o700); err != nil {
				t.Fatal(err)
			}
			s := serveWith(t, wrapper, "--config", file)
			c := servertest.Connect(t, s.addr)
			for range 20 {
				for _, line := range []string{"new", "put k " + strings.Repeat("v", 1000), "close"} {
					c.OK(line)
				}
			}
			private(t, state)
			if !strings.Contains(s.log(), "the storage was open to other users of this machine and is not any "+
				"more") {
				t.Errorf("the change is not logged:\n%s", s.log())
			}
			s.stop()
			private(t, state)
			if out, stderr, status := newCLI(t, "").Run("", "check", file); status != 0 {
				t.Errorf("check afterwards: status %d\n%s%s", status, out, stderr)
			}
		})
	}
}

// private fails for everything in a folder that is accessible to others.
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

// drivers returns the names of all storage drivers, as check lists them.
func drivers(t *testing.T) []string {
	t.Helper()
	file, _ := servertest.WriteConfig(t, "storage: {driver: unknown}\n")
	_, stderr, _ := newCLI(t, "").Run("", "check", file)
	list := regexp.MustCompile(`storage\.driver: .*\(allowed: (.+)\)`).FindStringSubmatch(stderr)
	if list == nil {
		t.Fatalf("check does not list the drivers:\n%s", stderr)
	}
	return strings.Split(list[1], ", ")
}
