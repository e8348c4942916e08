package server_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// rated returns a tenant named a with the apps one and two, and these rates.
func rated(r server.Rates) server.Tenant {
	t := servertest.Tenant("a/one", "1")
	t.Apps = append(t.Apps, servertest.Tenant("a/two", "2").Apps...)
	t.Rates = r
	return t
}

// TestRates checks which clients share a rate, and that the refusal contains the exact time after which to retry.
func TestRates(t *testing.T) {
	ten := server.Rate{PerSecond: 10, Burst: 40}
	for name, row := range map[string]struct {
		rates                        server.Rates
		sameAddress, sameApp, tenant bool // the clients that share the rate
	}{
		"address": {server.Rates{Address: ten}, true, false, false},
		"app":     {server.Rates{App: ten}, false, true, false},
		"tenant":  {server.Rates{Tenant: ten}, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := server.Options{Tenants: []server.Tenant{rated(row.rates), servertest.Tenant("b/one", "1")},
				ErrorBudget: 1000}
			inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				as := func(from, whoami string) *servertest.Conn {
					p := dial(from)
					p.Ask("auth "+whoami, "ok")
					return p
				}
				p, sameAddress := as("192.0.2.1:1", "a/one 1"), as("192.0.2.1:2", "a/two 2")
				sameApp, tenant, other := as("192.0.2.2:1", "a/one 1"), as("192.0.2.3:1", "a/two 2"),
					as("192.0.2.1:3", "b/one 1")
				time.Sleep(time.Minute) // full again
				for range 40 {
					p.Ask("ping", "ok PONG")
				}
				for range 3 { // a refusal costs nothing
					if wait := p.Ask("ping", "err RATELIMITED "); wait != "retry in 100 ms" {
						t.Errorf("the refusal is %q", wait)
					}
				}
				for whoami, is := range map[*servertest.Conn]bool{sameAddress: row.sameAddress || row.tenant,
					sameApp: row.sameApp, tenant: row.tenant, other: false} {
					whoami.Ask("ping", map[bool]string{true: "err RATELIMITED ", false: "ok PONG"}[is])
				}
				time.Sleep(99 * time.Millisecond)
				if wait := p.Ask("ping", "err RATELIMITED "); wait != "retry in 1 ms" {
					t.Errorf("the refusal is %q", wait)
				}
				time.Sleep(time.Millisecond)
				p.Ask("ping", "ok PONG")
				if wait := p.Ask("new", "err RATELIMITED "); wait != "retry in 200 ms" { // which costs 2
					t.Errorf("the refusal is %q", wait)
				}
				time.Sleep(200 * time.Millisecond)
				p.Ask("new", "ok ")
				p.Ask("ping", "err RATELIMITED ")
			})
		})
	}
}

// TestRatesReleases checks that a command that releases a session is never refused for a rate, and is charged as a
// debt.
func TestRatesReleases(t *testing.T) {
	for command, cost := range map[string]int{"close": 4, "commit": 4, "abort": 1, "destroy": 4, "reset": 1,
		"quit": 1} {
		t.Run(command, func(t *testing.T) {
			opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1,
				Burst: 8}})}}
			inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				p, q := dial("192.0.2.1:1"), dial("192.0.2.1:2")
				p.Ask("auth a/one 1", "ok")
				q.Ask("auth a/one 1", "ok")
				p.Ask("new", "ok ")
				p.Ask("ping", "ok")
				p.Ask("ping", "ok")
				p.Ask("put k v", "err RATELIMITED retry in 1000 ms")
				p.Ask(command, "ok")
				if wait := q.Ask("ping", "err RATELIMITED "); wait != fmt.Sprintf("retry in %d ms", 1000*(cost+1)) {
					t.Errorf("afterwards: %s", wait)
				}
				time.Sleep(time.Duration(cost+1) * time.Second)
				q.Ask("ping", "ok")
			})
		})
	}
}

// TestRatesDelay checks that commands beyond a rate are delayed in order of arrival, up to the limit; the others are
// refused.
func TestRatesDelay(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 16},
		OnLimit: server.Delay})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		var peers []*servertest.Conn
		for i := range 8 {
			p := dial(fmt.Sprintf("192.0.2.%d:1", i+1))
			p.Ask("auth a/one 1", "ok") // uses up the burst
			peers = append(peers, p)
		}
		start := time.Now()
		for _, p := range peers {
			p.Send("ping\r\n")
			synctest.Wait()
		}
		for i, p := range peers {
			if i >= 5 {
				p.Want("err RATELIMITED retry in 6000 ms")
				continue
			}
			p.Want("ok PONG")
			if took := time.Since(start); took != time.Duration(i+1)*time.Second {
				t.Errorf("reply to ping %d after %v", i+1, took)
			}
		}
	})
}

// TestRatesDelayEnds checks that the delay of a command ends with its server and with its credentials.
func TestRatesDelayEnds(t *testing.T) {
	slow := server.Rates{App: server.Rate{PerSecond: 1, Burst: 8}, OnLimit: server.Delay}
	for name, row := range map[string]struct {
		end    func(*server.Server) error
		want   string // "" for no reply
		reason server.CloseReason
	}{
		"drained": {func(s *server.Server) error { go func() { _ = s.Shutdown(context.Background()) }(); return nil },
			"err SHUTDOWN ", server.Drained},
		"revoked": {func(s *server.Server) error { return s.SetTenants(nil) }, "", server.Revoked},
	} {
		t.Run(name, func(t *testing.T) {
			observed := newObserver()
			inBubble(t, server.Options{Observer: observed, Tenants: []server.Tenant{rated(slow)}}, everywhere,
				func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
					p := dial("192.0.2.1:1")
					p.Ask("auth a/one 1", "ok")
					for range 6 {
						p.Ask("ping", "ok")
					}
					p.Send("ping\r\n")
					synctest.Wait()
					start := time.Now()
					if err := row.end(s); err != nil {
						t.Fatal(err)
					}
					if row.want != "" {
						p.Want(row.want)
					}
					p.Rest()
					synctest.Wait()
					if got := <-observed.closed; got != row.reason || time.Since(start) != 0 {
						t.Errorf("closed for %v after %v", got, time.Since(start))
					}
				})
		})
	}
}

// TestRatesDelayPeerLeaves checks that the delay of a command ends when its client leaves.
func TestRatesDelayPeerLeaves(t *testing.T) {
	t.Parallel()
	observed := newObserver()
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 0.2, Burst: 8},
			OnLimit: server.Delay})},
		Options: server.Options{Observer: observed},
		Listen:  server.Listen{Name: "strict", Allow: servertest.Loopback},
	})
	p := dial(t, s)
	p.Ask("auth a/one 1", "ok")
	for range 6 {
		p.Ask("ping", "ok")
	}
	for range 7 {
		<-observed.commands
	}
	p.Send("ping\r\n" + strings.Repeat("ping x\r\n", 100))
	_ = p.Close()
	if ran := <-observed.commands; !ran.PeerLeft || ran.Duration > 3*time.Second {
		t.Errorf("observed %+v", ran)
	}
	observed.wantClosed(t, server.PeerLeft)
}

// TestSessionCreationRate checks that new ids of an app are counted: by new, by regenerate_id, by creating an id with
// open, and by requesting an unknown one. Opening an existing session is free. A refusal leaves no session and no
// lock.
func TestSessionCreationRate(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{SessionCreation: server.Rate{PerSecond: 1,
		Burst: 2}})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p, q := dial("192.0.2.1:1"), dial("192.0.2.2:1")
		p.Ask("auth a/one 1", "ok")
		q.Ask("auth a/two 2", "ok")
		id := p.Ask("new", "ok ")
		p.Ask("put k v", "ok")
		p.Ask("close", "ok")
		const unknown = "0123456789abcdef0123456789abcdef"
		p.Ask("open "+unknown, "ok")
		p.Ask("abort", "ok")
		p.Ask("new", "err RATELIMITED retry in 1000 ms")
		for _, mode := range []string{"", " rw", " w 0"} {
			p.Ask("open "+unknown+mode, "err RATELIMITED retry in 1000 ms")
			p.Ask("get k", "err NOSESSION ")
		}
		p.Ask("open "+unknown+" u 0", "err RATELIMITED retry in 1000 ms") // limits guesses
		p.Ask("open "+id+" u", "ok")
		p.Ask("regenerate_id", "err RATELIMITED retry in 1000 ms")
		p.Ask("abort", "ok")
		for _, mode := range []string{"rw", "u", "r", "s"} {
			p.Ask("open "+id+" "+mode, "ok")
			p.Ask("abort", "ok")
		}
		q.Ask("new", "ok ") // each app has its own rate
		q.Ask("abort", "ok")
		q.Ask("open "+unknown+" u 0", "err NOTFOUND ")
		q.Ask("open "+unknown+" u 0", "err RATELIMITED retry in 1000 ms")
		time.Sleep(time.Second)
		p.Ask("new soon", "err BADARG ") // creates no session
		p.Ask("new", "ok ")
		p.Ask("abort", "ok")
		p.Ask("new", "err RATELIMITED ")
	})
}

// TestNoDebtWithoutSession checks that a releasing command without a session is limited like any other. Otherwise a
// client could make the clients of its address, app or tenant wait.
func TestNoDebtWithoutSession(t *testing.T) {
	opts := server.Options{
		Tenants:         []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 20}})},
		Unauthenticated: server.Rate{PerSecond: 1, Burst: 100},
	}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		stranger := dial("192.0.2.1:1")
		go func() { _, _ = io.WriteString(stranger.Conn, strings.Repeat("reset\r\n", 1000)) }()
		go func() { _, _ = io.Copy(io.Discard, stranger.Conn) }()
		synctest.Wait()
		time.Sleep(10 * time.Second) // enough for a connection and a command, but not for a debt
		p := dial("192.0.2.1:2")
		p.Ask("auth a/one 1", "ok")
		refused := 0
		for range 60 {
			p.Send("abort\r\n")
			if line := p.Line(); strings.HasPrefix(line, "err RATELIMITED ") {
				refused++
			}
		}
		if refused < 30 {
			t.Errorf("%d of 60 were refused", refused)
		}
		time.Sleep(20 * time.Second)
		p.Ask("new", "ok ")
		p.Ask("close", "ok")
	})
}

// TestAuthFailureRate checks that guesses of credentials are limited, and that valid credentials from the same
// address always work.
func TestAuthFailureRate(t *testing.T) {
	observed := newObserver()
	opts := server.Options{Observer: observed, AuthFailures: server.Rate{PerSecond: 1, Burst: 3}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p := dial("192.0.2.1:1")
		for _, guess := range []string{"test/app x", "test/nobody x", "nobody/app x"} {
			p.Ask("auth "+guess, "err BADAUTH ")
		}
		p.Ask("auth test/app x", "err RATELIMITED retry in 1000 ms")
		p.Closed()
		if got := <-observed.closed; got != server.TooManyFailures {
			t.Errorf("closed for %v", got)
		}
		for range 5 {
			q := dial("192.0.2.1:2")
			q.Ask("auth test/app y", "err RATELIMITED ")
			q.Closed()
			good := dial("192.0.2.1:3")
			good.Ask("auth test/app secret", "ok")
			good.Ask("ping", "ok")
		}
		dial("192.0.2.2:1").Ask("auth test/app x", "err BADAUTH ")
		time.Sleep(time.Second)
		dial("192.0.2.1:4").Ask("auth test/app x", "err BADAUTH ")
		resp := dial("192.0.2.1:5")
		resp.Send("*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$8\r\ntest/app\r\n$1\r\nx\r\n")
		resp.Want("-RATELIMITED ")
		resp.Closed()
	})
}

// TestUnauthenticatedRate checks that the cost before authentication is charged to the address, and to no one else.
func TestUnauthenticatedRate(t *testing.T) {
	opts := server.Options{Unauthenticated: server.Rate{PerSecond: 10, Burst: 20}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		known, p := dial("192.0.2.1:1"), dial("192.0.2.1:2")
		known.Ask("auth test/app secret", "ok")
		for range 17 { // besides two connections and an auth
			p.Ask("help ping", "ok ")
		}
		p.Ask("ping", "err RATELIMITED retry in 100 ms")
		dial("192.0.2.1:3").Want("err RATELIMITED ")
		for range 50 {
			known.Ask("ping", "ok")
		}
		dial("192.0.2.2:1").Ask("ping", "ok")
		time.Sleep(200 * time.Millisecond)
		dial("192.0.2.1:4").Ask("ping", "ok")
	})
}

// TestAbuseEnds checks that a client that ignores refusals is closed.
func TestAbuseEnds(t *testing.T) {
	observed := newObserver()
	opts := server.Options{Observer: observed, ErrorBudget: 10,
		Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 8}})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p := dial("192.0.2.1:1")
		p.Ask("auth a/one 1", "ok")
		for range 6 {
			p.Ask("ping", "ok")
		}
		for range 10 {
			p.Ask("ping", "err RATELIMITED ")
		}
		if text := p.Ask("ping", "err RATELIMITED "); !strings.Contains(text, "closed") {
			t.Errorf("no reply reports the end: %s", text)
		}
		p.Closed()
		if got := <-observed.closed; got != server.ErrorBudget {
			t.Errorf("closed for %v", got)
		}
		// A new connection does not help either.
		q := dial("192.0.2.1:2")
		q.Ask("auth a/one 1", "err RATELIMITED ")
		q.Closed()
		if got := <-observed.closed; got != server.RateLimited {
			t.Errorf("closed for %v", got)
		}
	})
}

// TestRatesReload checks that new rates apply to existing connections, and keep their debt. A rate that was unlimited
// has no debt. An invalid list of tenants changes no rate.
func TestRatesReload(t *testing.T) {
	with := func(r server.Rate) []server.Tenant {
		return []server.Tenant{rated(server.Rates{App: r, Tenant: r, Address: r})}
	}
	none := server.Rate{}
	opts := server.Options{Tenants: with(none)}
	inBubble(t, opts, everywhere, func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
		set := func(tenants []server.Tenant) {
			t.Helper()
			if err := s.SetTenants(tenants); err != nil {
				t.Fatal(err)
			}
		}
		p := dial("192.0.2.1:1")
		p.Ask("auth a/one 1", "ok")
		for range 50 {
			p.Ask("ping", "ok")
		}
		set(with(server.Rate{PerSecond: 1, Burst: 8}))
		for range 8 {
			p.Ask("ping", "ok")
		}
		p.Ask("ping", "err RATELIMITED retry in 1000 ms")
		set(with(server.Rate{PerSecond: 10, Burst: 20}))
		p.Ask("ping", "err RATELIMITED retry in 100 ms")
		faulty := with(server.Rate{PerSecond: 1000, Burst: 1000})
		faulty = append(faulty, servertest.Tenant("b/one", "1"), servertest.Tenant("b/one", "1"))
		if err := s.SetTenants(faulty); err == nil {
			t.Error("a duplicate tenant is accepted")
		}
		p.Ask("ping", "err RATELIMITED retry in 100 ms")
		time.Sleep(2 * time.Second)
		for range 20 {
			p.Ask("ping", "ok")
		}
		p.Ask("ping", "err RATELIMITED ")
		set(with(none))
		for range 50 {
			p.Ask("ping", "ok")
		}
	})
}

// TestRatesFaults checks that meaningless rates are errors, which are reported all at once.
func TestRatesFaults(t *testing.T) {
	s, err := server.New(server.Options{Sessions: nil})
	if err == nil || s != nil {
		t.Error("a server without sessions is accepted")
	}
	srv := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{servertest.Tenant("test/app", "secret")},
		Listen: server.Listen{Name: "strict", Allow: servertest.Loopback}})
	p := dial(t, srv)
	p.Ask("auth test/app secret", "ok")
	bad := []server.Tenant{
		rated(server.Rates{Tenant: server.Rate{PerSecond: 1, Burst: 7}}), rated(server.Rates{OnLimit: "wait"}), {},
		{Tenant: auth.Tenant{Name: "c", Apps: []auth.App{{Name: "C", Role: auth.ReadWrite},
			{Name: "d", Role: "king"}}}, MaxConns: -1},
	}
	bad[2].Name = "../b"
	err = srv.SetTenants(bad)
	for _, want := range []string{"Rates.Tenant", `"wait"`, `"../b"`, `"a"`, `"c/C"`, `"king"`, "MaxConns",
		"Lifetime"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error without %s: %v", want, err)
		}
	}
	p.Ask("whoami", "ok tenant=test ")
	dial(t, srv).Ask("auth test/app secret", "ok")
}

// TestRatesBySize checks that all transferred bytes are charged: of requests, also refused ones, of replies, and of
// sessions that are loaded and saved. A command is admitted after the time in its refusal, even if it is larger than
// the burst.
func TestRatesBySize(t *testing.T) {
	const size = 1 << 20
	value := strings.Repeat("x", size-1) // besides a key of one byte
	for name, row := range map[string]struct {
		rates server.Rates
		unit  int // bytes per token of the rate
	}{
		"commands":     {server.Rates{App: server.Rate{PerSecond: 64, Burst: 8}}, 16 << 10},
		"app bytes":    {server.Rates{AppBytes: server.Rate{PerSecond: size, Burst: 32 << 10}}, 1},
		"tenant bytes": {server.Rates{TenantBytes: server.Rate{PerSecond: size, Burst: 32 << 10}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			opts := server.Options{Tenants: []server.Tenant{rated(row.rates)}}
			inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				p, q := dial("192.0.2.1:1"), dial("192.0.2.2:1")
				rested := func() { time.Sleep(2 * time.Minute) } // all rates are full again
				p.Ask("auth a/one 1", "ok")
				q.Ask("auth a/one 1", "ok")
				// costs measures how long q must wait after p has its reply. The transfer of size takes a second.
				costs := func(what string, sizes float64) {
					t.Helper()
					synctest.Wait()
					var ms float64
					if _, err := fmt.Sscanf(q.Ask("ping", "err RATELIMITED retry in "), "%f ms", &ms); err != nil {
						t.Fatal(err)
					}
					if took := ms / 1000; took < sizes-0.25 || took > sizes+0.25 {
						t.Errorf("%s: the next has to wait for %v s, want about %v", what, took, sizes)
					}
					rested()
				}
				rested()
				id := p.Ask("new", "ok ")
				rested()
				p.Ask("put k "+value, "ok")
				costs("put", 1)
				p.Send("get k\r\n")
				p.Want("ok " + value)
				p.Ask("close", "ok") // never refused; saves
				costs("get and close", 2)
				p.Ask("open "+id+" r", "ok")
				costs("open", 1)
				p.Ask("close", "ok")
				q.Ask("ping", "ok") // no changes to save
				rested()
				p.Ask("open "+id, "ok")
				rested()
				p.Ask("put k "+value, "ok")
				var ms int
				if _, err := fmt.Sscanf(p.Ask("put k "+value, "err RATELIMITED retry in "), "%d ms",
					&ms); err != nil || ms < 1500 {
					t.Fatalf("the refusal reports %d ms, %v: a refused request is charged too", ms, err)
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
				p.Ask("put k "+value, "ok")
			})
		})
	}
}

// TestRatesDebt checks that a debt is bounded, so that one connection cannot block others forever.
func TestRatesDebt(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{TenantBytes: server.Rate{PerSecond: 1024,
		Burst: 32 << 10}})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p, q := dial("192.0.2.1:1"), dial("192.0.2.2:1")
		p.Ask("auth a/one 1", "ok")
		q.Ask("auth a/two 2", "ok")
		p.Ask("new", "ok ")
		p.Ask("put k "+strings.Repeat("x", 1<<20), "ok")
		q.Ask("ping", "err RATELIMITED retry in 60")
	})
}
