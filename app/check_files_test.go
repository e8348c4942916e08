package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/configs"
)

// TestCheckWritable checks that a folder that the user may not write is a problem.
func TestCheckWritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	for _, path := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b")} {
		if _, err := usable(path); err == nil || !strings.Contains(err.Error(), dir+" is not writable for user") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestSharedLog checks that check notes a file that both logs share. A syslog may be shared.
func TestSharedLog(t *testing.T) {
	for output, want := range map[string]bool{"./audit.log": true, "stdout": false, "syslog": false,
		"syslog:udp://192.0.2.1:514": false, "syslog:unix:/dev/log": false} {
		cfg := configs.Default()
		cfg.Audit.Output, cfg.Audit.Decisions.Output = output, output
		if got := strings.Contains(strings.Join(notes(&cfg), "\n"), "the decision log shares the file"); got != want {
			t.Errorf("%s: %v, want %v", output, got, want)
		}
	}
}
