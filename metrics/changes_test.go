package metrics

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/session"
	"sessionserver/storage"
)

// scenarios are events, with the series that each changes. Every declared family is in one of them.
var scenarios = map[string]struct {
	change  func(*servertest.Config)
	do      func(*monitored)
	changes map[string]float64 // of series; 0 is any increase
}{
	"nothing": {changes: map[string]float64{
		"build_info{goversion=GO,revision=abc,version=1.2.3}": 1,
		"ready":              1,
		"tenants":            1,
		"connections_limit":  16384,
		"memory_limit_bytes": 2 << 30,
		"tenant_quota{resource=sessions,tenant=test}":                          1000,
		"tenant_quota{resource=bytes,tenant=test}":                             1 << 30,
		"tenant_quota{resource=waiters,tenant=test}":                           100,
		"tenant_quota{resource=connections,tenant=test}":                       500,
		"tenant_quota{resource=memory,tenant=test}":                            1 << 30,
		"certificate_expiry_timestamp_seconds{name=localhost,source=local_ca}": 0,
		"certificate_events_total{event=loaded}":                               1,
		"storage_size_bytes":                                                   1,
		"storage_filesystem_size_bytes":                                        2,
		"storage_filesystem_avail_bytes":                                       3,
		"storage_cache_hits_total":                                             4,
		"storage_cache_misses_total":                                           5,
		"storage_tombstones_dropped_total":                                     7,
		"storage_index_bytes":                                                  8,
		"sweep_lag_seconds":                                                    1,
		"log_lost_total":                                                       6,
	}},
	"a session is created, saved and destroyed": {
		do: func(w *monitored) {
			p := w.dial()
			id := p.OK("new")
			p.Replies("put k v", "close", "open "+id, "put k w", "close", "open "+id, "regenerate_id", "destroy",
				"quit")
		},
		changes: map[string]float64{
			"commands_total{code=OK,command=new}":                        1,
			"commands_total{code=OK,command=close}":                      2,
			"command_duration_seconds{command=close}":                    2,
			"commands_total{code=INTERNAL,command=close}":                unchanged,
			"commands_total{code=UNAVAILABLE,command=close}":             unchanged,
			"session_events_total{event=created}":                        1,
			"session_events_total{event=saved}":                          1,
			"session_events_total{event=regenerated}":                    1,
			"session_events_total{event=destroyed}":                      1,
			"tenant_session_events_total{event=created,tenant=test}":     1,
			"tenant_session_events_total{event=destroyed,tenant=test}":   1,
			"tenant_session_events_total{event=regenerated,tenant=test}": 1,
			"tenant_operations_total{result=ok,tenant=test}":             10,
			"lock_wait_seconds":                                          3,
			"connections_opened_total{listener=main}":                    1,
			"connections_closed_total{listener=main,reason=quit}":        1,
			"authentications_total{method=anonymous}":                    1,
			"policy_decisions_total{cached=false,outcome=allowed}":       0,
			"policy_decisions_total{cached=true,outcome=allowed}":        0,
			"policy_evaluation_duration_seconds":                         0,
			"audit_events_total{event=session.created}":                  1,
			"audit_write_duration_seconds":                               0,
		},
	},
	"a session is open": {
		do: func(w *monitored) {
			p := w.dial()
			p.OK("new")
			p.Replies("put k "+strings.Repeat("x", 100_000), "commit", "get k")
		},
		changes: map[string]float64{
			"sessions_open":                                  1,
			"connections{listener=main,tls=none}":            1,
			"memory_held_bytes":                              0,
			"tenant_usage{resource=memory,tenant=test}":      0,
			"stored_sessions":                                1,
			"stored_bytes":                                   0,
			"tenant_usage{resource=sessions,tenant=test}":    1,
			"tenant_usage{resource=connections,tenant=test}": 1,
		},
	},
	"a client waits for a lock and gets it": {
		do: func(w *monitored) {
			a, b := w.dial(), w.dial()
			id := a.OK("new")
			b.Send("open " + id + "\r\n")
			require.Eventually(w, "one client waits, and one lock is held", func() bool {
				v := w.values()
				return v["lock_waiters"] == 1 && v["tenant_usage{resource=waiters,tenant=test}"] == 1 &&
					v["locks_held"] == 1
			})
			a.Replies("abort")
			_, _ = b.In.ReadString('\n')
		},
		changes: map[string]float64{
			"lock_wait_seconds":                           2,
			"tenant_lock_wait_seconds_total{tenant=test}": 0,
			"locks_held":                                  1,
			"lock_waiters":                                unchanged,
		},
	},
	"a client times out waiting for a lock": {
		do: func(w *monitored) {
			a, b := w.dial(), w.dial()
			b.Replies("open " + a.OK("new") + " rw 1")
		},
		changes: map[string]float64{
			"commands_total{code=LOCKTIMEOUT,command=open}":                 1,
			"lock_timeouts_total":                                           1,
			"tenant_session_events_total{event=lock_timed_out,tenant=test}": 1,
			"tenant_operations_total{result=error,tenant=test}":             1,
		},
	},
	"a client leaves while it waits for a lock": {
		do: func(w *monitored) {
			a, b := w.dial(), w.dial()
			b.Send("open " + a.OK("new") + "\r\n")
			require.Eventually(w, "one client waits", func() bool { return w.values()["lock_waiters"] == 1 })
			_ = b.Close()
		},
		changes: map[string]float64{
			"commands_total{code=PEERLEFT,command=open}":               1,
			"connections_closed_total{listener=main,reason=peer_left}": 1,
		},
	},
	"a lock is lost": {
		do: func(w *monitored) {
			p := w.dial()
			p.OK("new")
			_, err := w.server.Sessions.DropTenant(w.Context(), "test")
			require.NoError(w, err)
			p.Replies("get k")
		},
		changes: map[string]float64{
			"locks_lost_total": 1,
			"tenant_session_events_total{event=lock_lost,tenant=test}": 1,
		},
	},
	"sessions expire": {
		do: func(w *monitored) {
			p := w.dial()
			p.OK("new")
			p.Replies("put k v", "close")
			w.ahead.Store(int64(24 * time.Hour))
			ctx, cancel := context.WithCancel(w.Context())
			w.server.Sessions.Sweep(ctx, session.SweepOptions{Interval: time.Minute, Batch: 1000,
				Done: func(removed int, err error) {
					w.Swept(removed, err)
					w.Swept(0, errors.New("the next sweep fails"))
					cancel()
				}})
		},
		changes: map[string]float64{
			"session_events_total{event=expired}":                    1,
			"tenant_session_events_total{event=expired,tenant=test}": 1,
			"sweep_removed_total":                                    1,
			"sweep_last_success_timestamp_seconds":                   0,
			"sweep_errors_total":                                     1,
		},
	},
	"TLS": {
		do: func(w *monitored) {
			w.dialTLS().Replies("ping")
			bad := w.dial()
			bad.Send("\x16\x03\x01\x00\x04nope")
			_, _ = io.ReadAll(bad)
		},
		changes: map[string]float64{
			"connections{listener=main,tls=1.3}":                              1,
			"tls_handshakes_total{listener=main,version=1.3}":                 1,
			"tls_handshake_duration_seconds{listener=main}":                   1,
			"tls_handshake_failures_total{listener=main,reason=no_agreement}": 1,
			"connections_closed_total{listener=main,reason=handshake_failed}": 1,
		},
	},
	"credentials": {
		do: func(w *monitored) { w.dial().Replies("auth test/app wrong", "auth test/app secret") },
		changes: map[string]float64{
			"authentication_failures_total{method=secret}":       1,
			"authentications_total{method=secret}":               1,
			"commands_total{code=BADAUTH,command=auth}":          1,
			"audit_events_total{event=connection.authenticated}": 2,
		},
	},
	"many invalid credentials": {
		change: func(c *servertest.Config) { c.Options.AuthFailures = server.Rate{PerSecond: 0.001, Burst: 1} },
		do:     func(w *monitored) { w.dial().Replies("auth test/app wrong", "auth test/app wrong") },
		changes: map[string]float64{
			"rate_limited_total{scope=auth_failures}":                          1,
			"connections_closed_total{listener=main,reason=too_many_failures}": 1,
		},
	},
	"an app exceeds its rate": {
		change: func(c *servertest.Config) { c.Tenants[0].Rates.App = server.Rate{PerSecond: 0.001, Burst: 8} },
		do: func(w *monitored) {
			p := w.dial()
			for range 9 {
				p.Replies("ping")
			}
		},
		changes: map[string]float64{
			"rate_limited_total{scope=app}":                       0,
			"refusals_total{gate=rates}":                          0,
			"tenant_refusals_total{gate=rates,tenant=test}":       0,
			"tenant_operations_total{result=refused,tenant=test}": 0,
		},
	},
	"a tenant exceeds its rate": {
		change: func(c *servertest.Config) { c.Tenants[0].Rates.Tenant = server.Rate{PerSecond: 0.001, Burst: 8} },
		do: func(w *monitored) {
			p := w.dial()
			for range 9 {
				p.Replies("ping")
			}
		},
		changes: map[string]float64{
			"rate_limited_total{scope=tenant}": 0,
		},
	},
	"an address exceeds its rate": {
		change: func(c *servertest.Config) { c.Tenants[0].Rates.Address = server.Rate{PerSecond: 0.001, Burst: 8} },
		do: func(w *monitored) {
			p := w.dial()
			for range 9 {
				p.Replies("ping")
			}
		},
		changes: map[string]float64{
			"rate_limited_total{scope=address}": 0,
		},
	},
	"too many sessions are created": {
		change: func(c *servertest.Config) {
			c.Tenants[0].Rates.SessionCreation = server.Rate{PerSecond: 0.001, Burst: 1}
		},
		do: func(w *monitored) { w.dial().Replies("new", "abort", "new") },
		changes: map[string]float64{
			"rate_limited_total{scope=session_creation}":   1,
			"commands_total{code=RATELIMITED,command=new}": 1,
			"refusals_total{gate=rates}":                   1,
		},
	},
	"unauthenticated clients exceed their rate": {
		change: func(c *servertest.Config) { c.Options.Unauthenticated = server.Rate{PerSecond: 0.001, Burst: 8} },
		do: func(w *monitored) {
			for range 9 {
				w.dial().Replies("ping")
			}
		},
		changes: map[string]float64{
			"rate_limited_total{scope=unauthenticated}":              1,
			"refusals_total{gate=rates}":                             1,
			"connections_closed_total{listener=main,reason=refused}": 1,
		},
	},
	"the allowlist refuses a client": {
		change: func(c *servertest.Config) { c.Listen.Allow.Deny = servertest.Loopback.Allow },
		do:     func(w *monitored) { w.dial().Replies("ping") },
		changes: map[string]float64{
			"refusals_total{gate=allowlist}":                    1,
			"tenant_refusals_total{gate=allowlist,tenant=test}": unchanged,
		},
	},
	"gates": {
		change: func(c *servertest.Config) {
			c.Listen.Anonymous.Tenant = ""
			c.Listen.Anonymous.App = ""
			c.Tenants[0].Sessions.MaxSessions = 1
		},
		do: func(w *monitored) {
			p := w.dial()
			p.Replies("new", "auth test/app secret", "get k", "new", "put k v", "close", "new", "put k v", "close",
				"abort", "frobnicate",
				"auth test/reader secret", "new")
		},
		changes: map[string]float64{
			"refusals_total{gate=authenticated}":                    1,
			"refusals_total{gate=session_state}":                    1,
			"refusals_total{gate=quota}":                            1,
			"refusals_total{gate=policy}":                           1,
			"tenant_refusals_total{gate=session_state,tenant=test}": 1,
			"tenant_refusals_total{gate=quota,tenant=test}":         1,
			"tenant_refusals_total{gate=policy,tenant=test}":        1,
			"policy_decisions_total{cached=false,outcome=denied}":   1,
			"commands_total{code=UNKNOWN,command=unknown}":          1,
			"commands_total{code=QUOTA,command=close}":              1,
			"tenant_operations_total{result=refused,tenant=test}":   3,
		},
	},
	"connections beyond a tenant's quota": {
		change: func(c *servertest.Config) { c.Tenants[0].MaxConns = 1 },
		do: func(w *monitored) {
			w.dial().Replies("ping")
			p := w.dial()
			p.Send("ping\r\n")
			_, _ = io.ReadAll(p)
		},
		changes: map[string]float64{
			"refusals_total{gate=quota}":                    1,
			"tenant_refusals_total{gate=quota,tenant=test}": 1,
		},
	},
	"logins with valid credentials that are refused": {
		change: func(c *servertest.Config) {
			c.Listen.Anonymous = auth.Identity{}
			c.Tenants[0].MaxConns = 1
			c.Tenants[0].Apps[1].Access = &auth.Allowlist{}
		},
		do: func(w *monitored) {
			w.dial().Replies("auth test/app secret")
			w.dial().Replies("auth test/app secret", "auth test/reader secret", "auth test/app wrong",
				"auth others/app secret")
		},
		changes: map[string]float64{
			"refusals_total{gate=quota}":                          1,
			"refusals_total{gate=allowlist}":                      1,
			"tenant_refusals_total{gate=quota,tenant=test}":       1,
			"tenant_refusals_total{gate=allowlist,tenant=test}":   1,
			"tenant_operations_total{result=refused,tenant=test}": 2,
			"tenant_operations_total{result=ok,tenant=test}":      1,
			"tenant_operations_total{result=error,tenant=test}":   unchanged,
		},
	},
	"a tenant exceeds its memory": {
		change: func(c *servertest.Config) { c.Tenants[0].MaxMemory = 100_000 },
		do: func(w *monitored) {
			p := w.dial()
			p.OK("new")
			p.Replies("put k " + strings.Repeat("x", 120_000))
		},
		changes: map[string]float64{
			"refusals_total{gate=memory}": 1,
		},
	},
	"the server drains": {
		do: func(w *monitored) {
			p := w.dial()
			p.OK("new")
			ctx, cancel := context.WithCancel(w.Context())
			cancel()
			go func() { _ = w.server.Shutdown(context.Background()) }()
			<-ctx.Done()
			require.Eventually(w, "the server drains", func() bool { return w.values()["draining"] == 1 })
			p.Replies("abort")
		},
		changes: map[string]float64{
			"draining": 1,
			"ready":    -1,
			"connections_closed_total{listener=main,reason=drained}": 1,
		},
	},
	"saves wait in the fair queue": {
		change: func(c *servertest.Config) {
			c.Store = &slow{c.Store, c.Options.Commands[0].Run}
			c.Tenants[0].Sessions.MaxSessions, c.Tenants[0].Sessions.MaxTotalBytes = 0, 0 // which slow does not count
		},
		do: func(w *monitored) {
			w.sendAll("close", `fair_queue_waiting{kind=save}`, "new", "put k v")
		},
		changes: map[string]float64{
			"fair_queue_waiting{kind=save}":         unchanged,
			"commands_total{code=OK,command=close}": crowd,
		},
	},
	"commands wait in the fair queue": {
		do: func(w *monitored) { w.sendAll("hold", `fair_queue_waiting{kind=processor}`) },
		changes: map[string]float64{
			"fair_queue_waiting{kind=processor}":   unchanged,
			"commands_total{code=OK,command=hold}": crowd,
		},
	},
	"the configuration is reloaded": {
		do: func(w *monitored) {
			w.Reloaded("policy", nil)
			w.Reloaded("tenants", nil)
			w.Reloaded("tenants", errors.New("a mistake"))
			w.TenantProblems(2)
		},
		changes: map[string]float64{
			"reloads_total{result=ok,what=policy}":                1,
			"reload_last_successful{what=policy}":                 1,
			"reload_last_success_timestamp_seconds{what=policy}":  0,
			"tenant_files_problems":                               2,
			"reloads_total{result=ok,what=tenants}":               1,
			"reloads_total{result=failed,what=tenants}":           1,
			"reload_last_successful{what=tenants}":                unchanged,
			"reload_last_success_timestamp_seconds{what=tenants}": 0,
		},
	},
	"certificates": {
		do: func(w *monitored) { w.Certificate(certs.Event{Kind: certs.Expiring}) },
		changes: map[string]float64{
			"certificate_events_total{event=expiring}": 1,
		},
	},
	"the storage": {
		do: func(w *monitored) {
			s := w.Storage()
			s.OperationDone("get", time.Millisecond, storage.ErrNotFound)
			s.OperationDone("put_all", time.Millisecond, errors.New("the disk is full"))
			s.OperationDone("no such operation", time.Millisecond, errors.New("the disk is full"))
			s.Synced(time.Millisecond)
		},
		changes: map[string]float64{
			"storage_operation_duration_seconds{operation=get}":     1,
			"storage_operation_duration_seconds{operation=put_all}": 1,
			"storage_errors_total{operation=get}":                   unchanged,
			"storage_errors_total{operation=put_all}":               1,
			"storage_sync_duration_seconds":                         1,
		},
	},
	"the audit log fails": {
		do: func(w *monitored) {
			w.audit.Failed(errors.New("the disk is full"))
			w.audit.Troubled(errors.New("no rotation"))
			w.audit.Lost(3)
		},
		changes: map[string]float64{
			"audit_failures_total": 2,
			"audit_failing":        1,
			"audit_lost_total":     3,
		},
	},
	"a record is damaged": {
		do: func(w *monitored) { w.Session(session.Event{Kind: session.Damaged, Tenant: "test"}) },
		changes: map[string]float64{
			"session_events_total{event=damaged}": 1,
		},
	},
	"the decision log fails": {
		do: func(w *monitored) { w.Decisions().Lost(3) },
		changes: map[string]float64{
			"decisions_lost_total": 3,
		},
	},
	"the audit log recovers": {
		do: func(w *monitored) {
			w.audit.Failed(errors.New("the disk is full"))
			w.audit.Recovered()
			w.audit.Written(audit.SessionExpired)
		},
		changes: map[string]float64{
			"audit_failing": unchanged,
			"audit_events_total{event=session.expired}": 1,
		},
	},
}

// unchanged is the change of a series that must exist and keep its value.
const unchanged = -0.5

// crowd is how many connections send a line at the same time. It exceeds the number of turns that are lent while none
// is returned.
const crowd = 200

// sendAll lets many connections send some lines each, and then the last line at the same time. The command hold of the
// last lines ends once a client waits in the fair queue.
func (w *monitored) sendAll(last, gauge string, before ...string) {
	all := make([]*servertest.Conn, crowd)
	for i := range all {
		all[i] = w.dial()
		all[i].Replies(before...)
	}
	for _, p := range all {
		p.Send(last + "\r\n")
	}
	require.Eventually(w, "a client waits in the fair queue", func() bool { return w.values()[gauge] > 0 })
	close(w.held)
	for _, p := range all {
		_, _ = p.In.ReadString('\n')
	}
}

// slow is a store with a slow Put.
type slow struct {
	storage.Store
	wait func(*server.Call) error
}

func (s *slow) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	_ = s.wait(nil)
	return s.Store.Put(ctx, key, rec)
}

// TestChanges checks that each event changes its series by the right amount, and that the scenarios cover all declared
// families.
func TestChanges(t *testing.T) {
	uncovered := declared(t)
	for name, row := range scenarios {
		for series := range row.changes {
			family, _, _ := strings.Cut(series, "{")
			delete(uncovered, prefix+family)
		}
		t.Run(name, func(t *testing.T) {
			w := newMonitored(t, Options{Version: "1.2.3", Revision: "abc"}, row.change)
			before := map[string]float64{}
			if row.do != nil {
				before = w.values()
				row.do(w)
			}
			for series, want := range row.changes {
				series = strings.Replace(series, "GO", goVersion, 1)
				var was, now float64
				var there bool
				require.Eventually(w, series+" changes", func() bool {
					was = before[series]
					now, there = w.values()[series]
					switch want {
					case unchanged:
						return there && now == was
					case 0:
						return now > was
					}
					return now-was == want
				})
			}
		})
	}
	for family := range uncovered {
		t.Errorf("no scenario covers %s", family)
	}
}

// declared returns the names of all families in the document.
func declared(t *testing.T) map[string]bool {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `("+prefix+`\w+)`).FindAllStringSubmatch(string(text), -1) {
		all[row[1]] = true
	}
	if len(all) < 50 {
		t.Fatalf("%s has only %d families", golden, len(all))
	}
	return all
}
