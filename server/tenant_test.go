package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/wire"
)

// strict is a listener for this machine without an anonymous identity.
var strict = server.Listen{Name: "strict", Allow: servertest.Loopback}

// tenantOf returns a tenant with one app that has these secrets.
func tenantOf(name string, secrets ...string) server.Tenant {
	t := servertest.Tenant(name, "")
	for _, s := range secrets {
		t.Apps[0].Secrets = append(t.Apps[0].Secrets, auth.HashSecret(s))
	}
	return t
}

// onlyFrom restricts a tenant's allowlist.
func onlyFrom(t server.Tenant, prefix string) server.Tenant {
	t.Access = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	return t
}

// TestRevocation checks that a client whose credentials or address are no longer valid loses its connections at once,
// whatever they are doing. Unsaved changes are dropped, locks and places in queues are released, and other clients
// are not affected.
func TestRevocation(t *testing.T) {
	revocations := map[string][]server.Tenant{
		"secret": {tenantOf("a/app", "new")},
		"app":    {tenantOf("a/other", "old")},
		"tenant": {},
		"access": {onlyFrom(tenantOf("a/app", "old"), "192.0.2.0/24")},
	}
	app := tenantOf("a/app", "old")
	app.Apps[0].Access = &auth.Allowlist{}
	revocations["app access"] = []server.Tenant{app}
	denied := tenantOf("a/app", "old")
	denied.Access.Deny = []netip.Prefix{netip.MustParsePrefix("::ffff:127.0.0.0/104")}
	revocations["deny"] = []server.Tenant{denied}

	a := newAuthority(t)
	activities := map[string]func(p *servertest.Conn, id string){
		"idle":           func(p *servertest.Conn, id string) {},
		"idle, at rest":  func(p *servertest.Conn, id string) { p.Send("*1\r\n$4\r\nping\r\n"); p.Want("+PONG") },
		"half a request": func(p *servertest.Conn, id string) { p.Send("ping half a requ") },
		"waiting": func(p *servertest.Conn, id string) {
			p.Send("ping\r\nopen " + id + " rw 600000\r\n")
			p.Want("ok PONG")
		},
		"waiting, pipelined": func(p *servertest.Conn, id string) {
			p.Send("ping\r\nopen " + id + " rw 600000\r\nput stolen 1\r\nclose\r\n")
			p.Want("ok PONG")
		},
		"not reading": func(p *servertest.Conn, id string) {
			_ = p.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(p, strings.Repeat("help\r\n", 300_000)) // until the buffers are full
		},
	}
	for revocation, after := range revocations {
		for activity, act := range activities {
			if activity == "not reading" && revocation != "secret" {
				continue // a second per case
			}
			for _, overTLS := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, TLS %v", revocation, activity, overTLS), func(t *testing.T) {
					t.Parallel()
					observed := newObserver()
					listen := strict
					listen.TLS = a.server()
					s := servertest.Start(t, servertest.Config{
						Tenants: []server.Tenant{tenantOf("a/app", "old"), tenantOf("b/app", "b")}, Listen: listen,
						Options: server.Options{Observer: quiet{observed}},
					})
					enter := func(credentials string) *servertest.Conn {
						p := dial(t, s)
						if overTLS {
							p = p.TLS(a.client())
						}
						p.Ask("auth "+credentials, "ok")
						return p
					}
					holder, p, bystander := enter("a/app old"), enter("a/app old"), enter("b/app b")
					id := holder.Ask("new", "ok ")
					theirs := bystander.Ask("new", "ok ")
					act(p, id)
					if err := s.SetTenants(append([]server.Tenant{tenantOf("b/app", "b")}, after...)); err != nil {
						t.Fatal(err)
					}
					p.Rest()
					holder.Rest()
					observed.wantClosed(t, server.Revoked)
					observed.wantClosed(t, server.Revoked)
					bystander.Ask("put k v", "ok")
					bystander.Ask("close", "ok")
					bystander.Ask("open "+theirs, "ok")
					q := dial(t, s)
					q.Send("auth a/app old\r\n")
					if reply := q.Line(); !strings.HasPrefix(reply, "err BADAUTH ") &&
						!strings.HasPrefix(reply, "err IPDENIED ") {
						t.Errorf("revoked credentials still work: %s", reply)
					}
					q.Ask("new", "err NOAUTH ")
					if err := s.SetTenants([]server.Tenant{tenantOf("a/app", "old")}); err != nil {
						t.Fatal(err)
					}
					q = enter("a/app old")
					q.Ask("open "+id+" rw 0", "ok") // the lock is free
					q.Ask("keys", "ok")
					if whoami := q.Ask("whoami", "ok "); !strings.Contains(whoami, " connections=1 ") {
						t.Errorf("wrong number of connections: %s", whoami)
					}
				})
			}
		}
	}
}

// quiet is an observer that ignores commands.
type quiet struct{ *observer }

func (q quiet) ConnOpened(server.ConnInfo) server.ConnObserver { return q }
func (quiet) CommandRan(server.CommandInfo)                    {}

// TestRevokedHolderReleases checks that the next client in the queue, of another app, gets the lock of a revoked
// holder at once, without its unsaved changes. A revoked waiter leaves the queue.
func TestRevokedHolderReleases(t *testing.T) {
	t.Parallel()
	both := tenantOf("a/one", "1")
	both.Apps = append(both.Apps, tenantOf("a/two", "2").Apps...)
	s := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{both}, Listen: strict})
	enter := func(credentials string) *servertest.Conn {
		p := dial(t, s)
		p.Ask("auth "+credentials, "ok")
		return p
	}
	holder, waiter, next := enter("a/one 1"), enter("a/one 1"), enter("a/two 2")
	id := holder.Ask("new", "ok ")
	holder.Ask("put k saved", "ok")
	holder.Ask("close", "ok")
	holder.Ask("open "+id, "ok")
	holder.Ask("put k dropped", "ok")
	for _, p := range []*servertest.Conn{waiter, next} {
		p.Send("ping\r\nopen " + id + " rw 600000\r\n")
		p.Want("ok PONG")
	}
	if err := s.SetTenants([]server.Tenant{tenantOf("a/two", "2")}); err != nil {
		t.Fatal(err)
	}
	next.Want("ok")
	next.Ask("get k", "ok saved")
	holder.Rest()
	waiter.Rest()
}

// TestRevokedAtOnce checks that of many clients revoked at once none gets the lock of another one.
func TestRevokedAtOnce(t *testing.T) {
	t.Parallel()
	const waiters = 200
	s := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{tenantOf("a/one", "1")}, Listen: strict})
	holder := dial(t, s)
	holder.Ask("auth a/one 1", "ok")
	id := holder.Ask("new", "ok ")
	all := make([]*servertest.Conn, waiters)
	for i := range all {
		all[i] = dial(t, s)
		all[i].Ask("auth a/one 1", "ok")
		all[i].Send("open " + id + " rw 600000\r\n")
	}
	for !strings.Contains(holder.Ask("whoami", "ok "), fmt.Sprintf(" waiters=%d ", waiters)) {
		runtime.Gosched()
	}
	if err := s.SetTenants(nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if reply := p.Rest(); strings.Contains(reply, "ok") {
			t.Errorf("a revoked waiter got %q", reply)
		}
	}
}

// TestRotation checks that a second secret, and the end of an unused first one, drop no connection. Neither do
// changes of other apps or tenants. New rules for sessions apply from the next open.
func TestRotation(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{tenantOf("a/app", "old")}, Listen: strict})
	p := dial(t, s)
	p.Ask("auth a/app old", "ok")
	id := p.Ask("new", "ok ")
	set := func(tenants ...server.Tenant) {
		t.Helper()
		if err := s.SetTenants(tenants); err != nil {
			t.Fatal(err)
		}
	}
	set(tenantOf("a/app", "old", "new"), tenantOf("b/app", "b"))
	q := dial(t, s)
	q.Ask("auth a/app new", "ok")
	p.Ask("put k v", "ok")
	p.Ask("close", "ok")
	p.Ask("auth a/app new", "ok")
	p.Ask("open "+id, "ok")
	set(tenantOf("a/app", "new"))
	p.Ask("get k", "ok v")
	p.Ask("close", "ok")
	q.Ask("open "+id, "ok")
	small := tenantOf("a/app", "new")
	small.Sessions.MaxValue = 10
	small.Sessions.Lifetime = 5 * time.Minute
	set(small)
	q.Ask("close", "ok")
	if whoami := q.Ask("whoami", "ok "); !strings.Contains(whoami, " lifetime_s=300 ") ||
		!strings.Contains(whoami, " max_value=10 ") {
		t.Errorf("whoami: %s", whoami)
	}
	q.Ask("open "+id, "ok")
	q.Ask("put k 01234567890", "err TOOLARGE ")
}

// TestHello checks that the reply in RESP contains the identity of the connection, and the tenant's current wait for
// locks.
func TestHello(t *testing.T) {
	t.Parallel()
	a := tenantOf("a/app", "secret")
	s := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{a}, Listen: strict})
	p := dial(t, s)
	replies := wire.NewReplyReader(p.In)
	hello := func(args ...string) string {
		t.Helper()
		p.Send(string(wire.AppendRequest(nil, append([]string{"hello"}, args...)...)))
		r, err := replies.Next()
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		facts := make(map[string]string)
		for i := 0; i < len(r.Items); i += 2 {
			facts[string(r.Items[i].Bytes)] = string(r.Items[i+1].Bytes)
		}
		return facts["server"] + " " + facts["tenant"] + " " + facts["app"] + " " + facts["lock_wait_ms"]
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("hello: %q, want %q", got, want)
		}
	}
	want(hello("2"), "sessionserver   ")
	want(hello("3", "auth", "a/app", "secret"), "sessionserver a app 10000")
	a.Sessions.LockWait = 1500 * time.Millisecond
	if err := s.SetTenants([]server.Tenant{a}); err != nil {
		t.Fatal(err)
	}
	want(hello(), "sessionserver a app 1500")
}

// TestConstantReplies checks that the replies to all kinds of invalid credentials are equal, in both framings.
func TestConstantReplies(t *testing.T) {
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{tenantOf("a/app", "right", "next"), tenantOf("b/none")}, Listen: strict,
		Options: server.Options{AuthFailures: server.Unlimited},
	})
	replies := make(map[string]string)
	for _, name := range []string{"a/app", "a/unknown", "unknown/app", "b/none", "a", "/", "a/", "/app", "A/app",
		"a/app/x", "a//app", "../a/app", "a\x7f/app",
		strings.Repeat("x", 1000), "a/app\u200b", "!unauthenticated/x", "'--/app"} {
		for _, secret := range []string{"wrong", "", "righ", "rightt", "right ", "RIGHT", strings.Repeat("x", 2000)} {
			p := dial(t, s)
			p.Send("auth " + name + " " + secret + "\r\n")
			replies["line "+p.Line()] = name + " " + secret
			p.Send(fmt.Sprintf("*3\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name), name, len(secret), secret))
			replies["RESP "+p.Line()] = name + " " + secret
			p.Send(fmt.Sprintf("*5\r\n$5\r\nHELLO\r\n$1\r\n2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name),
				name, len(secret), secret))
			replies["RESP "+p.Line()] = name + " " + secret
			_ = p.Close()
		}
	}
	if len(replies) != 2 {
		t.Errorf("the replies differ: %q", replies)
	}
	p := dial(t, s)
	p.Ask("auth a/app next", "ok")
	p.Ask("auth a/app wrong", "err BADAUTH ") // the identity remains
	p.Ask("whoami", "ok tenant=a ")
}

// TestAllowlists checks the allowlists of listener, tenant and app, with IPv4, IPv6, and IPv4 in IPv6 notation. A
// client with valid credentials at another address is refused with IPDENIED, and so is an anonymous client.
func TestAllowlists(t *testing.T) {
	list := func(allow string, deny ...string) (l auth.Allowlist) {
		for _, p := range strings.Fields(allow) {
			l.Allow = append(l.Allow, netip.MustParsePrefix(p))
		}
		for _, p := range deny {
			l.Deny = append(l.Deny, netip.MustParsePrefix(p))
		}
		return l
	}
	narrow := list("192.0.2.0/24 2001:db8::/32", "192.0.2.66/32", "2001:db8:bad::/48")
	byTenant := tenantOf("a/app", "a")
	byTenant.Access = narrow
	byApp := tenantOf("b/app", "b")
	byApp.Apps[0].Access = &narrow
	nowhere := tenantOf("c/app", "c")
	nowhere.Access = auth.Allowlist{}
	both := tenantOf("d/app", "d")
	both.Access, both.Apps[0].Access = list("192.0.2.0/24"),
		&auth.Allowlist{Allow: list("192.0.2.0/25 198.51.100.0/24").Allow}
	opts := server.Options{Tenants: []server.Tenant{byTenant, byApp, nowhere, both}}
	listen := everywhere
	listen.Allow = list("192.0.0.0/8 198.51.100.0/24 2001::/16", "192.0.2.77/32")
	for from, admits := range map[string]string{ // of a, b, c, d, in this order
		"192.0.2.1": "ok ok no ok", "192.0.2.200": "ok ok no no", "192.0.2.66": "no no no ok",
		"192.0.3.1":        "no no no no",
		"::ffff:192.0.2.1": "ok ok no ok", "::ffff:192.0.2.66": "no no no ok", "198.51.100.1": "no no no no",
		"2001:db8::1": "ok ok no no", "2001:db8:bad::1": "no no no no", "2001:db9::1": "no no no no",
		"192.0.2.77": "", "203.0.113.1": "", "2002:db8::1": "", "::ffff:192.0.2.77": "",
	} {
		t.Run(from, func(t *testing.T) {
			inBubble(t, opts, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
				at := netip.AddrPortFrom(netip.MustParseAddr(from), 1).String()
				if admits == "" {
					p := dial(at)
					p.Want("err IPDENIED ")
					p.Closed()
				}
				for i, reply := range strings.Fields(admits) {
					p := dial(at)
					name := string("abcd"[i])
					p.Ask("auth "+name+"/app wrong", "err BADAUTH ")
					if reply == "ok" {
						p.Ask("auth "+name+"/app "+name, "ok")
						p.Ask("new", "ok ")
					} else {
						p.Ask("auth "+name+"/app "+name, "err IPDENIED ")
						p.Ask("new", "err NOAUTH ")
						p.Ask("whoami", "err NOAUTH ")
						p.Ask("auth test/app secret", "ok")
						p.Ask("auth "+name+"/app "+name, "err IPDENIED ")
						p.Ask("whoami", "ok tenant=test ")
					}
				}
			})
		})
	}
	listen.Allow = list("192.0.0.0/8")
	listen.Anonymous = auth.Identity{Tenant: "a", App: "app"}
	inBubble(t, opts, listen, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		dial("192.0.2.1:1").Ask("new", "ok ")
		p := dial("192.0.2.66:1")
		for _, line := range []string{"new", "whoami", "open 0123456789abcdef", "keys"} {
			p.Ask(line, "err IPDENIED ")
		}
		p.Ask("ping", "ok")
		p.Ask("auth test/app secret", "ok")
		p.Ask("new", "ok ")
	})
}

// TestConnectionQuota checks that a tenant has exactly its number of connections, however many are opened at once. A
// connection no longer counts when it has ended or authenticated as another tenant.
func TestConnectionQuota(t *testing.T) {
	three := tenantOf("a/app", "a")
	three.MaxConns = 3
	three.Apps = append(three.Apps, tenantOf("a/other", "o").Apps...)
	opts := server.Options{Tenants: []server.Tenant{three, tenantOf("b/app", "b")}}
	inBubble(t, opts, everywhere, func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
		var peers []*servertest.Conn
		for range 3 {
			p := dial("192.0.2.1:1")
			p.Ask("auth a/app a", "ok")
			p.Ask("auth a/other o", "ok") // another app of the same tenant adds no connection
			p.Ask("auth a/app a", "ok")
			peers = append(peers, p)
		}
		p := dial("192.0.2.1:2")
		p.Ask("auth a/app a", "err QUOTA ")
		p.Ask("whoami", "err NOAUTH ")
		p.Ask("auth b/app b", "ok")
		p.Ask("auth a/app a", "err QUOTA ")
		p.Ask("whoami", "ok tenant=b ")
		peers[0].Ask("auth b/app b", "ok")
		p.Ask("auth a/app a", "ok")
		peers[0].Ask("auth a/app a", "err QUOTA ")
		peers[1].Ask("reset", "ok RESET")
		peers[0].Ask("auth a/app a", "ok")
		_ = peers[2].Close()
		synctest.Wait()
		if whoami := p.Ask("whoami", "ok "); !strings.Contains(whoami, " connections=2 max_connections=3") {
			t.Errorf("whoami: %s", whoami)
		}
		three.MaxConns = 1
		if err := s.SetTenants([]server.Tenant{three, tenantOf("b/app", "b")}); err != nil {
			t.Fatal(err)
		}
		p.Ask("ping", "ok") // existing connections remain
		peers[0].Ask("new", "ok ")
		peers[1].Ask("auth a/app a", "err QUOTA ")
	})
}

func TestConnectionQuotaUnderLoad(t *testing.T) {
	t.Parallel()
	five := tenantOf("a/app", "a")
	five.MaxConns = 5
	s := servertest.Start(t, servertest.Config{Tenants: []server.Tenant{five}, Listen: strict})
	for range 10 {
		var in, out atomic.Int32
		var all sync.WaitGroup
		var conns sync.WaitGroup
		hold := make(chan struct{})
		all.Add(20)
		for range 20 {
			conns.Go(func() {
				nc, err := s.Dial(t.Context())
				if err != nil {
					t.Error(err)
					all.Done()
					return
				}
				defer nc.Close()
				for { // while other connections end
					if ask(nc, "auth a/app a\r\n") == nil {
						in.Add(1)
						break
					} else if in.Load() >= 5 {
						out.Add(1)
						break
					}
				}
				all.Done()
				<-hold
				_ = ask(nc, "quit\r\n")
				_, _ = io.Copy(io.Discard, nc)
			})
		}
		all.Wait()
		if in.Load() != 5 || out.Load() != 15 {
			t.Errorf("%d connections admitted, %d refused", in.Load(), out.Load())
		}
		close(hold)
		conns.Wait()
	}
}

// TestSetTenantsUnderLoad changes tenants and secrets while clients connect and leave. The server must not panic, no
// client may act with invalid credentials, and in the end no connection is counted.
func TestSetTenantsUnderLoad(t *testing.T) {
	t.Parallel()
	var logged servertest.Buffer
	var opened, closed atomic.Int64
	observed := counting{opened: &opened, closed: &closed, commands: new(atomic.Int64)}
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{}, Listen: strict,
		Options: server.Options{AuthFailures: server.Unlimited, Unauthenticated: server.Unlimited,
			ErrorBudget: 1 << 20, Observer: observed, Logger: slog.New(slog.NewTextHandler(&logged, nil))},
	})
	generation := func(g int) []server.Tenant {
		if g%7 == 6 {
			return nil
		}
		return []server.Tenant{tenantOf("a/app", fmt.Sprint(g), fmt.Sprint(g+1)), tenantOf("b/app", "b")}
	}
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 16 {
		clients.Go(func() {
			for g := i; ; g++ {
				select {
				case <-stop:
					return
				default:
				}
				nc, err := s.Dial(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
				for range 3 {
					if ask(nc, fmt.Sprintf("auth a/app %d\r\n", g%300)) == nil && ask(nc, "new\r\n") == nil {
						_ = ask(nc, "close\r\n")
					}
					_ = ask(nc, "auth b/app b\r\n")
				}
				_ = nc.Close()
			}
		})
	}
	for g := range 300 {
		if err := s.SetTenants(generation(g)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // for clients to connect in between
	}
	if err := s.SetTenants([]server.Tenant{tenantOf("a/app", "last")}); err != nil {
		t.Fatal(err)
	}
	close(stop)
	clients.Wait()
	for deadline := time.Now().Add(2 * time.Minute); opened.Load() != closed.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d were opened, %d closed", opened.Load(), closed.Load())
		}
	}
	p := dial(t, s)
	p.Ask("auth a/app last", "ok")
	if whoami := p.Ask("whoami", "ok "); !strings.Contains(whoami, " connections=1 ") {
		t.Errorf("whoami: %s", whoami)
	}
	if strings.Contains(logged.String(), "level=ERROR") {
		t.Errorf("logged: %.2000s", &logged)
	}
}

// counting counts connections.
type counting struct {
	server.Unobserved
	opened, closed, commands *atomic.Int64
}

func (c counting) ConnOpened(server.ConnInfo) server.ConnObserver { c.opened.Add(1); return c }
func (c counting) Closed(server.CloseReason)                      { c.closed.Add(1) }
func (c counting) CommandRan(server.CommandInfo)                  { c.commands.Add(1) }

// TestIsolation checks that no id and no key reaches a session of another tenant, in any mode.
func TestIsolation(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{tenantOf("a/app", "a"), tenantOf("ab/app", "ab"), tenantOf("b/app", "b")},
		Listen:  strict,
	})
	enter := func(credentials string) *servertest.Conn {
		p := dial(t, s)
		p.Ask("auth "+credentials, "ok")
		return p
	}
	a, b := enter("a/app a"), enter("b/app b")
	id := a.Ask("new", "ok ")
	a.Ask("put secret of-a", "ok")
	a.Ask("close", "ok")
	for _, name := range []string{id, "a/" + id, "a:" + id, "../a/" + id, "a\\" + id, "%61/" + id, "/a/" + id,
		"./../a/" + id, id + "/../" + id, strings.ToUpper(id), "a|" + id, "*" + id[1:],
		"????????????????????????????????", "{a}" + id} {
		for _, mode := range []string{"u", "r", "s"} {
			b.Ask("open "+name+" "+mode+" 0", "err NOTFOUND ")
		}
		b.Ask("open "+name+" rw 0", "ok")
		b.Ask("keys", "ok")
		b.Ask("get secret", "err NOKEY ")
		b.Ask("put secret of-b", "ok")
		b.Ask("close", "ok")
		b.Ask("open "+name, "ok")
		b.Ask("destroy", "ok")
	}
	// An id that is locked in one tenant is free in another one, and NUL bytes in RESP do not end a name.
	a.Ask("open "+id, "ok")
	b.Send(fmt.Sprintf("*4\r\n$4\r\nopen\r\n$%d\r\n%s\r\n$1\r\nu\r\n$1\r\n0\r\n", len(id)+2, "a\x00"+id))
	b.Want("-BADID ")
	ab := enter("ab/app ab")
	ab.Ask("open "+id+" rw 0", "ok")
	a.Ask("get secret", "ok of-a")
	a.Ask("auth b/app b", "err BUSY ")
	a.Ask("close", "ok")
	a.Ask("auth b/app b", "ok")
	a.Ask("open "+id+" s", "err NOTFOUND ")
}
