package servertest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Everything reports whether no test may be skipped for what this machine lacks, as in make test.
func Everything() bool { return os.Getenv("SESSIONSERVER_TEST_ALL") != "" }

// Program returns the path of a program that a test needs. Without the program the test is skipped, unless no test may
// be.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && !Everything() {
		t.Skipf("needs %s; make setup installs it", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Build builds the program as users have it and returns its path in a folder. It also stats every source file below
// root, the folder of the module, so that a change to one of them invalidates the cached results of the tests: Go does
// not track the sources of the programs that tests run.
func Build(root, folder string) (string, error) {
	err := filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if ext := filepath.Ext(file); err == nil && (ext == ".go" || ext == ".php" || ext == ".mod") {
			_, err = os.Stat(file)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "sessionserver")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", program,
		"sessionserver/cmd/sessionserver")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}
