package metrics

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/storage/memory"
)

// monitored is a server whose every part is monitored: TLS, policies, an audit log, and a store with a clock that can
// be set ahead.
type monitored struct {
	testing.TB
	*Metrics
	server *servertest.Server
	policy *opa.Engine
	audit  audit.Observer // of the audit log
	held   chan struct{}  // closed to let the command hold return
	folder string         // of the files of the server
	ahead  atomic.Int64   // how far the clock of the store is ahead
}

// newMonitored starts a server whose listener accepts unauthenticated clients as test/app. The configuration may be
// changed before the start.
func newMonitored(t testing.TB, o Options, change func(*servertest.Config)) *monitored {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &monitored{TB: t, Metrics: m, folder: t.TempDir(), held: make(chan struct{})}
	w.audit = m.Audit()
	keys, err := certs.New(certs.Options{LocalCA: filepath.Join(w.folder, "ca"), Observer: m.Certificate})
	require.NoError(w, err)
	t.Cleanup(keys.Close)
	log, err := audit.Open(audit.Options{Output: filepath.Join(w.folder, "audit.log"), Observer: w.audit})
	require.NoError(w, err)
	t.Cleanup(func() { _ = log.Close() })
	store := memory.New(memory.Options{Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }})
	t.Cleanup(func() { _ = store.Close() })

	tenant := servertest.Tenant("test/app", "secret")
	tenant.Apps = append(tenant.Apps, auth.App{Name: "reader", Role: auth.ReadOnly,
		Secrets: []auth.SecretHash{auth.HashSecret("secret")}})
	tenant.Sessions.MaxSessions, tenant.Sessions.MaxTotalBytes, tenant.Sessions.MaxWaiters = 1000, 1<<30, 100
	tenant.MaxConns, tenant.MaxMemory = 500, 1<<30
	cfg := servertest.Config{
		Store: store, Observe: m.Session, Tenants: []server.Tenant{tenant},
		Options: server.Options{Observer: m.Server(), Audit: log, Commands: []server.Command{w.hold()}},
		Listen: server.Listen{
			Name: "main", Allow: servertest.Loopback, Anonymous: auth.Identity{Tenant: "test", App: "app"},
			TLS: keys.TLSConfig(),
		},
	}
	if change != nil {
		change(&cfg)
	}
	var known []policy.Tenant
	for _, t := range cfg.Tenants {
		p := policy.Tenant{Name: t.Name}
		for _, a := range t.Apps {
			p.Apps = append(p.Apps, policy.App{Name: a.Name, Role: string(a.Role)})
		}
		known = append(known, p)
	}
	policies := filepath.Join(w.folder, "policies")
	require.NoError(w, os.CopyFS(policies, configs.DefaultPolicy()))
	w.policy, err = opa.New(t.Context(), opa.Options{Source: opa.Folder(policies), Tenants: known, Decided: m.Policy(),
		Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(w, err)
	cfg.Options.Policy = w.policy
	w.server = servertest.Start(t, cfg)
	m.Watch(Sources{
		Server: w.server.Server, Sessions: w.server.Sessions, Certificates: []*certs.Certs{keys},
		Ready:   func() bool { return !w.server.Stats().Draining },
		LogLost: func() int64 { return 6 },
		Storage: func() StorageState { return StorageState{1, 2, 3, 4, 5, 7, 8, time.Second} },
	})
	return w
}

// hold is a command that keeps the processor until held is closed.
func (w *monitored) hold() server.Command {
	return server.Command{
		Name: "hold", Help: "waits", Needs: server.Nothing, Access: server.None, Cost: 1,
		Run: func(c *server.Call) error {
			<-w.held
			if c != nil {
				c.Reply.OK()
			}
			return nil
		},
	}
}

func (w *monitored) gather() []*dto.MetricFamily {
	w.Helper()
	all, err := w.Metrics.gather()
	require.NoError(w, err)
	return all
}

// values returns the values of all series, by name and labels: the number of a counter or gauge, and the count of a
// histogram.
func (w *monitored) values() map[string]float64 {
	all := make(map[string]float64)
	for _, f := range w.gather() {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), prefix)
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// dial connects to the server until the end of the test.
func (w *monitored) dial() *servertest.Conn {
	w.Helper()
	return servertest.Connect(w, w.server.Addr)
}

// dialTLS is dial with a TLS handshake.
func (w *monitored) dialTLS() *servertest.Conn {
	w.Helper()
	return w.dial().TLS(&tls.Config{InsecureSkipVerify: true})
}
