package app

import (
	"strings"
	"testing"

	"sessionserver/configs"
)

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
