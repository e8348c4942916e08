package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

// tree is what lies in a folder, with modes, sizes and times.
func tree(t *testing.T, folder string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCheckFiles checks that check examines the files and folders that a configuration names, and changes nothing.
func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	servertest.Certificate{Name: "one.example"}.Write(t, dir, "one")
	servertest.Certificate{Name: "two.example"}.Write(t, dir, "two")
	if err := os.Chmod(filepath.Join(dir, "two.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	servertest.Certificate{Name: "test", Authority: true}.Write(t, dir, "ca")
	write("file", "", 0o600)
	write("files/DRIVER", "file\n", 0o600)
	write("tenants.d/acme.yaml", "allow: [::1]\n", 0o666)
	if err := os.Chmod(filepath.Join(dir, "tenants.d"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nothing", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	const listener = "listen: [{name: a, address: \":1\", allow: [::1], client_certificates: optional, client_ca: DIR/"
	for name, row := range map[string]struct {
		text   string
		status int
		want   []string
	}{
		"no certificate": {"storage: {driver: memory}\ntls:\n" +
			"  certificates: [{cert: DIR/none.pem, key: DIR/none.key}]\n", 1,
			[]string{"c.yaml:3: tls.certificates[0]: ", "DIR/none.pem: no such file"}},
		"no key": {"storage: {driver: memory}\ntls: {certificates: [{cert: DIR/ca.pem, key: DIR/none.key}]}\n", 1,
			[]string{"DIR/none.key: no such file"}},
		"no pair": {"storage: {driver: memory}\ntls: {certificates: [{cert: DIR/one.pem, key: DIR/two.key}]}\n", 1,
			[]string{"DIR/one.pem and DIR/two.key do not match"}},
		"a key for all": {"storage: {driver: memory}\ntls: {certificates: [{cert: DIR/two.pem, key: DIR/two.key}]}\n",
			1, []string{
				"tls.certificates[0]: other users of this machine may read or write DIR/two.key (mode -rw-r--r--): " +
					"chmod o= "}},
		"no client CA": {"storage: {driver: memory}\ntls: {local_ca: DIR/ca}\n" + listener + "none.pem}]\n", 1,
			[]string{"c.yaml:3: listen[0].client_ca: ", "DIR/none.pem: no such file"}},
		"client CA": {"storage: {driver: memory}\ntls: {local_ca: DIR/ca}\n" + listener + "file}]\n", 1,
			[]string{"DIR/file: certificate not found in it"}},
		"ACME roots": {"storage: {driver: memory}\ntls: {acme: {names: [a.example], agree_terms: true, " +
			"storage: DIR/acme, ca_roots: DIR/none.pem}}\n", 1, []string{"tls.acme.ca_roots: "}},
		"ACME storage": {"storage: {driver: memory}\ntls: {acme: {names: [a.example], agree_terms: true, " +
			"storage: DIR/file}}\n", 1,
			[]string{"tls.acme.storage: DIR/file cannot be used: DIR/file is not a folder"}},
		"local CA": {"storage: {driver: memory}\ntls: {local_ca: DIR/file/ca}\n", 1,
			[]string{"tls.local_ca: DIR/file/ca cannot be used: stat DIR/file/ca: not a directory"}},
		"storage below": {"log: {level: info}\nstorage: {path: DIR/file/sessions}\n", 1,
			[]string{"c.yaml:2: storage.path: DIR/file/sessions cannot be used: "}},
		"storage a file": {"storage: {path: DIR/file}\n", 1,
			[]string{"storage.path: DIR/file cannot be used: DIR/file is not a folder"}},
		"storage a link": {"storage: {path: DIR/link}\n", 1, []string{"storage.path: DIR/link is a link to nothing"}},
		"storage of other": {"storage: {path: DIR/files}\n", 1,
			[]string{"storage.path: the folder DIR/files belongs to driver file, not log"}},
		"storage unmade": {"storage: {path: DIR/new/sessions}\n", 0,
			[]string{"note: neither DIR/new/sessions nor the folder around it exists: the server creates both",
				": OK"}},
		"no folder for a log": {"storage: {driver: memory}\naudit: {output: DIR/none/audit.log}\n", 1,
			[]string{"c.yaml:2: audit.output: the folder DIR/none does not exist: create it, writable for the user " +
				"that the server runs as"}},
		"a log in a file": {"storage: {driver: memory}\naudit: {decisions: {output: DIR/file/audit.log}}\n", 1,
			[]string{"audit.decisions.output: DIR/file is not a folder"}},
		"a log is a folder": {"storage: {driver: memory}\naudit: {output: DIR/tenants.d}\n", 1,
			[]string{"audit.output: DIR/tenants.d is neither a file nor a device"}},
		"no such event": {"storage: {driver: memory}\naudit: {output: DIR/audit.log, events: [all, -session.made]}\n",
			1,
			[]string{"audit.events[1]: unknown event \"-session.made\" (allowed: all, the code of an event"}},
		"a log": {"storage: {driver: memory}\naudit: {output: DIR/audit.log, decisions: {output: DIR/audit.log}}\n", 0,
			[]string{"note: the decision log shares the file of the audit log, DIR/audit.log: ", ": OK"}},
		"no tenants yet": {"storage: {driver: memory}\ntenants: DIR/none\n", 1,
			[]string{"c.yaml:2: tenants: the folder DIR/none does not exist: create it, or the first tenant with it: " +
				"sessionserver tenant create"}},
		"all at once": {"storage: {path: DIR/file}\ntenants: DIR/none\n" +
			"tls: {certificates: [{cert: DIR/none.pem, key: DIR/none.key}]}\n", 1,
			[]string{"storage.path: ", "tls.certificates[0]: ",
				"c.yaml:2: tenants: the folder DIR/none does not exist: create it, or the first tenant with it: "}},
		"open": {"storage: {path: DIR/sessions}\ntenants: DIR/tenants.d\ntls: {local_ca: DIR/ca}\n", 1,
			[]string{"c.yaml:2: tenants: other users of this machine may write DIR/tenants.d (mode -rwxrwxrwx): " +
				"chmod o-w ",
				"DIR/tenants.d/acme.yaml: other users of this machine may write it, and so let themselves in (mode " +
					"-rw-rw-rw-)"}},
	} {
		t.Run(name, func(t *testing.T) {
			write("c.yaml", strings.ReplaceAll(row.text, "DIR", dir), 0o600)
			before := tree(t, dir)
			out, stderr, status := newCLI(t, "").Run("", "check", filepath.Join(dir, "c.yaml"))
			if status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			for _, want := range row.want {
				if !strings.Contains(out+stderr, strings.ReplaceAll(want, "DIR", dir)) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if after := tree(t, dir); after != before {
				t.Errorf("it changed something:\n%s\nwas:\n%s", after, before)
			}
			if t.Failed() {
				t.Logf("the output is:\n%s%s", out, stderr)
			}
		})
	}
}
