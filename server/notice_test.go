package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/session"
	"sessionserver/wire"
)

// TestNotices checks that refusals that concern an operator are logged, and that no client can fill the log with
// them.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, logged := testConn(t)
		lines := func() int { return strings.Count(logged.String(), "\n") }
		for range 100 {
			c.server.notices.refused(c, "auth", wire.BadAuth)
		}
		if n := lines(); n != 10 {
			t.Errorf("100 refusals have %d lines", n)
		}
		c.server.notices.refused(c, "put", wire.Quota) // other kinds have their own throttle
		c.server.notices.refused(c, "get", wire.NoKey) // not a refusal that is logged
		if n := lines(); n != 11 || !strings.Contains(logged.String(), "code=QUOTA command=put") {
			t.Errorf("%d lines:\n%s", n, logged)
		}
		time.Sleep(time.Second)
		c.server.notices.refused(c, "auth", wire.BadAuth)
		if !strings.Contains(logged.String(), "not_logged_before=90") {
			t.Errorf("log without the number of skipped lines:\n%s", logged)
		}
	})
}

// TestNoticesOfFailures checks that failed commands cannot fill the log. A client gets an id if and only if the log
// has it.
func TestNoticesOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, logged := testConn(t)
		for _, err := range []error{fmt.Errorf("%w: save: no space", session.ErrStore), errors.New("a fault"),
			&panicked{value: "a fault"}} {
			time.Sleep(time.Minute)
			logged.Reset()
			ids := 0
			for range 100 {
				_, id, found := strings.Cut(c.refusalOf("close", err).reply.Message, "the server's log has it as ")
				if found && strings.Contains(logged.String(), "error_id="+id) {
					ids++
				}
			}
			if lines := strings.Count(logged.String(), "command failed"); lines != 10 || ids != lines {
				t.Errorf("%v: 100 failures have %d lines and %d replies with an id", err, lines, ids)
			}
		}
	})
}

// TestEveryLineIsANotice checks that this package logs lines above the debug level only through notices, since peers
// can cause them.
func TestEveryLineIsANotice(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	loud := regexp.MustCompile(`(?i)log(ger)?\.(Info|Warn|Error|Log|LogAttrs)\(`)
	for _, file := range files {
		if file == "notice.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if loud.MatchString(line) {
				t.Errorf("%s:%d logs a line without a throttle: %s", file, i+1, line)
			}
		}
	}
}
