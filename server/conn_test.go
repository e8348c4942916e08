package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
)

// dial connects to a server until the end of the test.
func dial(t *testing.T, s *servertest.Server) *servertest.Conn {
	t.Helper()
	return servertest.Connect(t, s.Addr)
}

// TestBadInput sends invalid input. Each row has its replies, and a connection that must continue works as before.
func TestBadInput(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	for name, row := range map[string]struct {
		send string
		want []string // beginnings of the lines of the reply
		ends bool     // the server closes the connection
	}{
		"unknown command": {send: "frobnicate 1 2\r\n",
			want: []string{`err UNKNOWN unknown command "frobnicate"`}},
		"unknown in RESP": {send: "*1\r\n$4\r\nfrob\r\n", want: []string{"-UNKNOWN "}},
		"unprintable command": {send: "\x01\xff\x7f\r\n",
			want: []string{`err UNKNOWN unknown command "\x01\xff\x7f"`}},
		"endless command name":     {send: big[:60<<10] + "\r\n", want: []string{"err UNKNOWN "}},
		"empty line":               {send: "\r\n", want: []string{"err UNKNOWN "}},
		"space before the command": {send: " ping\r\n", want: []string{"err UNKNOWN "}},
		"missing argument":         {send: "open\r\n", want: []string{"err BADARG usage: open id"}},
		"extra argument":           {send: "keys please\r\n", want: []string{"err BADARG usage: keys"}},
		"extra arguments in RESP": {send: "*3\r\n$4\r\nkeys\r\n$1\r\na\r\n$1\r\nb\r\n",
			want: []string{"-BADARG usage: keys"}},
		"HTTP POST": {send: "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nnew\r\n",
			want: []string{"err PROTOCOL "}, ends: true},
		"HTTP GET": {send: "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nnew\r\n",
			want: []string{"err NOSESSION ", "err PROTOCOL "}, ends: true},
		"NUL in a line": {send: "ping a\x00b\r\n", want: []string{"err BINARY "}},
		"CR in a line":  {send: "ping a\rb\r\n", want: []string{"err BINARY "}},
		"line too long": {send: "get " + big + "\r\n", want: []string{"err TOOLARGE "}},
		"line far too long": {send: "get " + strings.Repeat(big, 20) + "\r\n",
			want: []string{"err TOOLARGE "}},
		"value too long": {send: "put k " + strings.Repeat(big, 20) + "\r\n",
			want: []string{"err TOOLARGE "}},
		"two lines, the first too long": {send: "get " + big + "\r\nping\r\n",
			want: []string{"err TOOLARGE ", "ok PONG"}},
		"empty array":     {send: "*0\r\n", want: []string{"-PROTOCOL "}},
		"negative array":  {send: "*-1\r\n", want: []string{"-PROTOCOL "}, ends: true},
		"negative length": {send: "*1\r\n$-5\r\n", want: []string{"-PROTOCOL "}, ends: true},
		"length of 2 GB": {send: "*2\r\n$4\r\nping\r\n$2147483648\r\n", want: []string{"-TOOLARGE "},
			ends: true},
		"length beyond 64 bits": {send: "*1\r\n$99999999999999999999999\r\n", want: []string{"-"}, ends: true},
		"length not a number":   {send: "*1\r\n$four\r\n", want: []string{"-PROTOCOL "}, ends: true},
		"count not a number":    {send: "*one\r\n", want: []string{"-PROTOCOL "}, ends: true},
		"a billion arguments":   {send: "*1000000000\r\n", want: []string{"-TOOLARGE "}, ends: true},
		"3,000 arguments": {send: "*3000\r\n" + strings.Repeat("$1\r\nx\r\n", 3000),
			want: []string{"-TOOLARGE "}},
		"bulk without CRLF": {send: "*1\r\n$4\r\npingXX", want: []string{"-PROTOCOL "}, ends: true},
		"bulk of 1 MiB and a byte": {send: "*2\r\n$4\r\nping\r\n$1048577\r\n" + strings.Repeat("x", 1<<20+1) + "\r\n",
			want: []string{"-TOOLARGE "}},
		"id too short":       {send: "open abc\r\n", want: []string{"err BADID "}},
		"id with a path":     {send: "open ../../../etc/passwd r\r\n", want: []string{"err NOTFOUND "}},
		"short id with path": {send: "open ../x\r\n", want: []string{"err BADID "}},
		"id with a control":  {send: "open 0123456789abcde\x7f\r\n", want: []string{"err BADID "}},
		"id too long":        {send: "open " + strings.Repeat("a", 257) + "\r\n", want: []string{"err BADID "}},
		"unknown mode":       {send: "open 0123456789abcdef x\r\n", want: []string{"err BADARG "}},
		"negative wait":      {send: "open 0123456789abcdef rw -1\r\n", want: []string{"err BADARG "}},
		"endless wait":       {send: "open 0123456789abcdef rw 600001\r\n", want: []string{"err BADARG "}},
		"wait overflows": {send: "open 0123456789abcdef rw 99999999999999999999\r\n",
			want: []string{"err BADARG "}},
		"lifetime of nothing": {send: "new 0\r\n", want: []string{"err BADARG "}},
		"get without session": {send: "get foo\r\n", want: []string{"err NOSESSION "}},
		"line after RESP":     {send: "*1\r\n$4\r\nPING\r\nping\r\n", want: []string{"+PONG", "ok PONG"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, servertest.Start(t, servertest.Config{}))
			p.Send(row.send)
			for _, want := range row.want {
				p.Want(want)
			}
			if row.ends {
				p.Closed()
			} else {
				p.Ask("ping", "ok PONG")
			}
		})
	}
}

// TestBadInputLosesNothing sends invalid input in an open session and then saves it.
func TestBadInputLosesNothing(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{}))
	id := p.Ask("new", "ok ")
	p.Ask("put foo bar", "ok")
	p.Ask("put "+strings.Repeat("k", 257)+" v", "err BADKEY ")
	p.Ask("put big "+strings.Repeat("x", 1<<20+1), "err TOOLARGE ")
	p.Send("*3\r\n$3\r\nput\r\n$2\r\nnl\r\n$3\r\na\nb\r\n")
	p.Want("+OK")
	p.Ask("get nl", "err BINARY ")
	p.Send("*2\r\n$3\r\nget\r\n$2\r\nnl\r\n")
	p.Want("$3")
	p.Want("a")
	p.Want("b")
	p.Send("*3\r\n$3\r\nput\r\n$3\r\na|b\r\n$1\r\n1\r\n")
	p.Want("+OK")
	p.Ask("keys", "err BINARY ")
	p.Ask("get a b", "err BADKEY ")
	p.Send("*4\r\n$3\r\nput\r\n$3\r\nfoo\r\n$1\r\n2\r\n$4\r\nodd!\r\n")
	p.Want("-BADARG ")
	p.Send("*5\r\n$3\r\nput\r\n$3\r\nfoo\r\n$1\r\n2\r\n$1\r\n\x00\r\n$1\r\n3\r\n")
	p.Want("-BADKEY ")
	p.Ask("get foo", "ok bar")
	p.Ask("put_all a:1:{s:3:\"foo\";a:0:{}}", "err BADARG ")
	p.Ask("close", "ok")
	p.Ask("open "+id+" r", "ok")
	p.Ask("get foo", "ok bar")
}

// TestLargeReply checks that a small request cannot cause a very large reply.
func TestLargeReply(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{}))
	p.Ask("new", "ok ")
	p.Ask("put k "+strings.Repeat("x", 1<<20), "ok")
	p.Send("*6\r\n$3\r\nget\r\n" + strings.Repeat("$1\r\nk\r\n", 5))
	p.Want("-TOOLARGE ")
	p.Ask("ping", "ok")
}

// TestUnauthenticatedLimits checks that an unauthenticated client has small limits, and the normal ones once it has
// authenticated.
func TestUnauthenticatedLimits(t *testing.T) {
	s := servertest.Start(t, servertest.Config{
		Listen:  server.Listen{Name: "strict", Allow: servertest.Loopback},
		Tenants: []server.Tenant{servertest.Tenant("a/app", "secret")},
	})
	p := dial(t, s)
	p.Ask("ping "+strings.Repeat("x", 5<<10), "err TOOLARGE ")
	p.Send("*3\r\n$4\r\necho\r\n$1\r\nx\r\n$5000\r\n" + strings.Repeat("x", 5000) + "\r\n")
	p.Want("-TOOLARGE ")
	p.Send("*6\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$5\r\na/app\r\n$6\r\nsecret\r\n$4\r\nJUNK\r\n")
	p.Want("-BADARG ")
	p.Ask("new", "err NOAUTH ") // a refused HELLO has no effect
	p.Ask("auth a/app wrong", "err BADAUTH ")
	p.Ask("auth a/app secret", "ok")
	id := p.Ask("new", "ok ")
	p.Ask("auth a/app secret", "err BUSY ")
	p.Ask("put k "+strings.Repeat("x", 100<<10), "ok")
	p.Ask("close", "ok")
	p.Send("reset\r\n")
	p.Want("ok RESET")
	p.Ask("open "+id, "err NOAUTH ")
	p.Ask("ping "+strings.Repeat("x", 5<<10), "err TOOLARGE ")
	p.Send("*2\r\n$6\r\nclient\r\n$7\r\ngetname\r\n*4\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$7\r\nSETNAME\r\n$65\r\n" +
		strings.Repeat("n", 65) + "\r\n")
	p.Want("$0")
	p.Want("")
	p.Want("-BADARG ")
}

// TestPipeline sends many requests at once and reads the replies afterwards. All of them arrive, in order.
func TestPipeline(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{}))
	const n = 20_000
	go func() {
		var b bytes.Buffer
		b.WriteString("new\r\n")
		for i := range n {
			fmt.Fprintf(&b, "put k%d %d\r\nget k%d\r\n", i%50, i, i%50)
		}
		b.WriteString("close\r\n")
		_, _ = p.Write(b.Bytes()) // a failure shows in the replies
	}()
	p.Want("ok ")
	for i := range n {
		p.Want("ok")
		p.Want(fmt.Sprintf("ok %d", i))
	}
	p.Want("ok")
}

// TestErrorBudget checks that a connection with only errors is closed, and that its last reply reports that.
func TestErrorBudget(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{Options: server.Options{ErrorBudget: 3}}))
	for range 2 {
		for range 3 {
			p.Ask("mistake", "err UNKNOWN ")
		}
		for range 3 {
			p.Ask("ping", "ok")
		}
	}
	for range 3 {
		p.Ask("mistake", "err UNKNOWN ")
	}
	if rest := p.Ask("mistake", "err UNKNOWN "); !strings.Contains(rest, "closed") {
		t.Errorf("last reply does not report the end of the connection: %q", rest)
	}
	p.Closed()
}

// TestTLSClient checks that a TLS client of a listener without TLS gets an alert that its library understands.
func TestTLSClient(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{}))
	p.Send("\x16\x03\x01\x02\x00\x01")
	alert, err := io.ReadAll(p.In)
	if err != nil || !bytes.Equal(alert, []byte{21, 3, 1, 0, 2, 2, 40}) {
		t.Errorf("got % x, %v", alert, err)
	}
}

func TestPlaintextRefused(t *testing.T) {
	s := servertest.Start(t, servertest.Config{Listen: server.Listen{
		Name: "tls only", Allow: servertest.Loopback, Plaintext: server.PlaintextNever,
	}})
	p := dial(t, s)
	p.Ask("new", "err TLSREQUIRED ")
	p.Closed()
	p = dial(t, s)
	p.Send("*1\r\n$3\r\nnew\r\n")
	p.Want("-TLSREQUIRED ")
	p.Closed()
}

func TestAllowlist(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{Listen: server.Listen{
		Name: "elsewhere", Allow: auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}}))
	p.Want("err IPDENIED ")
	p.Closed()
}

func TestEmptyAllowlistAdmitsNobody(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{Listen: server.Listen{Name: "nobody"}}))
	p.Want("err IPDENIED ")
	p.Closed()
}

func TestAnonymousNeedsAllowlist(t *testing.T) {
	srv, err := server.New(server.Options{Policy: servertest.Permissive{},
		Sessions: session.NewManager(nil, session.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := server.Listen{Name: "open", Allow: servertest.Everywhere}
	listen.Anonymous.Tenant, listen.Anonymous.App = "dev", "app"
	if err := srv.Serve(l, listen); err == nil || !strings.Contains(err.Error(), "allowlist") {
		t.Errorf("Serve: %v", err)
	}
}

// TestNoIdentity checks that a client without an identity can only run commands that need none.
func TestNoIdentity(t *testing.T) {
	p := dial(t, servertest.Start(t, servertest.Config{Listen: server.Listen{Name: "strict",
		Allow: servertest.Loopback}}))
	for _, line := range []string{"new", "open 0123456789abcdef", "get foo", "close", "destroy"} {
		p.Ask(line, "err NOAUTH ")
	}
	p.Ask("ping", "ok")
	p.Ask("auth dev/app hss_x", "err BADAUTH ")
	p.Ask("help", "ok ")
}

func TestConnectionCaps(t *testing.T) {
	for name, opts := range map[string]server.Options{"all": {MaxConns: 2}, "one address": {MaxConnsPerIP: 2}} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, servertest.Config{Options: opts})
			a, b := dial(t, s), dial(t, s)
			a.Ask("ping", "ok")
			b.Ask("ping", "ok")
			c := dial(t, s)
			c.Want("err UNAVAILABLE ")
			c.Closed()
			a.Ask("quit", "ok")
			a.Closed()
			// The connection counts until the server has ended it, a moment after its client has.
			for deadline := time.Now().Add(10 * time.Second); ; {
				d := dial(t, s)
				d.Send("ping\r\n")
				if reply := d.Line(); reply == "ok PONG" {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("a closed connection still counts: %s", reply)
				}
			}
		})
	}
}

// TestBrokenConnectionRollsBack checks that unsaved changes are dropped and the lock is released when a connection
// breaks.
func TestBrokenConnectionRollsBack(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	a, b := dial(t, s), dial(t, s)
	id := a.Ask("new", "ok ")
	a.Ask("put foo saved", "ok")
	a.Ask("close", "ok")
	a.Ask("open "+id, "ok")
	a.Ask("put foo dropped", "ok")
	b.Send("open " + id + " rw 60000\r\n")
	_ = a.Close()
	b.Want("ok")
	b.Ask("get foo", "ok saved")
}

// TestWaitersLeave checks that a client that closes its connection while it waits for a lock leaves the queue at
// once. This includes a client with much unread pipelined input, and one that closes only its sending half. The next
// client in the queue gets the lock.
func TestWaitersLeave(t *testing.T) {
	for name, leave := range map[string]func(*servertest.Conn){
		"closes":     func(p *servertest.Conn) { _ = p.Close() },
		"half":       func(p *servertest.Conn) { _ = p.Conn.(*net.TCPConn).CloseWrite() },
		"resets":     func(p *servertest.Conn) { _ = p.Conn.(*net.TCPConn).SetLinger(0); _ = p.Close() },
		"pipelined":  func(p *servertest.Conn) { p.Send(strings.Repeat("put k v\r\n", 1000)); _ = p.Close() },
		"half a cmd": func(p *servertest.Conn) { p.Send("put k"); _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			observed := newObserver()
			s := servertest.Start(t, servertest.Config{Options: server.Options{Observer: observed}})
			holder, waiter, next := dial(t, s), dial(t, s), dial(t, s)
			id := holder.Ask("new", "ok ")
			waiter.Send("ping\r\nopen " + id + " rw 600000\r\n")
			waiter.Want("ok PONG") // sent while the open behind it waits
			next.Send("ping\r\nopen " + id + " rw 600000\r\n")
			next.Want("ok PONG")
			leave(waiter)
			// The holder still has the lock, so the waiter's connection can only end because its end was detected.
			if reason := <-observed.closed; reason != server.PeerLeft {
				t.Errorf("it was closed for %v", reason)
			}
			holder.Ask("put foo bar", "ok")
			holder.Ask("close", "ok")
			next.Want("ok")
			next.Ask("get foo", "ok bar")
			next.Ask("put foo baz", "ok")
		})
	}
}

// TestShutdownDrains checks that a shutdown closes idle connections, refuses waiters and new sessions, and lets an
// open session finish.
func TestShutdownDrains(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	idle, holder, waiter := dial(t, s), dial(t, s), dial(t, s)
	idle.Ask("ping", "ok")
	id := holder.Ask("new", "ok ")
	waiter.Ask("ping", "ok")
	waiter.Send("ping\r\nopen " + id + " rw 600000\r\n")
	waiter.Want("ok PONG")
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	idle.Closed()
	waiter.Want("err SHUTDOWN ")
	waiter.Closed()
	holder.Ask("put foo bar", "ok")
	holder.Ask("close", "ok")
	holder.Closed()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("a second Shutdown: %v", err)
	}
	tenant := &session.Tenant{Name: "test", Settings: servertest.Settings()}
	saved, err := s.Sessions.Open(t.Context(), tenant, []byte(id), session.OpenOptions{Mode: session.Snapshot})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := saved.Get([]byte("foo")); err != nil || string(v) != "bar" {
		t.Errorf("session that was closed during the drain: %q, %v", v, err)
	}
}

// TestShutdownCuts checks that after the time to drain an open session is dropped and its lock is released.
func TestShutdownCuts(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	holder := dial(t, s)
	id := holder.Ask("new", "ok ")
	holder.Ask("commit", "ok")
	holder.Ask("close", "ok")
	holder.Ask("open "+id, "ok")
	holder.Ask("put foo bar", "ok")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	holder.Closed()
	tenant := &session.Tenant{Name: "test", Settings: servertest.Settings()}
	again, err := s.Sessions.Open(t.Context(), tenant, []byte(id), session.OpenOptions{Mode: session.Update})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get([]byte("foo")); !errors.Is(err, session.ErrNoKey) {
		t.Errorf("unsaved changes were stored: %v", err)
	}
}

// TestLockLost checks that a holder whose lease expired loses the lock to a waiter. Its next command is refused,
// whatever it is, and it may open again.
func TestLockLost(t *testing.T) {
	settings := servertest.Settings()
	settings.LockLease = 20 * time.Millisecond
	for _, next := range []string{"get foo", "put foo late", "close", "commit", "destroy", "keys", "regenerate_id",
		"stat", "abort", "lifetime",
		"get", "put", "expire x", "get a b", "lifetime soon", "regenerate_id x", "new", "open 0123456789abcdef",
		"auth a/b c"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, servertest.Config{Settings: settings})
			slow, quick := dial(t, s), dial(t, s)
			id := slow.Ask("new", "ok ")
			slow.Ask("put foo slow", "ok")
			quick.Ask("open "+id+" rw", "ok") // waits for the lease to expire
			quick.Ask("put foo quick", "ok")
			slow.Ask(next, "err LOCKLOST ")
			slow.Ask("get foo", "err NOSESSION ")
			quick.Ask("close", "ok")
			slow.Ask("open "+id, "ok")
			slow.Ask("get foo", "ok quick")
		})
	}
}

// TestConnectionLog checks that the log at debug level has one line for each connection, also for one that is refused
// before a byte is read.
func TestConnectionLog(t *testing.T) {
	for _, row := range []struct {
		reason, identity string
		allow            auth.Allowlist
	}{{"refused", "", auth.Allowlist{}}, {"quit", "test/app", servertest.Loopback}} {
		logged := new(servertest.Buffer)
		srv := servertest.Start(t, servertest.Config{
			Options: server.Options{Logger: slog.New(slog.NewJSONHandler(logged,
				&slog.HandlerOptions{Level: slog.LevelDebug}))},
			Listen: server.Listen{Name: "test", Allow: row.allow,
				Anonymous: auth.Identity{Tenant: "test", App: "app"}},
		})
		nc, err := srv.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, "quit\r\n")
		_, _ = io.Copy(io.Discard, nc) // the connection may be reset
		_ = nc.Close()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if text := logged.String(); strings.Count(text, `"msg":"connection closed"`) != 1 ||
			!strings.Contains(text, fmt.Sprintf(`"identity":%q,"reason":%q,`, row.identity, row.reason)) {
			t.Errorf("%s:\n%s", row.reason, text)
		}
	}
}
