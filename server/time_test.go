package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
	"sessionserver/storage/memory"
)

// pipes is a listener whose connections are in memory, so that they work in the virtual time of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// far is a connection with any remote address.
type far struct {
	net.Conn
	from netip.AddrPort
}

func (f far) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.from) }

// inBubble runs a server in virtual time. dial connects from an address.
func inBubble(t *testing.T, opts server.Options, listen server.Listen,
	test func(t *testing.T, s *server.Server, dial func(from string) *servertest.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { bubble(t, opts, listen, test) })
}

// bubble is inBubble for a test that is already in a bubble, such as one with certificates, since time begins in 2000
// there.
func bubble(t *testing.T, opts server.Options, listen server.Listen,
	test func(t *testing.T, s *server.Server, dial func(from string) *servertest.Conn)) {
	t.Helper()
	store := memory.New(memory.Options{})
	opts.Sessions = session.NewManager(store, session.Options{})
	opts.Tenants = append(opts.Tenants, servertest.Tenant("test/app", "secret"))
	if opts.Policy == nil {
		opts.Policy = servertest.Permissive{}
	}
	s, err := server.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, listen) }()
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ended)
		if err := <-served; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		_ = store.Close()
	}()
	test(t, s, func(from string) *servertest.Conn {
		ours, theirs := net.Pipe()
		l.conns <- far{theirs, netip.MustParseAddrPort(from)}
		t.Cleanup(func() { _ = ours.Close() })
		return servertest.NewConn(t, ours)
	})
}

var everywhere = server.Listen{
	Name: "everywhere", Allow: servertest.Everywhere, Plaintext: server.PlaintextAlways,
}

// TestIdleTimeout checks that a connection is closed after exactly that time without a request, whether or not it has
// sent one before.
func TestIdleTimeout(t *testing.T) {
	listen := everywhere
	listen.Allow.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	listen.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	inBubble(t, server.Options{}, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		silent, spoke := dial("192.0.2.1:1"), dial("192.0.2.1:2")
		spoke.Ask("ping", "ok")
		time.Sleep(9 * time.Minute)
		spoke.Ask("ping", "ok") // its buffers were released long ago
		start := time.Now()
		silent.Closed()
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after another %v", took)
		}
		spoke.Closed()
		if took := time.Since(start); took < 10*time.Minute || took > 10*time.Minute+2*time.Second {
			t.Errorf("the connection with a request was closed after %v", took)
		}
	})
}

// TestIdleInSessionTimeout checks that a connection with an open session has a longer idle time-out, which is at
// least the lease of the lock.
func TestIdleInSessionTimeout(t *testing.T) {
	listen := everywhere
	listen.Allow.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	listen.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	const id = "0123456789abcdef0123456789abcdef"
	for _, row := range []struct{ set, want time.Duration }{
		{0, time.Hour}, {20 * time.Second, time.Minute}, {2 * time.Minute, 2 * time.Minute},
	} {
		opts := server.Options{IdleTimeout: 3 * time.Second, IdleInSessionTimeout: row.set}
		inBubble(t, opts, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			dial("192.0.2.1:1").Closed()
			saves := dial("192.0.2.1:2")
			saves.Ask("open "+id, "ok")
			saves.Ask("put key value", "ok")
			time.Sleep(row.want - time.Second)
			saves.Ask("close", "ok")
			stays := dial("192.0.2.1:3")
			stays.Ask("open "+id+" u 0", "ok")
			stays.Ask("get key", "ok value")
			start := time.Now()
			stays.Closed()
			if took := time.Since(start); took < row.want || took > row.want+2*time.Second {
				t.Errorf("set to %v, closed after %v", row.set, took)
			}
		})
	}
}

// TestLoginTimeout checks that a client that does not authenticate is closed, whatever it does.
func TestLoginTimeout(t *testing.T) {
	inBubble(t, server.Options{}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		start := time.Now()
		silent, talks, known := dial("192.0.2.1:1"), dial("192.0.2.1:2"), dial("192.0.2.1:3")
		known.Ask("auth test/app secret", "ok")
		for range 5 {
			time.Sleep(10 * time.Second)
			talks.Ask("ping", "ok")
		}
		silent.Want("err NOAUTH ")
		talks.Want("err NOAUTH ")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after %v", took)
		}
		time.Sleep(time.Minute)
		known.Ask("ping", "ok")
	})
}

// TestLoginTimeoutMidway checks that an incomplete request does not prolong the time.
func TestLoginTimeoutMidway(t *testing.T) {
	observed := newObserver()
	inBubble(t, server.Options{Observer: quiet{observed}}, everywhere,
		func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			p := dial("192.0.2.1:1")
			start := time.Now()
			p.Send("pi")
			for time.Since(start) < 55*time.Second {
				time.Sleep(5 * time.Second)
				p.Ask("ng", "ok PONG")
				p.Send("pi")
			}
			p.Want("err NOAUTH ")
			took, reason := time.Since(start), <-observed.closed
			if took != time.Minute || reason != server.LoginTimeout {
				t.Errorf("closed after %v for %v", took, reason)
			}
		})
}

// TestRequestTimeout checks that a request must be complete in time, however slowly its bytes arrive.
func TestRequestTimeout(t *testing.T) {
	for name, row := range map[string]struct{ begin, drip, want string }{
		"line": {"put key ", "x", "err PROTOCOL "},
		"RESP": {"*3\r\n$3\r\nput\r\n$1\r\nk\r\n$1000\r\n", "x", "-PROTOCOL "},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{}, everywhere, func(t *testing.T, _ *server.Server,
				dial func(string) *servertest.Conn) {
				p := dial("192.0.2.1:1")
				start := time.Now()
				p.Send(row.begin)
				var dripping sync.WaitGroup
				dripping.Go(func() {
					for {
						time.Sleep(time.Second)
						if _, err := io.WriteString(p, row.drip); err != nil {
							return
						}
					}
				})
				p.Want(row.want)
				if took := time.Since(start); took != 30*time.Second {
					t.Errorf("closed after %v", took)
				}
				_ = p.Close()
				dripping.Wait()
			})
		})
	}
}

// TestWriteTimeout checks that a client that does not read its replies is closed.
func TestWriteTimeout(t *testing.T) {
	observed := newObserver()
	inBubble(t, server.Options{Observer: observed}, everywhere,
		func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			p := dial("192.0.2.1:1")
			p.Send("ping\r\n")
			time.Sleep(31 * time.Second)
			synctest.Wait()
			select {
			case reason := <-observed.closed:
				if reason != server.WriteTimeout {
					t.Errorf("closed for %v", reason)
				}
			default:
				t.Error("the connection is still open")
			}
		})
}

// TestPlaintextForLoopback checks that by default only this machine may use plaintext.
func TestPlaintextForLoopback(t *testing.T) {
	listen := everywhere
	listen.Plaintext = server.PlaintextLoopback
	inBubble(t, server.Options{}, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:1", "10.0.0.1:1", "[::ffff:192.0.2.1]:1"} {
			p := dial(from)
			p.Send("p") // the first byte selects the transport
			p.Want("err TLSREQUIRED ")
		}
		for _, from := range []string{"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"} {
			dial(from).Ask("ping", "ok PONG")
		}
	})
}

// TestCapPerAddress checks that connections are counted per address in IPv4 and per /64 in IPv6, until they end.
func TestCapPerAddress(t *testing.T) {
	inBubble(t, server.Options{MaxConnsPerIP: 1}, everywhere,
		func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			first := dial("[2001:db8:0:1::1]:1")
			first.Ask("ping", "ok")
			dial("[2001:db8:0:1:ffff::2]:1").Want("err UNAVAILABLE ")
			dial("[2001:db8:0:2::1]:1").Ask("ping", "ok")
			dial("192.0.2.1:1").Ask("ping", "ok")
			dial("192.0.2.2:1").Ask("ping", "ok")
			dial("[::ffff:192.0.2.2]:1").Want("err UNAVAILABLE ")
			_ = first.Close()
			synctest.Wait()
			dial("[2001:db8:0:1::3]:1").Ask("ping", "ok")
		})
}

// TestShutdownWakesIdle checks that a shutdown without open sessions ends at once, and that a connection ends as soon
// as its session is closed.
func TestShutdownWakesIdle(t *testing.T) {
	listen := everywhere
	listen.Allow = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	listen.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	inBubble(t, server.Options{}, listen, func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
		idle, fresh, busy := dial("192.0.2.1:1"), dial("192.0.2.1:2"), dial("192.0.2.1:3")
		idle.Ask("ping", "ok")
		busy.Ask("new", "ok ")
		synctest.Wait()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		idle.Closed()
		fresh.Closed()
		busy.Ask("put k v", "ok")
		busy.Ask("close", "ok")
		busy.Closed()
		if err := <-done; err != nil || time.Since(start) != 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(start))
		}
	})
}

// TestBulk checks that large requests and saves take turns, and that slow or absent clients do not delay others.
func TestBulk(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{servertest.Tenant("a/app", "a"), servertest.Tenant("b/app", "b")}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		large := strings.Repeat("x", 512<<10)
		enter := func(credentials string) *servertest.Conn {
			p := dial("192.0.2.1:1")
			p.Ask("auth "+credentials, "ok")
			p.Ask("new", "ok ")
			return p
		}
		var slow []*servertest.Conn
		for range 8 {
			p := enter("a/app a")
			p.Send("put k " + large)
			slow = append(slow, p)
		}
		synctest.Wait()
		for _, credentials := range []string{"a/app a", "b/app b"} {
			p := enter(credentials)
			start := time.Now()
			p.Ask("put k "+large, "ok")
			p.Ask("close", "ok")
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s waited for %v", credentials, took)
			}
		}
		_ = slow[0].Close()
		for _, p := range slow[1:] {
			p.Send("\r\n")
			p.Want("ok")
			p.Ask("close", "ok")
		}
	})
}

// TestBulkOfStalledClients checks that a tenant with many stalled requests does not delay another tenant.
func TestBulkOfStalledClients(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{servertest.Tenant("a/app", "a"), servertest.Tenant("b/app", "b")}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		large := strings.Repeat("x", 100<<10)
		enter := func(credentials string) *servertest.Conn {
			p := dial("192.0.2.1:1")
			p.Ask("auth "+credentials, "ok")
			p.Ask("new", "ok ")
			return p
		}
		quiet := enter("b/app b")
		for range 200 {
			p := enter("a/app a")
			go func() { _, _ = p.Write([]byte("put k " + large)) }() // incomplete; waiting requests are not read
		}
		synctest.Wait()
		start := time.Now()
		quiet.Ask("put k "+large, "ok")
		quiet.Ask("close", "ok")
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("a large request and a save took %v", took)
		}
	})
}
