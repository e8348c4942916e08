package server_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/wire"
)

// handlers returns commands as others may write them, some of them faulty.
func handlers() []server.Command {
	row := func(name string, run func(*server.Call) error) server.Command {
		return server.Command{
			Name: name, Help: "is for a test", Needs: server.Identity, Access: server.None, Cost: 1, Run: run,
		}
	}
	return []server.Command{
		row("nothing", func(c *server.Call) error { return nil }),
		row("twice", func(c *server.Call) error {
			c.Reply.OK()
			c.Reply.Int(1)
			return nil
		}),
		row("too_few", func(c *server.Call) error {
			c.Reply.Array(2)
			c.Reply.Text("one")
			return nil
		}),
		row("panics", func(c *server.Call) error { panic("the secret of /var/lib") }),
		row("dereferences", func(c *server.Call) error {
			var none *server.Command
			c.Reply.Text(none.Name)
			return nil
		}),
		row("half", func(c *server.Call) error {
			c.Reply.Array(2)
			c.Reply.Text("one")
			return errors.New("the secret of /var/lib")
		}),
		row("refuses", func(c *server.Call) error {
			c.Reply.OK()
			return wire.Errorf(wire.Quota, "remove some first")
		}),
		row("half_panics", func(c *server.Call) error {
			c.Reply.Array(2)
			c.Reply.Text("one")
			panic("the secret of /var/lib")
		}),
	}
}

// observer records commands and the reasons for the ends of connections.
type observer struct {
	server.Unobserved
	commands chan server.CommandInfo
	closed   chan server.CloseReason
}

func newObserver() *observer {
	return &observer{commands: make(chan server.CommandInfo, 100), closed: make(chan server.CloseReason, 100)}
}

func (o *observer) ConnOpened(server.ConnInfo) server.ConnObserver { return o }
func (o *observer) Closed(reason server.CloseReason)               { o.closed <- reason }
func (o *observer) CommandRan(info server.CommandInfo)             { o.commands <- info }

// TestBadHandlers checks that a fault of a handler has one error without details as its reply, and is logged and
// observed. Only a panic ends the connection.
func TestBadHandlers(t *testing.T) {
	for command, row := range map[string]struct {
		want   string // beginning of the reply, without err or -
		logged string
		ends   bool
	}{
		"nothing": {"INTERNAL internal error; the server's log has it as ", "did not send exactly one reply",
			false},
		"twice": {"INTERNAL internal error; the server's log has it as ", "did not send exactly one reply",
			false},
		"too_few": {"INTERNAL internal error; the server's log has it as ", "did not send exactly one reply",
			false},
		"half":    {"INTERNAL internal error; the server's log has it as ", "the secret of /var/lib", false},
		"refuses": {"QUOTA remove some first", "", false},
		"panics": {"INTERNAL internal error and the connection is closed; the server's log has it as ",
			"the secret of /var/lib", true},
		"dereferences": {"INTERNAL internal error and the connection is closed; the server's log has it as ",
			"nil pointer", true},
		"half_panics": {"INTERNAL internal error and the connection is closed; the server's log has it as ",
			"the secret of /var/lib", true},
	} {
		for framing, request := range map[string]struct{ text, prefix, ping, pong string }{
			"line": {command + "\r\n", "err ", "ping\r\n", "ok PONG"},
			"resp": {string(wire.AppendRequest(nil, command)), "-", "*1\r\n$4\r\nping\r\n", "+PONG"},
		} {
			t.Run(command+" "+framing, func(t *testing.T) {
				t.Parallel()
				var logged servertest.Buffer
				observed := newObserver()
				s := servertest.Start(t, servertest.Config{Options: server.Options{
					Commands: handlers(), Observer: observed, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
				}})
				p := dial(t, s)
				p.Send(request.ping + request.text + request.ping) // earlier replies stay, even if unsent
				p.Want(request.pong)
				rest := p.Want(request.prefix + row.want)
				if row.ends {
					p.Closed()
					if reason := <-observed.closed; reason != server.Failed {
						t.Errorf("it was closed for %v", reason)
					}
				} else {
					p.Want(request.pong)
				}
				if row.logged != "" && (!strings.Contains(logged.String(), row.logged) ||
					!strings.Contains(logged.String(), "error_id="+rest)) {
					t.Errorf("log without %q or %q: %s", row.logged, rest, &logged)
				}
				if strings.Contains(logged.String(), "stack=") != row.ends {
					t.Errorf("log with a stack, but without a panic: %s", &logged)
				}
				<-observed.commands // ping
				code, _, _ := strings.Cut(row.want, " ")
				if info := <-observed.commands; info.Command != command || string(info.Outcome) != code ||
					info.Framing.String() != framing {
					t.Errorf("observed: %+v", info)
				}
			})
		}
	}
}

// TestPanicReleases checks that a panic of a handler drops unsaved changes and releases the lock, without an effect
// on other connections.
func TestPanicReleases(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Options: server.Options{Commands: handlers()}})
	a, b := dial(t, s), dial(t, s)
	id := a.Ask("new", "ok ")
	a.Ask("put foo saved", "ok")
	a.Ask("close", "ok")
	a.Ask("open "+id, "ok")
	a.Ask("put foo dropped", "ok")
	b.Ask("ping", "ok PONG")
	b.Send("open " + id + " rw 60000\r\n")
	a.Ask("panics", "err INTERNAL ")
	b.Want("ok")
	b.Ask("get foo", "ok saved")
	a.Closed()
	dial(t, s).Ask("ping", "ok PONG")
}

// panicking is a store that panics in the middle of a save.
type panicking struct{ storage.Store }

func (panicking) Put(context.Context, storage.Key, storage.Record) error { panic("in the store") }

// TestStorePanics checks that a save that panics releases the lock that it has pinned.
func TestStorePanics(t *testing.T) {
	for _, save := range []string{"close", "commit", "destroy"} {
		t.Run(save, func(t *testing.T) {
			store := memory.New(memory.Options{})
			t.Cleanup(func() { _ = store.Close() })
			s := servertest.Start(t, servertest.Config{Store: panicking{store}})
			a, b := dial(t, s), dial(t, s)
			id := a.Ask("new", "ok ")
			b.Ask("ping", "ok PONG")
			b.Send("open " + id + " rw 60000\r\n")
			a.Ask(save, "err INTERNAL ")
			a.Closed()
			b.Want("ok")
		})
	}
}

// failing is a store that cannot write.
type failing struct{ storage.Store }

func (failing) Put(context.Context, storage.Key, storage.Record) error {
	return errors.New("/var/lib/secret: no space left on device")
}

// TestStoreFails checks that a failed save can be retried and has dropped no changes.
func TestStoreFails(t *testing.T) {
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	var logged servertest.Buffer
	s := servertest.Start(t, servertest.Config{Store: failing{store},
		Options: server.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))}})
	p := dial(t, s)
	p.Ask("new", "ok ")
	p.Ask("put foo bar", "ok")
	for range 3 {
		id := p.Ask("close", "err UNAVAILABLE the storage failed; try again later; the server's log has it as ")
		if !strings.Contains(logged.String(), "error_id="+id) ||
			!strings.Contains(logged.String(), "no space left on device") {
			t.Errorf("the log: %s", &logged)
		}
		p.Ask("get foo", "ok bar")
	}
}
