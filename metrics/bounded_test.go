package metrics

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/session"
)

// TestBounded checks that clients cannot create series with invented names.
func TestBounded(t *testing.T) {
	const many = 10_000
	w := newMonitored(t, Options{}, func(c *servertest.Config) {
		c.Options.AuthFailures, c.Options.Unauthenticated, c.Options.ErrorBudget = server.Unlimited, server.Unlimited,
			10*many
	})
	word := func() string { return fmt.Sprintf("w%016x", rand.Uint64()) }
	hostile := func(n int) {
		p := w.dial()
		go func() {
			for range n {
				tenant, app := word(), word()
				_, _ = fmt.Fprintf(p, "auth %s/%s %s\r\n%s %s\r\nopen %s r\r\nopen %s%s u\r\n*3\r\n$6\r\nclient\r\n"+
					"$7\r\nsetname\r\n$%d\r\n%s\r\n",
					tenant, app, word(), word(), word(), word(), word(), word(), len(app), app)
			}
			_, _ = io.WriteString(p, "quit\r\n")
		}()
		_, _ = io.Copy(io.Discard, p.In)
	}
	hostile(2)
	require.Eventually(w, "the first client has left", func() bool {
		return w.values()["connections_closed_total{listener=main,reason=quit}"] == 1
	})
	w.Session(session.Event{Kind: session.Expired, Tenant: "test"})
	before := w.values()
	hostile(many)
	require.Eventually(w, "the other client has left", func() bool {
		return w.values()["connections_closed_total{listener=main,reason=quit}"] == 2
	})
	for range many {
		// Tenants that are not served any more: their sessions unchanged expire.
		w.Session(session.Event{Kind: session.Expired, Tenant: word()})
	}
	after := w.values()
	if got := after["authentication_failures_total{method=secret}"]; got != many+2 {
		t.Errorf("%v of %d credentials were checked", got, many+2)
	}
	for series := range after {
		if _, known := before[series]; !known {
			t.Errorf("a client has created %s", series)
		}
	}
}

// TestTenantsComeAndGo checks that a tenant has series exactly while it is served.
func TestTenantsComeAndGo(t *testing.T) {
	w := newMonitored(t, Options{}, nil)
	count := func(tenant string) (n int) {
		for _, f := range w.gather() {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if l.GetName() == "tenant" && l.GetValue() == tenant {
						n++
					}
				}
			}
		}
		return n
	}
	if n := count("test"); n == 0 {
		t.Fatal("a tenant has no series")
	}
	require.NoError(w, w.server.SetTenants([]server.Tenant{servertest.Tenant("other/app", "secret")}))
	if n := count("test"); n != 0 {
		t.Errorf("a deleted tenant has %d series", n)
	}
	p := w.dial()
	p.Replies("auth other/app secret", "new", "close")
	if n := w.values()["tenant_operations_total{result=ok,tenant=other}"]; n != 3 {
		t.Errorf("%v of 3 commands of a new tenant are counted", n)
	}
}

// TestModes checks that totals have one series of each kind, and that off has none.
func TestModes(t *testing.T) {
	for mode, want := range map[TenantsMode]map[string]float64{
		Totals: {
			"tenant_operations_total{result=ok,tenant=all}":         5,
			"tenant_session_events_total{event=created,tenant=all}": 2,
			"tenant_usage{resource=sessions,tenant=all}":            2,
		},
		Off: {},
	} {
		t.Run(string(mode), func(t *testing.T) {
			w := newMonitored(t, Options{Tenants: mode}, func(c *servertest.Config) {
				c.Tenants = append(c.Tenants, servertest.Tenant("other/app", "secret"))
			})
			w.dial().Replies("new", "close")
			p := w.dial()
			p.Replies("auth other/app secret")
			p.Replies("new", "close")
			got := w.values()
			for series, n := range want {
				if got[series] != n {
					t.Errorf("%s is %v, want %v", series, got[series], n)
				}
			}
			for _, f := range w.gather() {
				for _, m := range f.Metric {
					for _, l := range m.Label {
						if l.GetName() == "tenant" && (mode == Off || l.GetValue() != allTenants) {
							t.Errorf("%s has a series of tenant %s", f.GetName(), l.GetValue())
						}
					}
				}
			}
			if got["stored_sessions"] != 2 {
				t.Errorf("%v sessions are stored", got["stored_sessions"])
			}
		})
	}
	if _, err := New(Options{Tenants: "some"}); err == nil {
		t.Error("the mode some is accepted")
	}
}
