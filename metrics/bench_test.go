package metrics

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
	"sessionserver/wire"
)

// TestNoAllocation checks that the metrics of a command allocate nothing.
func TestNoAllocation(t *testing.T) {
	m, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := m.Server().ConnOpened(server.ConnInfo{Listener: "main"})
	c.Identified(auth.Identity{Tenant: "acme", App: "shop"}, auth.BySecret)
	decided, store := m.Policy(), m.Storage()
	failure := errors.New("the disk is full")
	for name, observe := range map[string]func(){
		"a command":          func() { c.CommandRan(server.CommandInfo{Command: "get", Duration: time.Millisecond}) },
		"an unknown command": func() { c.CommandRan(server.CommandInfo{Outcome: wire.Unknown}) },
		"an error":           func() { c.CommandRan(server.CommandInfo{Command: "get", Outcome: wire.NoKey}) },
		"a refusal": func() {
			c.CommandRan(server.CommandInfo{Command: "get", Outcome: wire.RateLimited, Gate: "rates"})
		},
		"a rate":          func() { c.RateLimited(server.OfApp) },
		"a failed login":  func() { c.AuthFailed(auth.BySecret) },
		"a saved session": func() { m.Session(session.Event{Kind: session.Saved, Tenant: "acme"}) },
		"a lock": func() {
			m.Session(session.Event{Kind: session.LockGranted, Tenant: "acme", Waited: time.Millisecond})
		},
		"an event of an unknown tenant": func() { m.Session(session.Event{Kind: session.Expired, Tenant: "nobody"}) },
		"a cached decision": func() {
			decided(policy.Evaluation{Outcome: policy.Allowed, Cached: true})
		},
		"a decision": func() {
			decided(policy.Evaluation{Outcome: policy.Denied, Duration: time.Millisecond})
		},
		"a storage operation": func() { store.OperationDone("get", time.Millisecond, nil) },
		"a storage failure":   func() { store.OperationDone("put", time.Millisecond, failure) },
		"a sync":              func() { store.Synced(time.Millisecond) },
	} {
		observe() // the first call creates the series
		if n := testing.AllocsPerRun(1000, observe); n != 0 {
			t.Errorf("%s has %v allocations", name, n)
		}
	}
}

// BenchmarkObserver measures the cost of metrics of a command.
func BenchmarkObserver(b *testing.B) {
	m, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := m.Server().ConnOpened(server.ConnInfo{Listener: "main"})
		c.Identified(auth.Identity{Tenant: "acme", App: "shop"}, auth.BySecret)
		for pb.Next() {
			c.CommandRan(server.CommandInfo{Command: "get", Duration: 37 * time.Microsecond})
		}
	})
}

// BenchmarkCycle measures a session that is opened, read, changed and saved on an open connection, with and without
// metrics.
func BenchmarkCycle(b *testing.B) {
	const cycle = "open 0123456789abcdef0123456789abcdef\r\nget k\r\nput k v\r\nclose\r\n"
	for _, counted := range []bool{false, true} {
		b.Run(fmt.Sprintf("metrics=%v", counted), func(b *testing.B) {
			var cfg servertest.Config
			if counted {
				m, err := New(Options{})
				if err != nil {
					b.Fatal(err)
				}
				cfg.Observe, cfg.Options.Observer = m.Session, m.Server()
			}
			s := servertest.Start(b, cfg)
			nc, err := s.Dial(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			in := bufio.NewReader(nc)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(nc, cycle); err != nil {
					b.Fatal(err)
				}
				for range 4 {
					if _, err := in.ReadSlice('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkScrape measures a scrape of a server with many tenants, which all have series.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		for _, mode := range []TenantsMode{Full, Totals} {
			b.Run(fmt.Sprintf("tenants=%d/%s", n, mode), func(b *testing.B) {
				w := newMonitored(b, Options{Tenants: mode}, func(c *servertest.Config) {
					for i := range n {
						c.Tenants = append(c.Tenants, servertest.Tenant(fmt.Sprintf("tenant-%d/app", i), "secret"))
					}
				})
				h := w.Handler()
				var bytes int
				for b.Loop() {
					r := httptest.NewRecorder()
					h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
					bytes = r.Body.Len()
				}
				b.ReportMetric(float64(bytes), "bytes/scrape")
			})
		}
	}
}
