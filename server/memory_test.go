package server_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/wire"
)

// TestMemoryQuota checks that the memory of a tenant's connections is bounded. Memory that was freed does not count,
// nor does that of other tenants.
func TestMemoryQuota(t *testing.T) {
	small := tenantOf("a/app", "a")
	small.MaxMemory = 2 << 20
	opts := server.Options{Tenants: []server.Tenant{small, tenantOf("b/app", "b")}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
		enter := func(credentials string) *servertest.Conn {
			p := dial("192.0.2.1:1")
			p.Ask("auth "+credentials, "ok")
			return p
		}
		big := strings.Repeat("x", 700<<10)
		p := enter("a/app a")
		id := p.Ask("new", "ok ")
		p.Ask("put k "+big, "ok")
		p.Ask("close", "ok")
		// A pool of idle connections holds nothing, although each of them has had a large reply.
		for range 5 {
			q := enter("a/app a")
			q.Send("open " + id + " s\r\nget k\r\nclose\r\n")
			q.Want("ok")
			q.Want("ok " + big)
			q.Want("ok")
			synctest.Wait()
		}
		var holders []*servertest.Conn
		for range 3 {
			q := enter("a/app a")
			q.Send("open " + id + " s\r\n")
			if reply := q.Line(); reply == "ok" {
				holders = append(holders, q)
				q.Ask("get k", "ok "+big) // a reply that was sent is no longer held
			} else if !strings.HasPrefix(reply, "err QUOTA ") {
				q.Fail("got %q", reply)
			}
			synctest.Wait()
		}
		if len(holders) != 2 {
			t.Fatalf("%d sessions of 700 KiB are open at once", len(holders))
		}
		r := enter("a/app a")
		r.Ask("new", "ok ")
		r.Ask("put k small", "ok")
		r.Ask("put k "+big, "err QUOTA ") // the session and its values remain
		r.Send(string(wire.AppendRequest(nil, "put", "k", big)))
		r.Want("-QUOTA ")
		r.Ask("get k", "ok small")
		r.Ask("close", "ok")
		enter("b/app b").Ask("new", "ok ")
		holders[0].Ask("close", "ok") // releasing is never refused
		synctest.Wait()
		enter("a/app a").Ask("open "+id+" s", "ok")
		_ = holders[1].Close()
		synctest.Wait()
		enter("a/app a").Ask("open "+id+" s", "ok")
	})
}

// TestMemoryOfMany checks that many connections with little memory each are counted: sessions, incomplete requests
// and unread replies. Refused connections keep their sessions, and can read, save and close them.
func TestMemoryOfMany(t *testing.T) {
	const limit, each, many = 1 << 20, 60_000, 40
	tenant := tenantOf("a/app", "a")
	tenant.MaxMemory = limit
	value := strings.Repeat("x", each)
	inBubble(t, server.Options{Tenants: []server.Tenant{tenant}}, everywhere,
		func(t *testing.T, s *server.Server, dial func(string) *servertest.Conn) {
			within := func(what string) {
				t.Helper()
				synctest.Wait()
				most := int64(limit + runtime.GOMAXPROCS(0)*64<<10) // replies that are encoded at the same moment
				if held := s.Stats().Memory; held > most || held < limit/2 {
					t.Errorf("%s: %d bytes are counted", what, held)
				}
			}
			var full, refused []*servertest.Conn
			for range many {
				p := dial("192.0.2.1:1")
				p.Ask("auth a/app a", "ok")
				if p.Send("new\r\n"); strings.HasPrefix(p.Line(), "err QUOTA ") {
					_ = p.Close()
					continue
				}
				p.Ask("put small 1", "ok")
				p.Send("put large " + value + "\r\n")
				if reply := p.Line(); reply == "ok" {
					full = append(full, p)
				} else if refused = append(refused, p); !strings.HasPrefix(reply, "err QUOTA ") {
					p.Fail("got %q", reply)
				}
			}
			within("sessions")
			if most := limit / each; len(full) < most/2 || len(full) > most || len(refused) == 0 {
				t.Fatalf("%d connections hold %d bytes each, and %d were refused", len(full), each, len(refused))
			}
			for _, p := range full {
				p.Send("get large\r\n")
			}
			within("replies")
			for _, p := range full {
				p.Want("ok " + value)
				p.Ask("exists small", "ok")
				p.Ask("remove small", "ok")
				p.Ask("close", "ok")
			}
			for _, p := range refused {
				p.Ask("get small", "ok 1")
				p.Ask("close", "ok")
			}
			synctest.Wait()
			for _, p := range append(full, refused...) {
				p.Send("put large " + value) // incomplete
			}
			within("half requests")
			for i, p := range append(full, refused...) {
				p.Send("\r\n")
				if p.Want("err "); i == 0 {
					p.Ask("ping", "ok")
				}
			}
			time.Sleep(2 * time.Second) // idle connections have released their buffers
			if held := s.Stats().Memory; held != 0 {
				t.Errorf("%d bytes are counted after the end of all connections", held)
			}
		})
}
