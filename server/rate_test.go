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

// rated is a tenant named a with the apps one and two, and these rates.
func rated(r server.Rates) server.Tenant {
	t := servertest.Tenant("a/one", "1")
	t.Apps = append(t.Apps, servertest.Tenant("a/two", "2").Apps...)
	t.Rates = r
	return t
}

// TestRates: each rate is shared by those that it is for and by nobody else, and whoever is beyond it is told exactly when to come again.
func TestRates(t *testing.T) {
	ten := server.Rate{PerSecond: 10, Burst: 40}
	for name, row := range map[string]struct {
		rates                        server.Rates
		sameAddress, sameApp, tenant bool // who has what is left of it
	}{
		"address": {server.Rates{Address: ten}, true, false, false},
		"app":     {server.Rates{App: ten}, false, true, false},
		"tenant":  {server.Rates{Tenant: ten}, false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := server.Options{Tenants: []server.Tenant{rated(row.rates), servertest.Tenant("b/one", "1")}, ErrorBudget: 1000}
			inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				as := func(from, who string) *servertest.Conn {
					p := dial(from)
					p.Ask("auth "+who, "ok")
					return p
				}
				p, sameAddress := as("192.0.2.1:1", "a/one 1"), as("192.0.2.1:2", "a/two 2")
				sameApp, tenant, other := as("192.0.2.2:1", "a/one 1"), as("192.0.2.3:1", "a/two 2"), as("192.0.2.1:3", "b/one 1")
				time.Sleep(time.Minute) // full again
				for range 40 {
					p.Ask("ping", "ok PONG")
				}
				for range 3 { // being refused costs nothing
					if wait := p.Ask("ping", "err RATELIMITED "); wait != "retry in 100 ms" {
						t.Errorf("it is told %q", wait)
					}
				}
				for who, is := range map[*servertest.Conn]bool{sameAddress: row.sameAddress || row.tenant, sameApp: row.sameApp, tenant: row.tenant, other: false} {
					who.Ask("ping", map[bool]string{true: "err RATELIMITED ", false: "ok PONG"}[is])
				}
				time.Sleep(99 * time.Millisecond)
				if wait := p.Ask("ping", "err RATELIMITED "); wait != "retry in 1 ms" {
					t.Errorf("it is told %q", wait)
				}
				time.Sleep(time.Millisecond)
				p.Ask("ping", "ok PONG")
				if wait := p.Ask("new", "err RATELIMITED "); wait != "retry in 200 ms" { // which costs 2
					t.Errorf("it is told %q", wait)
				}
				time.Sleep(200 * time.Millisecond)
				p.Ask("new", "ok ")
				p.Ask("ping", "err RATELIMITED ")
			})
		})
	}
}

// TestRatesLetGo: what lets go of a session is never refused for a rate, and paid for later.
func TestRatesLetGo(t *testing.T) {
	for command, cost := range map[string]int{"close": 4, "commit": 4, "abort": 1, "destroy": 4, "reset": 1, "quit": 1} {
		t.Run(command, func(t *testing.T) {
			opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 8}})}}
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

// TestRatesDelay: commands beyond a rate are held back, first come, first served, for so long as may be; the others are refused.
func TestRatesDelay(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 16}, OnLimit: server.Delay})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		var peers []*servertest.Conn
		for i := range 8 {
			p := dial(fmt.Sprintf("192.0.2.%d:1", i+1))
			p.Ask("auth a/one 1", "ok") // which takes all that there is
			peers = append(peers, p)
		}
		began := time.Now()
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
			if took := time.Since(began); took != time.Duration(i+1)*time.Second {
				t.Errorf("ping %d was answered after %v", i+1, took)
			}
		}
	})
}

// TestRatesDelayEnds: a command that is held back ends with its server, and with its credentials.
func TestRatesDelayEnds(t *testing.T) {
	slow := server.Rates{App: server.Rate{PerSecond: 1, Burst: 8}, OnLimit: server.Delay}
	for name, row := range map[string]struct {
		end  func(*server.Server) error
		want string // "" is nothing
		why  server.CloseReason
	}{
		"drained": {func(s *server.Server) error { go func() { _ = s.Shutdown(context.Background()) }(); return nil }, "err SHUTDOWN ", server.Drained},
		"revoked": {func(s *server.Server) error { return s.SetTenants(nil) }, "", server.Revoked},
	} {
		t.Run(name, func(t *testing.T) {
			seen := newObserver()
			inBubble(t, server.Options{Observer: seen, Tenants: []server.Tenant{rated(slow)}}, everywhere, func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
				p := dial("192.0.2.1:1")
				p.Ask("auth a/one 1", "ok")
				for range 6 {
					p.Ask("ping", "ok")
				}
				p.Send("ping\r\n")
				synctest.Wait()
				began := time.Now()
				if err := row.end(s); err != nil {
					t.Fatal(err)
				}
				if row.want != "" {
					p.Want(row.want)
				}
				p.Rest()
				synctest.Wait()
				if got := <-seen.closed; got != row.why || time.Since(began) != 0 {
					t.Errorf("closed for %v after %v", got, time.Since(began))
				}
			})
		})
	}
}

// TestRatesDelayPeerLeaves: nobody is held back who has gone.
func TestRatesDelayPeerLeaves(t *testing.T) {
	t.Parallel()
	seen := newObserver()
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 0.2, Burst: 8}, OnLimit: server.Delay})},
		Options: server.Options{Observer: seen},
		Listen:  server.Listen{Name: "strict", Allow: servertest.Loopback},
	})
	p := dial(t, s)
	p.Ask("auth a/one 1", "ok")
	for range 6 {
		p.Ask("ping", "ok")
	}
	for range 7 {
		<-seen.commands
	}
	p.Send("ping\r\n" + strings.Repeat("ping x\r\n", 100))
	_ = p.Close()
	if ran := <-seen.commands; !ran.PeerLeft || ran.Duration > 3*time.Second {
		t.Errorf("observed %+v", ran)
	}
	seen.reason(t, server.PeerLeft)
}

// TestSessionCreationRate: ids that an app makes are counted, by new, by regenerate_id and by opening one that nobody knows, and so are those that it asks for
// in vain; one that is there costs nothing. What is refused leaves nothing open, and no lock.
func TestSessionCreationRate(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{SessionCreation: server.Rate{PerSecond: 1, Burst: 2}})}}
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
		p.Ask("open "+unknown+" u 0", "err RATELIMITED retry in 1000 ms") // nor may it guess
		p.Ask("open "+id+" u", "ok")
		p.Ask("regenerate_id", "err RATELIMITED retry in 1000 ms")
		p.Ask("abort", "ok")
		for _, mode := range []string{"rw", "u", "r", "s"} {
			p.Ask("open "+id+" "+mode, "ok")
			p.Ask("abort", "ok")
		}
		q.Ask("new", "ok ") // each app has its own
		q.Ask("abort", "ok")
		q.Ask("open "+unknown+" u 0", "err NOTFOUND ")
		q.Ask("open "+unknown+" u 0", "err RATELIMITED retry in 1000 ms")
		time.Sleep(time.Second)
		p.Ask("new soon", "err BADARG ") // which mints nothing
		p.Ask("new", "ok ")
		p.Ask("abort", "ok")
		p.Ask("new", "err RATELIMITED ")
	})
}

// TestNoDebtWithoutSession: what lets go of a session is never refused while there is one. With none it is a command like others, and no way to make
// others at the same address, in the same app or in the tenant wait.
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
		time.Sleep(10 * time.Second) // pays for a connection and a command, and not for a debt
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

// TestAuthFailureRate: who guesses is heard now and then only, and good credentials from the same address are good all the while.
func TestAuthFailureRate(t *testing.T) {
	seen := newObserver()
	opts := server.Options{Observer: seen, AuthFailures: server.Rate{PerSecond: 1, Burst: 3}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p := dial("192.0.2.1:1")
		for _, guess := range []string{"test/app x", "test/nobody x", "nobody/app x"} {
			p.Ask("auth "+guess, "err BADAUTH ")
		}
		p.Ask("auth test/app x", "err RATELIMITED retry in 1000 ms")
		p.Closed()
		if got := <-seen.closed; got != server.TooManyFailures {
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

// TestUnauthenticatedRate: what connections do before they say who they are costs their address, and nobody else.
func TestUnauthenticatedRate(t *testing.T) {
	opts := server.Options{Unauthenticated: server.Rate{PerSecond: 10, Burst: 20}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		known, p := dial("192.0.2.1:1"), dial("192.0.2.1:2")
		known.Ask("auth test/app secret", "ok")
		for range 17 { // beside two connections and an auth
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

// TestAbuseEnds: who goes on although refused is closed.
func TestAbuseEnds(t *testing.T) {
	seen := newObserver()
	opts := server.Options{Observer: seen, ErrorBudget: 10, Tenants: []server.Tenant{rated(server.Rates{App: server.Rate{PerSecond: 1, Burst: 8}})}}
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
			t.Errorf("it is not told: %s", text)
		}
		p.Closed()
		if got := <-seen.closed; got != server.ErrorBudget {
			t.Errorf("closed for %v", got)
		}
		// Neither does connecting anew help.
		q := dial("192.0.2.1:2")
		q.Ask("auth a/one 1", "err RATELIMITED ")
		q.Closed()
		if got := <-seen.closed; got != server.RateLimited {
			t.Errorf("closed for %v", got)
		}
	})
}

// TestRatesReload: new rates hold for connections that are there, which keep what they have taken; where nothing was limited nothing was taken;
// and a list with a fault changes no rate.
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
			t.Error("two tenants of one name were taken")
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

// TestRatesFaults: rates that would let nothing through, or that nobody can have meant, are faults, all told at once.
func TestRatesFaults(t *testing.T) {
	s, err := server.New(server.Options{Sessions: nil})
	if err == nil || s != nil {
		t.Error("a server without sessions")
	}
	srv := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{servertest.Tenant("test/app", "secret")}, Listen: server.Listen{Name: "strict", Allow: servertest.Loopback}})
	p := dial(t, srv)
	p.Ask("auth test/app secret", "ok")
	bad := []server.Tenant{
		rated(server.Rates{Tenant: server.Rate{PerSecond: 1, Burst: 7}}), rated(server.Rates{OnLimit: "wait"}), {},
		{Tenant: auth.Tenant{Name: "c", Apps: []auth.App{{Name: "C", Role: auth.ReadWrite}, {Name: "d", Role: "king"}}}, MaxConns: -1},
	}
	bad[2].Name = "../b"
	err = srv.SetTenants(bad)
	for _, want := range []string{"Rates.Tenant", `"wait"`, `"../b"`, `"a"`, `"c/C"`, `"king"`, "MaxConns", "Lifetime"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s: %v", want, err)
		}
	}
	p.Ask("whoami", "ok tenant=test ")
	dial(t, srv).Ask("auth test/app secret", "ok")
}

// TestRatesBySize: what is moved is paid for, whichever way it goes: by requests, also refused ones, by replies, and
// by what is loaded and saved. A command that waits as long as it is told to is let in, also when it is larger than
// the burst.
func TestRatesBySize(t *testing.T) {
	const size = 1 << 20
	value := strings.Repeat("x", size-1) // beside a key of one byte
	for name, row := range map[string]struct {
		rates server.Rates
		unit  int // bytes in what the rate counts
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
				// costs asks q, when p is answered, how long it must wait: size takes a second.
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
				p.Ask("close", "ok") // is never refused, and saves
				costs("get and close", 2)
				p.Ask("open "+id+" r", "ok")
				costs("open", 1)
				p.Ask("close", "ok")
				q.Ask("ping", "ok") // there was nothing to save
				rested()
				p.Ask("open "+id, "ok")
				rested()
				p.Ask("put k "+value, "ok")
				var ms int
				if _, err := fmt.Sscanf(p.Ask("put k "+value, "err RATELIMITED retry in "), "%d ms", &ms); err != nil || ms < 1500 {
					t.Fatalf("it is to wait for %d ms, %v: what was refused has been moved too", ms, err)
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
				p.Ask("put k "+value, "ok")
			})
		})
	}
}

// TestRatesDebt: a debt is bounded, so that what one connection does keeps nobody out for ever.
func TestRatesDebt(t *testing.T) {
	opts := server.Options{Tenants: []server.Tenant{rated(server.Rates{TenantBytes: server.Rate{PerSecond: 1024, Burst: 32 << 10}})}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		p, q := dial("192.0.2.1:1"), dial("192.0.2.2:1")
		p.Ask("auth a/one 1", "ok")
		q.Ask("auth a/two 2", "ok")
		p.Ask("new", "ok ")
		p.Ask("put k "+strings.Repeat("x", 1<<20), "ok")
		q.Ask("ping", "err RATELIMITED retry in 60")
	})
}
