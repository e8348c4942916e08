package configs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdRestarts: whatever ends the server, it is started again, however often that happens.
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

// TestSystemdUnit: systemd itself understands every line of the unit, and finds its exposure small (0 is none, 10 is
// all).
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
	self, err := os.Executable() // it must be there and executable
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
