//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package app

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// closedFolder is the environment variable of a process of a user that may not write a folder.
const closedFolder = "CHECK_WRITABLE_FOLDER"

// TestCheckWritable checks that a folder that the user may not write is a problem. Root may write everywhere, so the
// test of root is run by another user.
func TestCheckWritable(t *testing.T) {
	dir := os.Getenv(closedFolder)
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "closed")
		if err := os.Mkdir(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			asNobody(t, dir)
			return
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b")} {
		if _, err := usable(path); err == nil || !strings.Contains(err.Error(), dir+" is not writable for user") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// asNobody runs the present test in a process of a user without rights.
func asNobody(t *testing.T, dir string) {
	t.Helper()
	const nobody = 65534
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(filepath.Dir(dir), "test") // the folder of exe may be closed to others
	parent := filepath.Dir(filepath.Dir(dir))
	err = errors.Join(os.WriteFile(own, binary, 0o755), os.Chmod(own, 0o755), os.Chmod(parent, 0o755),
		os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o555))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(own, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{closedFolder + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("as user %d: %v\n%s", nobody, err, output)
	}
}
