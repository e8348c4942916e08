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

// TestGateOrder checks the order of the gates. It determines what a client learns: nothing about the server or a
// session before it has authenticated.
func TestGateOrder(t *testing.T) {
	var names []string
	for _, g := range gates {
		names = append(names, g.name)
	}
	if want := []string{"authenticated", "allowlist", "rates", "serving", "session state", "memory", "policy",
		"audit"}; !slices.Equal(names, want) {
		t.Errorf("the gates are %v, want %v", names, want)
	}
}

// TestGates checks the first refusal of each command in each state of its connection.
func TestGates(t *testing.T) {
	for _, identified := range []bool{false, true} {
		for _, draining := range []bool{false, true} {
			for _, open := range []bool{false, true} {
				c, _ := testConn(t)
				if identified {
					c.caller.listener.Anonymous = auth.Identity{Tenant: "test", App: "app"}
					if err := c.caller.identify(c.initial()); err != nil ||
						c.caller.info.Identity != c.caller.listener.Anonymous {
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
					case !identified:
						want = wire.NoAuth
					case row.Needs == NoSession && draining:
						want = wire.Shutdown
					case row.Needs == NoSession && open:
						want = wire.Busy
					case row.Needs == OpenSession && !open:
						want = wire.NoSession
					}
					if got := admitted(&Call{Command: row, Args: make([][]byte, row.RESP.Min), conn: c}); got != want {
						t.Errorf("%s (identified %v, draining %v, open %v): %q, want %q", row.Name, identified,
							draining, open, got, want)
					}
				}
			}
		}
	}
}

// admitted runs the gates as run does, and returns the code of the refusal.
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

// TestNeeds checks the commands that an unauthenticated client may run. An addition to this list needs thought.
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
	if want := []string{"auth", "hello", "ping", "help", "quit", "echo", "select", "client", "command", "info",
		"reset"}; !slices.Equal(free, want) {
		t.Errorf("without credentials: %v, want %v", free, want)
	}
}

// failures records failed authentications.
type failures struct {
	Unobserved
	by []auth.Method
}

func (f *failures) AuthFailed(by auth.Method) { f.by = append(f.by, by) }

// TestGateUnknown checks that a client with an unknown certificate has failed when it relies on the certificate, and
// not when it authenticates by a command.
func TestGateUnknown(t *testing.T) {
	app := auth.Identity{Tenant: "test", App: "app"}
	for _, identity := range []auth.Identity{{}, app} {
		c, _ := testConn(t)
		failed := &failures{}
		c.observer, c.caller.certificate, c.caller.listener.Anonymous = failed, &x509.Certificate{}, app
		if grant := c.initial(); !grant.Identity.IsZero() || len(failed.by) > 0 {
			t.Fatal(grant, failed.by)
		}
		want, by := wire.Code(""), []auth.Method(nil)
		if identity.IsZero() {
			want, by = wire.NoAuth, []auth.Method{auth.ByCertificate}
		} else {
			c.caller.certificate = nil
			if err := c.caller.identify(c.initial()); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if got := admitted(&Call{Command: &Command{Name: "about", Needs: Identity}, conn: c}); got != want {
				t.Errorf("as %v: %q, want %q", identity, got, want)
			}
		}
		if !slices.Equal(failed.by, by) {
			t.Errorf("as %v: failures %v", identity, failed.by)
		}
	}
}
