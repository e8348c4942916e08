package server_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"sessionserver/server"
)

// TestMemoryQuota: what a tenant's connections hold at once is bounded; what they held before does not count, and neither do others.
func TestMemoryQuota(t *testing.T) {
	small := tenantOf("a/app", "a")
	small.MaxMemory = 2 << 20
	opts := server.Options{Tenants: []server.Tenant{small, tenantOf("b/app", "b")}}
	inBubble(t, opts, everywhere, func(t *testing.T, _ *server.Server, dial func(string) *peer) {
		enter := func(credentials string) *peer {
			p := dial("192.0.2.1:1")
			p.ask("auth "+credentials, "ok")
			return p
		}
		big := strings.Repeat("x", 700<<10)
		p := enter("a/app a")
		id := p.ask("new", "ok ")
		p.ask("put k "+big, "ok")
		p.ask("close", "ok")
		// A pool of connections, each of which has had a large answer and now rests, holds nothing.
		for range 5 {
			q := enter("a/app a")
			q.send("open " + id + " s\r\nget k\r\nclose\r\n")
			q.want("ok")
			q.want("ok " + big)
			q.want("ok")
			synctest.Wait()
		}
		var holders []*peer
		for range 3 {
			q := enter("a/app a")
			q.send("open " + id + " s\r\n")
			if answer := q.line(); answer == "ok" {
				holders = append(holders, q)
				q.ask("get k", "ok "+big) // an answer that was sent is not held any more
			} else if !strings.HasPrefix(answer, "err QUOTA ") {
				q.fail("got %q", answer)
			}
			synctest.Wait()
		}
		if len(holders) != 2 {
			t.Fatalf("%d sessions of 700 KiB are open at once", len(holders))
		}
		r := enter("a/app a")
		go func() { _, _ = io.WriteString(r.Conn, "put k "+big) }() // the rest does not come, and is not waited for
		r.want("err QUOTA ")
		r.gone()
		enter("b/app b").ask("new", "ok ")
		holders[0].ask("close", "ok") // to let go is never refused
		synctest.Wait()
		enter("a/app a").ask("open "+id+" s", "ok")
		_ = holders[1].Close()
		synctest.Wait()
		enter("a/app a").ask("open "+id+" s", "ok")
	})
}
