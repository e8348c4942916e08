package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
