package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
)

// auditLine is a line of an audit log.
type auditLine struct {
	Event, Tenant, App, Address, Listener, Session, Command, Reason, Detail string

	Connection uint64
	Port       uint16
	Count      int64
}

// auditLog opens an audit log in a file. lines returns its lines.
func auditLog(t testing.TB, o audit.Options) (l *audit.Log, lines func() []auditLine) {
	t.Helper()
	if o.Output == "" {
		o.Output = filepath.Join(t.TempDir(), "audit.log")
	}
	l, err := audit.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, func() (all []auditLine) {
		text, err := os.ReadFile(o.Output)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var r auditLine
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			all = append(all, r)
		}
		return all
	}
}

// client is a connection that uses line framing.
type client struct {
	net.Conn
	in *bufio.Reader
}

func newClient(t testing.TB, s *servertest.Server) *client {
	t.Helper()
	nc, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &client{nc, bufio.NewReader(nc)}
}

// ask returns the reply of the server, or the error that ended the connection.
func (c *client) ask(t testing.TB, line string) string {
	t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return err.Error()
	}
	reply, err := c.in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(reply)
}

// want sends a line whose reply must begin with want.
func (c *client) want(t testing.TB, line, want string) string {
	t.Helper()
	got := c.ask(t, line)
	if !strings.HasPrefix(got, want) {
		t.Fatalf("%.40s: got %q, want %s", line, got, want)
	}
	return got
}

func hashed(id string) string { return fmt.Sprintf("%x", session.Hash([]byte(id))) }

// TestAuditBeforeReply checks that an event is in the log before the client has the reply, with all its fields and no
// others.
func TestAuditBeforeReply(t *testing.T) {
	log, lines := auditLog(t, audit.Options{})
	s := servertest.Start(t, servertest.Config{Options: server.Options{Audit: log}})
	c := newClient(t, s)
	last := func(event, command, id, reason string) {
		t.Helper()
		all := lines()
		got := all[len(all)-1]
		_, port, _ := net.SplitHostPort(c.LocalAddr().String())
		want := auditLine{Event: event, Tenant: "test", App: "app", Address: "127.0.0.1", Listener: "test",
			Connection: 1, Command: command, Reason: reason, Detail: got.Detail, Port: got.Port}
		if id != "" {
			want.Session = hashed(id)
		}
		if got != want || fmt.Sprint(got.Port) != port {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	id := strings.TrimPrefix(c.want(t, "new", "ok "), "ok ")
	last("connection.authenticated", "", "", "anonymous")
	c.want(t, "put user.name secret-name", "ok")
	c.want(t, "commit", "ok")
	last("session.created", "commit", id, "")
	c.want(t, "close", "ok")
	c.want(t, "open "+id, "ok")
	c.want(t, "put a b", "ok")
	moved := strings.TrimPrefix(c.want(t, "regenerate_id 10", "ok "), "ok ")
	last("session.regenerated", "regenerate_id", id, "")
	if all := lines(); !strings.Contains(all[len(all)-1].Detail, hashed(moved)) {
		t.Errorf("%+v lacks the hash of the new id", all[len(all)-1])
	}
	c.want(t, "close", "ok")
	before := len(lines())
	other := newClient(t, s)
	other.want(t, "open "+moved, "ok")
	c.want(t, "open "+moved+" rw 0", "err LOCKTIMEOUT")
	last("session.lock_timeout", "open", moved, "")
	other.want(t, "destroy", "ok")
	all := lines()
	if got := all[len(all)-1]; len(all) != before+3 || got.Event != "session.destroyed" ||
		got.Session != hashed(moved) || got.Connection != 2 {
		t.Errorf("got %+v", all[before:])
	}
	own := "a-visitor-with-a-cookie-of-his-own"
	c.want(t, "open "+own, "ok")
	c.want(t, "close", "ok")
	last("session.created", "close", own, "")
}

// recovered receives when a log is writable again.
type recovered chan struct{}

func (r recovered) Recovered()               { r <- struct{}{} }
func (recovered) Written(audit.Code)         {}
func (recovered) Flushed(int, time.Duration) {}
func (recovered) Failed(error)               {}
func (recovered) Troubled(error)             {}
func (recovered) Lost(int)                   {}

// TestAuditUnwritable checks that commands are refused while the log cannot be written, except those that close a
// session. An operation that could not be recorded has an error as its reply, and is counted when the log recovers.
func TestAuditUnwritable(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(folder, "audit.log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// The name is a link to a device that is always full, or to a file.
	turn := func(to string) {
		t.Helper()
		if err := os.Symlink(to, path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	full, good := "/dev/full", filepath.Join(folder, "good")
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no /dev/full")
	}
	for _, onFailure := range []audit.OnFailure{audit.Refuse, audit.Continue} {
		t.Run(string(onFailure), func(t *testing.T) {
			turn(good)
			well := make(recovered, 10)
			log, lines := auditLog(t, audit.Options{Output: path, OnFailure: onFailure, Observer: well})
			s := servertest.Start(t, servertest.Config{Options: server.Options{Audit: log},
				Tenants: []server.Tenant{servertest.Tenant("test/app", "secret")}})
			refused := func(code string) string {
				if onFailure == audit.Continue {
					return "ok"
				}
				return "err " + code
			}
			holder, reader, c := newClient(t, s), newClient(t, s), newClient(t, s)
			id := "the-session-that-is-there-" + string(onFailure)
			c.want(t, "open "+id, "ok")
			c.want(t, "close", "ok")
			reader.want(t, "open "+id+" r", "ok")
			holder.want(t, "open another-"+id, "ok")
			c.want(t, "open "+id+"-2", "ok")
			turn(full)
			if err := log.Reopen(); err != nil {
				t.Fatal(err)
			}
			// This command detects the failure. The session is saved, and the reply reports that this is possible.
			if got := c.want(t, "close", refused("UNAVAILABLE")); onFailure == audit.Refuse &&
				!strings.Contains(got, "may have been carried out") {
				t.Errorf("got %q", got)
			}
			for line, want := range map[string]string{
				"new": "UNAVAILABLE", "ping": "", "whoami": "", "auth test/app secret": "UNAVAILABLE",
			} {
				if want == "" {
					c.want(t, line, "ok")
					continue
				}
				c.want(t, line, refused(want))
				if onFailure == audit.Continue && line == "new" {
					c.want(t, "abort", "ok")
				}
			}
			holder.want(t, "put a b", refused("UNAVAILABLE"))
			holder.want(t, "close", refused("UNAVAILABLE"))
			if onFailure == audit.Refuse {
				holder.want(t, "abort", "ok")
			}
			reader.want(t, "get a", map[bool]string{true: "err NOKEY",
				false: "err UNAVAILABLE"}[onFailure == audit.Continue])
			reader.want(t, "close", "ok")
			stranger := newClient(t, s)
			stranger.want(t, "ping", refused("UNAVAILABLE"))
			holder.want(t, "quit", "ok")

			turn(good)
			if err := log.Reopen(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-well:
			case <-time.After(2 * time.Minute):
				t.Fatal("the log has not recovered")
			}
			c.want(t, "open "+id+"-2 u", "ok")
			c.want(t, "destroy", "ok")
			all := lines()
			lost := slices.IndexFunc(all, func(r auditLine) bool { return r.Event == "audit.lost" })
			if lost < 0 || all[lost].Count < 1 || !strings.Contains(all[lost].Detail, "no space left") ||
				all[len(all)-1].Event != "session.destroyed" {
				t.Errorf("got %+v", all)
			}
		})
	}
}

// TestAuditUnrecorded checks that a client whose authentication could not be recorded gets no identity, even if its
// credentials are valid.
func TestAuditUnrecorded(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no /dev/full")
	}
	for _, line := range []string{"auth test/app secret", "reset"} {
		path := filepath.Join(t.TempDir(), "audit.log")
		log, _ := auditLog(t, audit.Options{Output: path})
		s := servertest.Start(t, servertest.Config{
			Options: server.Options{Audit: log},
			Tenants: []server.Tenant{servertest.Tenant("test/app", "secret"), servertest.Tenant("other/app", "secret")},
		})
		c := newClient(t, s)
		c.want(t, "auth other/app secret", "ok")
		if err := errors.Join(os.Remove(path), os.Symlink(full, path), log.Reopen()); err != nil {
			t.Fatal(err)
		}
		c.want(t, line, "err UNAVAILABLE the audit log could not be written")
		if got := c.ask(t, "whoami"); strings.HasPrefix(got, "ok") || strings.HasPrefix(got, "err ") {
			t.Errorf("%s: the connection continues: %s", line, got)
		}
	}
}

// denying denies a command, with a reason.
type denying struct{ command string }

func (d denying) Decide(_ context.Context, in *policy.Input) (policy.Decision, error) {
	if in.Command == d.command {
		return policy.Decision{Reasons: []string{"not today"}}, nil
	}
	return policy.Decision{Allow: true}, nil
}

// TestAuditFlood checks that repeated denials of an app, and repeated logins of a connection, are counted and do not
// fill the log.
func TestAuditFlood(t *testing.T) {
	log, lines := auditLog(t, audit.Options{})
	s := servertest.Start(t, servertest.Config{
		Options: server.Options{Audit: log, Policy: denying{"put"}, ErrorBudget: 2000},
		Tenants: []server.Tenant{servertest.Tenant("test/app", "secret")},
	})
	c := newClient(t, s)
	for range 10 {
		c.want(t, "auth test/app secret", "ok")
	}
	c.want(t, "new", "ok")
	const attempts = 1000
	start := time.Now()
	for range attempts {
		c.want(t, "put a b", "err DENIED")
	}
	took := time.Since(start)
	_ = c.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	denied, events, logins := 0, int64(0), 0
	for _, l := range lines() {
		switch l.Event {
		case "operation.denied":
			denied++
			events += max(l.Count, 1)
		case "connection.authenticated":
			logins++
		}
	}
	if most := 100 + int(11*(took.Seconds()+1)) + 1; events != attempts || denied < 100 || denied > most {
		t.Errorf("%d denials in %d lines (100 to %d allowed)", events, denied, most)
	}
	if logins != 2 { // without a command, and with its secret
		t.Errorf("%d authentications recorded, want 2", logins)
	}
}

// TestAuditGates checks the code and the audit event of the refusal of each gate, in the order of the gates. A gate
// without an event has a reason.
func TestAuditGates(t *testing.T) {
	named := server.Listen{Name: "named", Allow: servertest.Loopback}
	elsewhere := servertest.Tenant("test/app", "secret")
	elsewhere.Access = auth.Allowlist{}
	slow := servertest.Tenant("test/app", "secret")
	slow.Rates.App = server.Rate{PerSecond: 1e-9, Burst: server.BurstMin}
	small := servertest.Tenant("test/app", "secret")
	small.MaxMemory = 1
	gates := []struct {
		gate    string
		tenant  server.Tenant
		policy  policy.Engine
		listen  server.Listen
		play    func(t *testing.T, s *servertest.Server, c *client)
		event   string // "" for none
		because string // reason for no event
		reason  string
	}{
		{gate: "authenticated", listen: named, because: "an unauthenticated client has done nothing",
			play: func(t *testing.T, _ *servertest.Server, c *client) { c.want(t, "new", "err NOAUTH") }},
		{gate: "allowlist", tenant: elsewhere, event: "operation.denied", reason: "allowlist",
			play: func(t *testing.T, _ *servertest.Server, c *client) { c.want(t, "new", "err IPDENIED") }},
		{gate: "rates", tenant: slow, event: "operation.rate_limited", reason: "app",
			play: func(t *testing.T, _ *servertest.Server, c *client) {
				for range 4 {
					c.want(t, "open a-session-that-is-not-there u", "err NOTFOUND")
				}
				c.want(t, "new", "err RATELIMITED")
			}},
		{gate: "serving", because: "a shutdown is not an event of a client",
			play: func(t *testing.T, s *servertest.Server, c *client) {
				c.want(t, "new", "ok")
				go func() { _ = s.Shutdown(context.Background()) }()
				// The open session keeps its connection; a second one is refused.
				for deadline := time.Now().Add(time.Minute); ; {
					if _, err := s.Dial(t.Context()); err != nil || time.Now().After(deadline) {
						break
					}
				}
				c.want(t, "new", "err SHUTDOWN")
				if got := c.ask(t, "abort"); got != "ok" {
					t.Errorf("got %q", got)
				}
			}},
		{gate: "session state", because: "a mistake of the client",
			play: func(t *testing.T, _ *servertest.Server, c *client) { c.want(t, "get a", "err NOSESSION") }},
		{gate: "memory", tenant: small, event: "operation.quota", reason: "memory",
			play: func(t *testing.T, s *servertest.Server, c *client) {
				c.want(t, "new", "ok")
				for i := 0; ; i++ { // whose requests are small
					if got := c.ask(t, fmt.Sprintf("put %d %s", i, strings.Repeat("x", 3<<10))); got != "ok" {
						if !strings.HasPrefix(got, "err QUOTA") {
							t.Errorf("got %q", got)
						}
						break
					}
				}
			}},
		{gate: "policy", policy: denying{"new"}, event: "operation.denied", reason: "policy",
			play: func(t *testing.T, _ *servertest.Server, c *client) { c.want(t, "new", "err DENIED not today") }},
		{gate: "audit", because: "the log cannot be written; see TestAuditUnwritable",
			play: func(*testing.T, *servertest.Server, *client) {}},
	}
	var order []string
	for _, g := range gates {
		order = append(order, g.gate)
		t.Run(g.gate, func(t *testing.T) {
			log, lines := auditLog(t, audit.Options{})
			cfg := servertest.Config{Listen: g.listen, Options: server.Options{Audit: log, Policy: g.policy}}
			if g.tenant.Name != "" {
				cfg.Tenants = []server.Tenant{g.tenant}
			}
			s := servertest.Start(t, cfg)
			g.play(t, s, newClient(t, s))
			ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
			defer cancel()
			_ = s.Shutdown(ctx)                 // flushes the aggregated events
			if err := log.Close(); err != nil { // writes them
				t.Fatal(err)
			}
			var refusals []auditLine
			for _, r := range lines() {
				if strings.HasPrefix(r.Event, "operation.") {
					refusals = append(refusals, r)
				}
			}
			switch {
			case g.event == "" && (len(refusals) > 0 || g.because == ""):
				t.Errorf("got %+v", refusals)
			case g.event != "" && (len(refusals) != 1 || refusals[0].Event != g.event ||
				refusals[0].Reason != g.reason || refusals[0].Tenant != "test" || refusals[0].Command == ""):
				t.Errorf("got %+v, want %s for %s", refusals, g.event, g.reason)
			}
		})
	}
	if all := server.Gates(); !slices.Equal(order, all[:len(all)-1]) { // the last is not a gate
		t.Errorf("the gates are %v", all)
	}
}

// BenchmarkAuditedCycle measures the most expensive cycle, that of a visitor's first request: it creates and saves a
// session, which is one event.
func BenchmarkAuditedCycle(b *testing.B) {
	for _, mode := range []string{"off", "file", "file+sync"} {
		b.Run(mode, func(b *testing.B) {
			var opts server.Options
			if mode != "off" {
				opts.Audit, _ = auditLog(b, audit.Options{Sync: mode == "file+sync"})
			}
			s := servertest.Start(b, servertest.Config{Options: opts})
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				c := newClient(b, s)
				for pb.Next() {
					if _, err := io.WriteString(c, "new\r\nput data 0123456789\r\nclose\r\n"); err != nil {
						b.Error(err)
						return
					}
					for range 3 {
						if reply, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(reply, "ok") {
							b.Errorf("%q %v", reply, err)
							return
						}
					}
				}
			})
		})
	}
}
