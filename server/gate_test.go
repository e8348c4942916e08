package server

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// TestGateOrder: who may be told what depends on the order. Nobody learns anything about the server or a session before it has said who it is.
func TestGateOrder(t *testing.T) {
	var names []string
	for _, g := range gates {
		names = append(names, g.name)
	}
	if want := []string{"authenticated", "allowlist", "rates", "serving", "session state", "memory", "policy", "audit"}; !slices.Equal(names, want) {
		t.Errorf("the gates are %v, want %v", names, want)
	}
}

// TestGates: for each command, in each state of its connection, the refusal that comes first.
func TestGates(t *testing.T) {
	for _, somebody := range []bool{false, true} {
		for _, draining := range []bool{false, true} {
			for _, open := range []bool{false, true} {
				c, _ := testConn(t)
				if somebody {
					c.caller.listener.Anonymous = auth.Identity{Tenant: "test", App: "app"}
					if err := c.caller.identify(c.initial()); err != nil || c.caller.info.Identity != c.caller.listener.Anonymous {
						t.Fatal(err, c.caller.info.Identity)
					}
				}
				if draining {
					c.server.drain(errShutdown)
				}
				if open {
					c.session = &session.Session{}
				}
				for _, row := range append(builtin().rows, &Command{Name: "about", Needs: Identity}) {
					want := wire.Code("")
					switch {
					case row.Needs == Nothing:
					case !somebody:
						want = wire.NoAuth
					case row.Needs == NoSession && draining:
						want = wire.Shutdown
					case row.Needs == NoSession && open:
						want = wire.Busy
					case row.Needs == OpenSession && !open:
						want = wire.NoSession
					}
					if got := admitted(&Call{Command: row, Args: make([][]byte, row.RESP.Min), conn: c}); got != want {
						t.Errorf("%s (somebody %v, draining %v, open %v): %q, want %q", row.Name, somebody, draining, open, got, want)
					}
				}
			}
		}
	}
}

// admitted asks the gates as run does, and answers the code of the refusal.
func admitted(call *Call) wire.Code {
	for i := range gates {
		if err := gates[i].admit(call); err != nil {
			var refused *wire.Error
			if !errors.As(err, &refused) || refused.Fatal {
				return "?"
			}
			return refused.Code
		}
	}
	return ""
}

// TestNeeds: the commands that somebody without credentials may use are these, and no more without a thought.
func TestNeeds(t *testing.T) {
	var free []string
	for _, row := range builtin().rows {
		if row.Needs == Nothing {
			free = append(free, row.Name)
		}
		if (row.Needs == Nothing || row.Needs == Identity || row.Name == "abort") != (row.Access == None) {
			t.Errorf("%s needs %v and has access %v", row.Name, row.Needs, row.Access)
		}
	}
	if want := []string{"auth", "hello", "ping", "help", "quit", "echo", "select", "client", "command", "info", "reset"}; !slices.Equal(free, want) {
		t.Errorf("without credentials: %v, want %v", free, want)
	}
}

// failures counts who was not known.
type failures struct {
	Unobserved
	by []auth.Method
}

func (f *failures) AuthFailed(by auth.Method) { f.by = append(f.by, by) }

// TestGateUnknown: a client whose certificate is nobody's has failed when it relies upon it, and not when it says who it is.
func TestGateUnknown(t *testing.T) {
	app := auth.Identity{Tenant: "test", App: "app"}
	for _, says := range []auth.Identity{{}, app} {
		c, _ := testConn(t)
		seen := &failures{}
		c.observer, c.caller.certificate, c.caller.listener.Anonymous = seen, &x509.Certificate{}, app
		if grant := c.initial(); !grant.Identity.IsZero() || len(seen.by) > 0 {
			t.Fatal(grant, seen.by)
		}
		want, by := wire.Code(""), []auth.Method(nil)
		if says.IsZero() {
			want, by = wire.NoAuth, []auth.Method{auth.ByCertificate}
		} else {
			c.caller.certificate = nil
			if err := c.caller.identify(c.initial()); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if got := admitted(&Call{Command: &Command{Name: "about", Needs: Identity}, conn: c}); got != want {
				t.Errorf("as %v: %q, want %q", says, got, want)
			}
		}
		if !slices.Equal(seen.by, by) {
			t.Errorf("as %v: failures %v", says, seen.by)
		}
	}
}
