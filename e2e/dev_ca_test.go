package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/server/servertest/require"
)

// TestDevCA checks that another user can read the certificate that the DSN of serve --dev names, wherever the state is,
// and nothing else.
func TestDevCA(t *testing.T) {
	for name, above := range map[string]os.FileMode{"an open folder": 0o755, "a closed folder": 0o700} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			temp := filepath.Join(t.TempDir(), "temp")
			if err := os.Mkdir(temp, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, folder := range []string{dir, filepath.Dir(dir), filepath.Dir(temp),
				temp} { // the folders of tests are private at first
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
			require.Eventually(t, "the DSN is printed", func() bool { return strings.Contains(s.stdout(), "cafile=") })
			ca := caOf(s.stdout())
			if !openToOthers(t, ca) || !othersRead(t, ca) {
				t.Errorf("others cannot read %s", ca)
			}
			if inState := strings.HasPrefix(ca, state); inState != (above == 0o755) {
				t.Errorf("the certificate is %s", ca)
			}
			out, stderr, status := newCLI(t, "").Run("", "app", "create", "dev/more", "--dev", "--state", state)
			if status != 0 || caOf(out) != ca {
				t.Errorf("app create: status %d, its DSN names another file than %s\n%s%s", status, ca, out, stderr)
			}
			if _, stderr, status := newCLI(t, "").Run(strings.TrimSpace(out), "dsn", "check", "-"); status != 0 {
				t.Errorf("the DSN does not work:\n%s", stderr)
			}
			for _, secret := range []string{"secret", "ca/ca-key.pem", "tenants.d/dev.yaml", "address"} {
				if openToOthers(t, filepath.Join(state, secret)) || othersRead(t, filepath.Join(state, secret)) {
					t.Errorf("others can read %s", secret)
				}
			}
			private(t, filepath.Join(state, "sessions"))
			s.stop()
			again := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
			require.Eventually(t, "the DSN is printed", func() bool {
				return strings.Contains(again.stdout(), "cafile=")
			})
			if caOf(again.stdout()) != ca {
				t.Errorf("after a restart the DSN names %s, not %s", caOf(again.stdout()), ca)
			}
			again.stop()
		})
	}
}

// othersRead reads a file as the user nobody. A test that may not become another user reports what the modes allow.
func othersRead(t *testing.T, file string) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return openToOthers(t, file)
	}
	cmd := exec.Command("cat", file)
	becomeNobody(cmd)
	return cmd.Run() == nil
}

// openToOthers reports whether the modes of a file and of the folders above it let every user read it.
func openToOthers(t *testing.T, file string) bool {
	t.Helper()
	file, err := filepath.EvalSymlinks(file)
	require.NoError(t, err)
	for path, needed := file, os.FileMode(0o004); ; path, needed = filepath.Dir(path), 0o001 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		if info.Mode().Perm()&needed == 0 {
			return false
		}
		if path == filepath.Dir(path) {
			return true
		}
	}
}
