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

// TestNotices: the log hears of refusals that concern an operator, and no client can fill it with them.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, logged := testConn(t)
		lines := func() int { return strings.Count(logged.String(), "\n") }
		for range 100 {
			c.server.notices.refused(c, "auth", wire.BadAuth)
		}
		if n := lines(); n != 10 {
			t.Errorf("of 100 there are %d lines", n)
		}
		c.server.notices.refused(c, "put", wire.Quota) // other kinds have their own
		c.server.notices.refused(c, "get", wire.NoKey) // and of what is no refusal nothing is said
		if n := lines(); n != 11 || !strings.Contains(logged.String(), "code=QUOTA command=put") {
			t.Errorf("%d lines:\n%s", n, logged)
		}
		time.Sleep(time.Second)
		c.server.notices.refused(c, "auth", wire.BadAuth)
		if !strings.Contains(logged.String(), "not_logged_before=90") {
			t.Errorf("nobody hears of those between:\n%s", logged)
		}
	})
}

// TestNoticesOfFailures: commands that fail are no way of filling the log either. A client is told of an id if the log has it, and only then.
func TestNoticesOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, logged := testConn(t)
		for _, err := range []error{fmt.Errorf("%w: save: no space", session.ErrStore), errors.New("a fault"), &panicked{value: "a fault"}} {
			time.Sleep(time.Minute)
			logged.Reset()
			told := 0
			for range 100 {
				_, id, found := strings.Cut(c.refusalOf("close", err).reply.Message, "the server's log has it as ")
				if found && strings.Contains(logged.String(), "error_id="+id) {
					told++
				}
			}
			if lines := strings.Count(logged.String(), "command failed"); lines != 10 || told != lines {
				t.Errorf("%v: of 100 there are %d lines, %d clients are told an id of theirs", err, lines, told)
			}
		}
	})
}

// TestEveryLineIsANotice: what this package logs above the debug level is caused by peers, and goes through notices.
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
				t.Errorf("%s:%d logs a line that nothing throttles: %s", file, i+1, line)
			}
		}
	}
}
