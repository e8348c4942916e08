package php_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPHPUnit runs the tests in PHP, which start their own servers.
func TestPHPUnit(t *testing.T) {
	t.Parallel()
	program(t, "php")
	phpunit := program(t, "phpunit")
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	protocol, err := filepath.Abs("../../wire/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(phpunit, "-c", "tests/phpunit.xml")
	cmd.Env = append(os.Environ(), "SESSIONSERVER_BINARY="+binary, "SESSIONSERVER_PROTOCOL="+protocol)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("phpunit: %v\n%s", err, out)
	}
}

// TestSyntax verifies the syntax of every PHP file, also of those that no test loads.
func TestSyntax(t *testing.T) {
	t.Parallel()
	php := program(t, "php")
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".php" {
			return err
		}
		if out, err := exec.Command(php, "-l", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
