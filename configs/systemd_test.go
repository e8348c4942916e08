package configs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdRestarts checks that the server is restarted after every end, without a limit.
func TestSystemdRestarts(t *testing.T) {
	unit, err := os.ReadFile("systemd/sessionserver.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nRestart=always\n", "\nRestartSec=1\n", "\nStartLimitIntervalSec=0\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
}

// TestSystemdUnit checks that systemd accepts every line of the unit, and rates its exposure at most 2 of 10.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("SESSIONSERVER_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("systemd-analyze is not installed (Debian: systemd)")
	}
	unit, err := os.ReadFile("systemd/sessionserver.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // an existing executable, which verify requires
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sessionserver.service")
	text := strings.ReplaceAll(string(unit), "/usr/local/bin/sessionserver", self)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", "--recursive-errors=no", file},
		{"security", "--offline=yes", "--threshold=20", "--no-pager", file}} {
		out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
