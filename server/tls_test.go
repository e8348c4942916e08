package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

var testApp = auth.Identity{Tenant: "test", App: "app"}

// overTLS returns a listener for this machine with TLS, anonymous like that of servertest.
func overTLS(a *authority) server.Listen {
	return server.Listen{Name: "tls", Allow: servertest.Loopback, Anonymous: testApp, TLS: a.server()}
}

// wantClosed checks the reason for which the next connection ends.
func (o *observer) wantClosed(t *testing.T, reason server.CloseReason) {
	t.Helper()
	select {
	case got := <-o.closed:
		if got != reason {
			t.Errorf("it was closed for %v, want %v", got, reason)
		}
	case <-time.After(2 * time.Minute):
		t.Errorf("no connection was closed for %v", reason)
	}
}

// TestTLS checks that one port serves both framings in TLS 1.2, in TLS 1.3 and in plaintext, and that whoami returns
// the version.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	s := servertest.Start(t, servertest.Config{Listen: overTLS(a)})
	for version, name := range map[uint16]string{0: "none", tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, s)
			if version != 0 {
				cfg := a.client()
				cfg.MinVersion, cfg.MaxVersion = version, version
				p = p.TLS(cfg)
			}
			if whoami := p.Ask("whoami", "ok tenant=test app=app "); !strings.Contains(whoami, " tls="+name+" ") {
				t.Errorf("whoami: %s", whoami)
			}
			id := p.Ask("new", "ok ")
			p.Ask("put foo bar", "ok")
			p.Send("*1\r\n$5\r\nclose\r\n*2\r\n$4\r\nopen\r\n$32\r\n" + id + "\r\n*2\r\n$3\r\nget\r\n$3\r\nfoo\r\n")
			for _, want := range []string{"+OK", "+OK", "$3", "bar"} {
				p.Want(want)
			}
			p.Ask("quit", "ok")
			p.Closed()
		})
	}
	old := a.client()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := tls.Client(dial(t, s), old).Handshake(); err == nil ||
		!strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

// TestTLSLarge sends values of the largest size, and many requests at once, over TLS.
func TestTLSLarge(t *testing.T) {
	a := newAuthority(t)
	p := dial(t, servertest.Start(t, servertest.Config{Listen: overTLS(a)})).TLS(a.client())
	big := strings.Repeat("0123456789abcdef", 1<<16)
	p.Ask("new", "ok ")
	p.Ask("put big "+big, "ok")
	if got := p.Ask("get big", "ok "); got != big {
		t.Errorf("%d bytes in the reply", len(got))
	}
	const n = 5000
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(p, strings.Repeat("put k v\r\nget k\r\n", n)) })
	for range n {
		p.Want("ok")
		p.Want("ok v")
	}
	sending.Wait()
}

// TestTLSWaitersLeave checks that the end of a client that waits for a lock over TLS is detected at once.
func TestTLSWaitersLeave(t *testing.T) {
	a := newAuthority(t)
	for name, leave := range map[string]func(*servertest.Conn){
		"closes TLS": func(p *servertest.Conn) { _ = p.Close() },
		"breaks off": func(p *servertest.Conn) { _ = p.Conn.(*tls.Conn).NetConn().Close() },
		"resets": func(p *servertest.Conn) {
			raw := p.Conn.(*tls.Conn).NetConn().(*servertest.Conn).Conn.(*net.TCPConn)
			_ = raw.SetLinger(0)
			_ = raw.Close()
		},
		"pipelined": func(p *servertest.Conn) { p.Send(strings.Repeat("put k v\r\n", 1000)); _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			observed := newObserver()
			s := servertest.Start(t, servertest.Config{Listen: overTLS(a), Options: server.Options{Observer: observed}})
			holder := dial(t, s).TLS(a.client())
			raw := dial(t, s)
			secured := tls.Client(raw, a.client())
			waiter, next := servertest.NewConn(t, secured), dial(t, s).TLS(a.client())
			id := holder.Ask("new", "ok ")
			waiter.Send("ping\r\nopen " + id + " rw 600000\r\n")
			waiter.Want("ok PONG")
			next.Send("ping\r\nopen " + id + " rw 600000\r\n")
			next.Want("ok PONG")
			leave(waiter)
			observed.wantClosed(t, server.PeerLeft)
			holder.Ask("put foo bar", "ok")
			holder.Ask("close", "ok")
			next.Want("ok")
			next.Ask("get foo", "ok bar")
		})
	}
}

// TestTLSShutdown checks that a shutdown closes idle connections with a close_notify, does not wait for handshakes,
// and lets an open session finish.
func TestTLSShutdown(t *testing.T) {
	a := newAuthority(t)
	s := servertest.Start(t, servertest.Config{Listen: overTLS(a)})
	idle, busy := dial(t, s).TLS(a.client()), dial(t, s).TLS(a.client())
	shaking, silent := dial(t, s), dial(t, s)
	shaking.Send("\x16\x03\x01\x02\x00\x01")
	idle.Ask("ping", "ok PONG")
	busy.Ask("new", "ok ")
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	idle.Closed()
	silent.Rest()
	shaking.Rest()
	busy.Ask("put foo bar", "ok")
	busy.Ask("close", "ok")
	busy.Closed()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestTLSShutdownCuts checks that a client that does not read delays neither the shutdown nor other clients.
func TestTLSShutdownCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		opts := server.Options{Tenants: []server.Tenant{servertest.Tenant("a/app", "old")}}
		bubble(t, opts, secureEverywhere(a), func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
			deaf := dial("192.0.2.1:1").TLS(a.client())
			deaf.Ask("auth test/app secret", "ok")
			deaf.Ask("new", "ok ")
			revoked := dial("192.0.2.1:2").TLS(a.client())
			revoked.Ask("auth a/app old", "ok")
			synctest.Wait()
			start := time.Now()
			if err := s.SetTenants([]server.Tenant{servertest.Tenant("test/app", "secret"),
				servertest.Tenant("a/app", "new")}); err != nil || time.Since(start) != 0 {
				t.Errorf("revoking: %v after %v", err, time.Since(start))
			}
			revoked.Rest()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			start = time.Now()
			if err := s.Shutdown(ended); !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
				t.Errorf("Shutdown: %v after %v", err, time.Since(start))
			}
		})
	})
}

func secureEverywhere(a *authority) server.Listen {
	listen := everywhere
	listen.TLS = a.server()
	return listen
}

// stalled is a client that reads late.
type stalled struct{ net.Conn }

func (s stalled) Read(p []byte) (int, error) {
	time.Sleep(time.Minute)
	return s.Conn.Read(p)
}

// TestHandshakesPerAddress checks that stalled handshakes of an address occupy its places until they time out.
// Further handshakes of that address wait, those of other addresses do not.
func TestHandshakesPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, observed := newAuthority(t), newObserver()
		bubble(t, server.Options{Observer: observed, HandshakesPerIP: 2}, secureEverywhere(a),
			func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				start := time.Now()
				var stalling sync.WaitGroup
				defer stalling.Wait()
				for _, from := range []string{"192.0.2.1:1", "192.0.2.1:2"} {
					nc := dial(from).Conn
					stalling.Go(func() { _ = tls.Client(stalled{nc}, a.client()).Handshake() })
				}
				synctest.Wait()
				dial("192.0.2.2:1").TLS(a.client()).Ask("ping", "ok PONG")
				if took := time.Since(start); took != 0 {
					t.Errorf("another address waited for %v", took)
				}
				time.Sleep(time.Second)
				dial("192.0.2.1:3").TLS(a.client()).Ask("ping", "ok PONG")
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("the third of the address waited for %v", took)
				}
			})
	})
}

// TestSlowHandshake checks that a handshake must end within HandshakeTimeout however slowly it proceeds, and that a
// few at once of an address do not delay others.
func TestSlowHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, observed := newAuthority(t), newObserver()
		opts := server.Options{Observer: observed, HandshakesPerIP: 2}
		bubble(t, opts, secureEverywhere(a), func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			slow := []*servertest.Conn{dial("192.0.2.1:1"), dial("192.0.2.1:2")}
			start := time.Now()
			for _, p := range slow {
				p.Send("\x16\x03\x01\x02\x00")
			}
			synctest.Wait()
			dial("192.0.2.1:3").TLS(a.client()).Ask("ping", "ok PONG") // a silent client occupies no place
			dial("192.0.2.1:4").Ask("ping", "ok PONG")
			other := dial("192.0.2.2:1").TLS(a.client())
			other.Ask("ping", "ok PONG")
			if since := time.Since(start); since != 0 {
				t.Errorf("other clients waited for %v", since)
			}
			var dripping sync.WaitGroup
			dripping.Go(func() {
				for {
					time.Sleep(time.Second)
					if _, err := io.WriteString(slow[0].Conn, "x"); err != nil {
						return
					}
				}
			})
			for _, p := range slow {
				p.Rest()
			}
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("closed after %v", took)
			}
			for range slow {
				if got := <-observed.closed; got != server.HandshakeFailed {
					t.Errorf("closed for %v", got)
				}
			}
			dripping.Wait()
			dial("192.0.2.1:5").TLS(a.client()).Ask("ping", "ok PONG") // the places are free again
		})
	})
}

// TestBadHandshakes checks that an invalid handshake ends only its connection. A client that leaves during a
// handshake has left, and was not refused.
func TestBadHandshakes(t *testing.T) {
	a := newAuthority(t)
	for name, send := range map[string]string{
		"left":          "\x16\x03\x01\x00\x05\x01",
		"garbage":       "\x16" + strings.Repeat("\xff", 100),
		"plaintext":     "\x16\r\nping\r\n",
		"only a record": "\x16\x03\x01\x00\x01\x00",
		"huge record":   "\x16\x03\x03\xff\xff" + strings.Repeat("x", 70000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			observed := newObserver()
			s := servertest.Start(t, servertest.Config{Listen: overTLS(a), Options: server.Options{Observer: observed}})
			p := dial(t, s)
			_, _ = io.WriteString(p, send) // the server may close the connection first
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			p.Rest()
			want := server.HandshakeFailed
			if name == "left" || name == "only a record" {
				want = server.PeerLeft
			}
			observed.wantClosed(t, want)
			dial(t, s).TLS(a.client()).Ask("ping", "ok PONG")
		})
	}
}

// TestHandshakeRefusalIsRead checks that the library of a client with an invalid certificate reports that, although
// the client has already sent a request.
func TestHandshakeRefusalIsRead(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	listen := overTLS(a)
	listen.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	s := servertest.Start(t, servertest.Config{Listen: listen})
	for name, row := range map[string]struct {
		cfg  func() *tls.Config
		want string
	}{
		"none": {a.client, "certificate required"},
		"a stranger": {func() *tls.Config { c := stranger.named("x", nil); c.RootCAs = a.pool(); return c },
			"authority"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := row.cfg()
			if len(cfg.Certificates) > 0 { // sent although the server names other authorities
				cert := cfg.Certificates[0]
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					return &cert,
						nil
				}
			}
			p := dial(t, s)
			secured := tls.Client(p, cfg)
			_, err := io.WriteString(secured, "ping\r\n"+strings.Repeat("ping x\r\n", 100))
			if err == nil {
				_, err = secured.Read(make([]byte, 1))
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the client has the error: %v", err)
			}
		})
	}
}

// TestACMEChallenge checks that an ACME authority that validates leaves after the handshake.
func TestACMEChallenge(t *testing.T) {
	a := newAuthority(t)
	observed := newObserver()
	s := servertest.Start(t, servertest.Config{Listen: overTLS(a), Options: server.Options{Observer: observed}})
	cfg := a.client()
	cfg.NextProtos = []string{"acme-tls/1"}
	p := dial(t, s).TLS(cfg)
	p.Closed()
	observed.wantClosed(t, server.ACMEChallenge)
}

// TestHalfOpen checks that clients that send nothing, or a byte, do not delay others.
func TestHalfOpen(t *testing.T) {
	a := newAuthority(t)
	s := servertest.Start(t, servertest.Config{Listen: overTLS(a)})
	for i := range 200 {
		p := dial(t, s)
		if i%4 == 0 {
			p.Send("\x16"[:1])
		}
	}
	dial(t, s).TLS(a.client()).Ask("ping", "ok PONG")
	dial(t, s).Ask("ping", "ok PONG")
}

// TestUnreadReplies checks that a client that leaves its replies in the socket is closed.
func TestUnreadReplies(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			observed := newObserver()
			s := servertest.Start(t, servertest.Config{
				Listen: overTLS(a), Options: server.Options{Observer: observed, WriteTimeout: 20 * time.Millisecond},
			})
			p := dial(t, s)
			if secure {
				p = p.TLS(a.client())
			}
			p.Ask("new", "ok ")
			p.Ask("put k "+strings.Repeat("x", 1<<20), "ok")
			p.Send(strings.Repeat("get k\r\n", 64))
			observed.wantClosed(t, server.WriteTimeout)
		})
	}
}

// BenchmarkIdleTLS measures the memory of an idle TLS connection in the server. It subtracts the memory of the
// client.
func BenchmarkIdleTLS(b *testing.B) {
	a := newAuthority(b)
	s := servertest.Start(b, servertest.Config{
		Listen:  overTLS(a),
		Options: server.Options{HandshakesPerIP: 1 << 20, Unauthenticated: server.Unlimited},
	})
	in := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	var open []net.Conn
	before := in()
	for b.Loop() {
		nc, err := s.Dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		secured := tls.Client(nc, a.client())
		if err := ask(secured, "ping\r\n"); err != nil {
			b.Fatal(err)
		}
		open = append(open, nc) // frees the client's side of TLS
	}
	time.Sleep(1500 * time.Millisecond) // buffers are released after a second
	b.ReportMetric(float64(in()-before)/float64(len(open)), "B/conn")
	for _, nc := range open {
		_ = nc.Close()
	}
}
