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

// pipes is a listener whose connections are in memory, so that time in a synctest bubble is theirs too.
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

// far is a connection that comes from wherever it says.
type far struct {
	net.Conn
	from netip.AddrPort
}

func (f far) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(f.from) }

// inBubble runs a server in virtual time. dial connects from an address.
func inBubble(t *testing.T, opts server.Options, how server.Listen, test func(t *testing.T, s *server.Server, dial func(from string) *servertest.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { bubble(t, opts, how, test) })
}

// bubble is inBubble for a test that is in a bubble already, such as one with certificates: time begins in 2000 there.
func bubble(t *testing.T, opts server.Options, how server.Listen, test func(t *testing.T, s *server.Server, dial func(from string) *servertest.Conn)) {
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
	go func() { served <- s.Serve(l, how) }()
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

// TestIdleTimeout: a connection is closed when nothing has come for that long, not before, and whether or not it ever spoke.
func TestIdleTimeout(t *testing.T) {
	how := everywhere
	how.Allow.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	how.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	inBubble(t, server.Options{}, how, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		silent, spoke := dial("192.0.2.1:1"), dial("192.0.2.1:2")
		spoke.Ask("ping", "ok")
		time.Sleep(9 * time.Minute)
		spoke.Ask("ping", "ok") // its buffers were given back long ago
		began := time.Now()
		silent.Closed()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it was closed after %v more", took)
		}
		spoke.Closed()
		if took := time.Since(began); took < 10*time.Minute || took > 10*time.Minute+2*time.Second {
			t.Errorf("the one that spoke was closed after %v", took)
		}
	})
}

// TestIdleInSessionTimeout: an open session is not lost to the idle time-out, but to a longer one of its own, which is
// never shorter than the lease of the lock.
func TestIdleInSessionTimeout(t *testing.T) {
	how := everywhere
	how.Allow.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	how.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	const id = "0123456789abcdef0123456789abcdef"
	for _, row := range []struct{ set, want time.Duration }{
		{0, time.Hour}, {20 * time.Second, time.Minute}, {2 * time.Minute, 2 * time.Minute},
	} {
		opts := server.Options{IdleTimeout: 3 * time.Second, IdleInSessionTimeout: row.set}
		inBubble(t, opts, how, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			dial("192.0.2.1:1").Closed()
			saves := dial("192.0.2.1:2")
			saves.Ask("open "+id, "ok")
			saves.Ask("put key value", "ok")
			time.Sleep(row.want - time.Second)
			saves.Ask("close", "ok")
			stays := dial("192.0.2.1:3")
			stays.Ask("open "+id+" u 0", "ok")
			stays.Ask("get key", "ok value")
			began := time.Now()
			stays.Closed()
			if took := time.Since(began); took < row.want || took > row.want+2*time.Second {
				t.Errorf("set to %v, it was closed after %v", row.set, took)
			}
		})
	}
}

// TestLoginTimeout: who does not say who it is has to go, however it spends the time.
func TestLoginTimeout(t *testing.T) {
	inBubble(t, server.Options{}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		began := time.Now()
		silent, talks, known := dial("192.0.2.1:1"), dial("192.0.2.1:2"), dial("192.0.2.1:3")
		known.Ask("auth test/app secret", "ok")
		for range 5 {
			time.Sleep(10 * time.Second)
			talks.Ask("ping", "ok")
		}
		silent.Want("err NOAUTH ")
		talks.Want("err NOAUTH ")
		if took := time.Since(began); took != time.Minute {
			t.Errorf("they were closed after %v", took)
		}
		time.Sleep(time.Minute)
		known.Ask("ping", "ok")
	})
}

// TestLoginTimeoutMidway: nor does it help to be always in the middle of a request.
func TestLoginTimeoutMidway(t *testing.T) {
	seen := newObserver()
	inBubble(t, server.Options{Observer: quiet{seen}}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p := dial("192.0.2.1:1")
		began := time.Now()
		p.Send("pi")
		for time.Since(began) < 55*time.Second {
			time.Sleep(5 * time.Second)
			p.Ask("ng", "ok PONG")
			p.Send("pi")
		}
		p.Want("err NOAUTH ")
		if took, why := time.Since(began), <-seen.closed; took != time.Minute || why != server.LoginTimeout {
			t.Errorf("it was closed after %v for %v", took, why)
		}
	})
}

// TestRequestTimeout: a request must be complete in time, however slowly it goes on coming.
func TestRequestTimeout(t *testing.T) {
	for name, row := range map[string]struct{ begin, drip, want string }{
		"line": {"put key ", "x", "err PROTOCOL "},
		"RESP": {"*3\r\n$3\r\nput\r\n$1\r\nk\r\n$1000\r\n", "x", "-PROTOCOL "},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, server.Options{}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				p := dial("192.0.2.1:1")
				began := time.Now()
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
				if took := time.Since(began); took != 30*time.Second {
					t.Errorf("it was cut off after %v", took)
				}
				_ = p.Close()
				dripping.Wait()
			})
		})
	}
}

// TestWriteTimeout: who does not read is not waited for.
func TestWriteTimeout(t *testing.T) {
	seen := newObserver()
	inBubble(t, server.Options{Observer: seen}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p := dial("192.0.2.1:1")
		p.Send("ping\r\n")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		select {
		case why := <-seen.closed:
			if why != server.WriteTimeout {
				t.Errorf("it was closed for %v", why)
			}
		default:
			t.Error("it is still open")
		}
	})
}

// TestPlaintextForLoopback: unless the listener says otherwise, plaintext is for this machine.
func TestPlaintextForLoopback(t *testing.T) {
	how := everywhere
	how.Plaintext = server.PlaintextLoopback
	inBubble(t, server.Options{}, how, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:1", "10.0.0.1:1", "[::ffff:192.0.2.1]:1"} {
			p := dial(from)
			p.Send("p") // the first byte decides
			p.Want("err TLSREQUIRED ")
		}
		for _, from := range []string{"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"} {
			dial(from).Ask("ping", "ok PONG")
		}
	})
}

// TestCapPerAddress: addresses are counted one by one in IPv4 and by /64 in IPv6, and a place is free when its connection has gone.
func TestCapPerAddress(t *testing.T) {
	inBubble(t, server.Options{MaxConnsPerIP: 1}, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
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

// TestShutdownWakesIdle: draining takes no time when nothing is under way, and ends a connection as soon as its session is closed.
func TestShutdownWakesIdle(t *testing.T) {
	how := everywhere
	how.Allow = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	how.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	inBubble(t, server.Options{}, how, func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
		idle, fresh, busy := dial("192.0.2.1:1"), dial("192.0.2.1:2"), dial("192.0.2.1:3")
		idle.Ask("ping", "ok")
		busy.Ask("new", "ok ")
		synctest.Wait()
		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		idle.Closed()
		fresh.Closed()
		busy.Ask("put k v", "ok")
		busy.Ask("close", "ok")
		busy.Closed()
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
	})
}

// TestBulk: large requests and saves take turns, and those whose client is slow, or has gone, keep nobody out.
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
			began := time.Now()
			p.Ask("put k "+large, "ok")
			p.Ask("close", "ok")
			if took := time.Since(began); took > time.Second {
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

// TestBulkOfStalledClients: a tenant with many stalled requests does not stay in front of another tenant.
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
			go func() { _, _ = p.Write([]byte("put k " + large)) }() // without an end; those that wait are not read
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
