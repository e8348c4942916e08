package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDevCA: another user can read the certificate that the DSN of the dev server names, wherever the state lies, and
// nothing else.
func TestDevCA(t *testing.T) {
	for name, above := range map[string]os.FileMode{"an open folder": 0o755, "a closed folder": 0o700} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			temp := filepath.Join(t.TempDir(), "temp")
			if err := os.Mkdir(temp, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, folder := range []string{dir, filepath.Dir(dir), filepath.Dir(temp),
				temp} { // those for tests are closed at first
				if err := os.Chmod(folder, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			home := filepath.Join(dir, "home")
			if err := os.Mkdir(home, above); err != nil {
				t.Fatal(err)
			}
			t.Setenv("TMPDIR", temp)
			state := filepath.Join(home, "state")
			s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
			caOf := func(text string) string {
				t.Helper()
				dsn, err := url.Parse(regexp.MustCompile(`tls://\S+`).FindString(text))
				if err != nil || dsn.Query().Get("cafile") == "" {
					t.Fatalf("no DSN with cafile: %v\n%s", err, text)
				}
				return dsn.Query().Get("cafile")
			}
			eventually(t, "the DSN is printed", func() bool { return strings.Contains(s.printed(), "cafile=") })
			ca := caOf(s.printed())
			if !readableByOthers(ca) || !othersRead(t, ca) {
				t.Errorf("others cannot read %s", ca)
			}
			if inState := strings.HasPrefix(ca, state); inState != (above == 0o755) {
				t.Errorf("the certificate is %s", ca)
			}
			out, said, status := newCLI(t, "").run("", "app", "create", "dev/more", "--dev", "--state", state)
			if status != 0 || caOf(out) != ca {
				t.Errorf("app create: status %d, its DSN names another file than %s\n%s%s", status, ca, out, said)
			}
			if _, said, status := newCLI(t, "").run(strings.TrimSpace(out), "dsn", "check", "-"); status != 0 {
				t.Errorf("the DSN does not work:\n%s", said)
			}
			for _, secret := range []string{"secret", "ca/ca-key.pem", "tenants.d/dev.yaml", "address"} {
				if readableByOthers(filepath.Join(state, secret)) || othersRead(t, filepath.Join(state, secret)) {
					t.Errorf("others can read %s", secret)
				}
			}
			private(t, filepath.Join(state, "sessions"))
			s.stop()
			again := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
			eventually(t, "the DSN is printed", func() bool { return strings.Contains(again.printed(), "cafile=") })
			if caOf(again.printed()) != ca {
				t.Errorf("after a restart the DSN names %s, not %s", caOf(again.printed()), ca)
			}
			again.stop()
		})
	}
}

// othersRead tries to read a file as the user nobody. Without the right to become one it reports what modes say.
func othersRead(t *testing.T, file string) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return readableByOthers(file)
	}
	cmd := exec.Command("cat", file)
	becomeNobody(cmd)
	return cmd.Run() == nil
}

// TestDevCATaken: a folder that somebody else has made where the certificate would be copied to is not used.
func TestDevCATaken(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	own := filepath.Join(dir, "own.pem")
	writeFiles(t, dir, map[string]string{"own.pem": "a certificate"})
	taken := filepath.Dir(publicCA([]byte("a certificate")))
	if filepath.Dir(taken) != dir {
		t.Fatalf("the copy is made in %s", taken)
	}
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err != nil {
		t.Errorf("a folder of one's own: %v", err)
	}
	if err := os.Chmod(taken, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err == nil {
		t.Error("a folder that everybody may write is taken for one's own")
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, taken); err != nil {
		t.Fatal(err)
	}
	if err := ours(taken, own); err == nil {
		t.Error("a link is taken for one's own folder")
	}
}
