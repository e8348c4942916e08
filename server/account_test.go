package server

import (
	"errors"
	"io"
	"strings"
	"testing"

	"sessionserver/auth"
)

// identified returns the account of a connection that acts as test/app, in turn.
func identified(t *testing.T) *account {
	t.Helper()
	c, _ := testConn(t)
	c.caller.listener.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	if err := c.caller.identify(c.initial()); err != nil {
		t.Fatal(err)
	}
	c.account.enter()
	return &c.account
}

// TestTurnRestored: after a wait a connection has its turn if it had it before, whether the wait failed or not. So what
// follows a save that the store refuses is charged to the tenant, and a connection without a turn gets none.
func TestTurnRestored(t *testing.T) {
	for _, want := range []error{nil, errors.New("refused")} {
		for name, wait := range map[string]func(*account, func() error) error{
			"blocking":   (*account).blocking,
			"save":       func(a *account, run func() error) error { return a.save(10, run) },
			"large save": func(a *account, run func() error) error { return a.save(bulkSize, run) },
		} {
			a := identified(t)
			err := wait(a, func() error {
				if a.inTurn() {
					t.Errorf("%s: the function runs in turn", name)
				}
				return want
			})
			if err != want || !a.inTurn() {
				t.Errorf("%s: error = %v, want %v; in turn afterwards: %t, want true", name, err, want, a.inTurn())
			}
			a.exitBulk()
			a.exit()
		}
		a := identified(t)
		a.exit()
		if err := a.blocking(func() error { return want }); err != want || a.inTurn() {
			t.Errorf("error = %v, want %v; a connection without a turn has one: %t", err, want, a.inTurn())
		}
	}
}

// TestReceive: a connection that has received something continues in turn. One that has received nothing does not.
func TestReceive(t *testing.T) {
	for n, err := range map[int]error{0: io.EOF, 5: nil} {
		a := identified(t)
		moved := a.moved
		got, gotErr := a.receive(strings.NewReader(strings.Repeat("x", n)), make([]byte, 8))
		if got != n || gotErr != err || a.inTurn() != (n > 0) || a.moved != moved+n {
			t.Errorf("receive = %d, %v; in turn %t, moved %d; want %d, %v",
				got, gotErr, a.inTurn(), a.moved-moved, n, err)
		}
		a.exit()
	}
}
