package throttle

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandler: each place that logs has ten lines at once and one a second, whatever its attributes; debug lines are
// not throttled.
func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		log := slog.New(NewHandler(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
		count := func(what string) int { return strings.Count(logged.String(), "msg="+what+" ") }
		one := func(i int) { log.With("i", i).WithGroup("g").Error("one", "and", "more") }
		for i := range 100 {
			one(i)
			log.Info("two", "i", i)
			log.Debug("three", "i", i)
		}
		if a, b, c := count("one"), count("two"), count("three"); a != 10 || b != 10 || c != 100 {
			t.Errorf("of 100 lines there are %d, %d and, at debug level, %d", a, b, c)
		}
		time.Sleep(time.Second)
		one(0)
		if !strings.Contains(logged.String(), Skipped+"=90") {
			t.Errorf("no line reports how many are missing:\n%s", &logged)
		}
		if strings.Count(logged.String(), Skipped) != 1 {
			t.Error("a line with none skipped before it reports skipped lines")
		}
	})
}
