package metrics

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/server"
	"sessionserver/session"
)

// allTenants is the label of the totals of all tenants. In mode Totals a tenant of that name has no series of its own.
const allTenants = "all"

// tenant holds the metrics of one tenant.
type tenant struct {
	ok, refused, failed prometheus.Counter
	gates               map[string]prometheus.Counter
	events              map[session.EventKind]prometheus.Counter
	waited              prometheus.Counter
}

// tenantEventKinds are the events of sessions that are counted for each tenant.
var tenantEventKinds = []session.EventKind{
	session.Created, session.Saved, session.Destroyed, session.Regenerated, session.Expired, session.LockTimedOut,
	session.LockLost,
}

const (
	resultOK      = "ok"
	resultRefused = "refused"
	resultError   = "error"
)

func (m *Metrics) newTenant(name string) *tenant {
	t := &tenant{
		ok:      m.tenantOperations.WithLabelValues(name, resultOK),
		refused: m.tenantOperations.WithLabelValues(name, resultRefused),
		failed:  m.tenantOperations.WithLabelValues(name, resultError),
		gates: byGate(func(gate string) prometheus.Counter {
			return m.tenantRefusals.WithLabelValues(name, gate)
		}),
		events: make(map[session.EventKind]prometheus.Counter),
		waited: m.tenantLockWait.WithLabelValues(name),
	}
	for _, kind := range tenantEventKinds {
		t.events[kind] = m.tenantEvents.WithLabelValues(name, kind.String())
	}
	return t
}

// deleteTenant deletes the series of a tenant.
func (m *Metrics) deleteTenant(name string) {
	for _, result := range []string{resultOK, resultRefused, resultError} {
		m.tenantOperations.DeleteLabelValues(name, result)
	}
	for _, gate := range server.Gates() {
		m.tenantRefusals.DeleteLabelValues(name, gateLabel(gate))
	}
	for _, kind := range tenantEventKinds {
		m.tenantEvents.DeleteLabelValues(name, kind.String())
	}
	m.tenantLockWait.DeleteLabelValues(name)
}

// ran counts a command.
func (t *tenant) ran(info server.CommandInfo) {
	switch {
	case info.Gate != "":
		t.refused.Inc()
	case info.Outcome != "" || info.PeerLeft:
		t.failed.Inc()
	default:
		t.ok.Inc()
	}
}

// tenant returns the metrics of a tenant, nil without any. A tenant that is no longer served has none, although its
// sessions still expire.
func (m *Metrics) tenant(name string) *tenant {
	if m.mode == Totals {
		name = allTenants
	}
	return (*m.tenantMetrics.Load())[name]
}

// servedTenant is like tenant, and creates the metrics of a tenant whose client a server has just authenticated.
func (m *Metrics) servedTenant(name string) *tenant {
	if t := m.tenant(name); t != nil || m.mode == Off {
		return t
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := *m.tenantMetrics.Load()
	if t := before[name]; t != nil {
		return t
	}
	after := maps.Clone(before)
	after[name] = m.newTenant(name)
	m.tenantMetrics.Store(&after)
	return after[name]
}

// updateTenants creates the metrics of new tenants, and deletes the series of tenants that are no longer served. It is
// called before each scrape, so no scrape returns series of other tenants.
func (m *Metrics) updateTenants() {
	sources := m.sources.Load()
	if sources == nil || sources.Server == nil || m.mode != Full {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := *m.tenantMetrics.Load()
	after := make(map[string]*tenant, len(before))
	for _, name := range sources.Server.TenantNames() {
		t := before[name]
		if t == nil {
			t = m.newTenant(name)
		}
		after[name] = t
	}
	for name := range before {
		if after[name] == nil {
			m.deleteTenant(name)
		}
	}
	m.tenantMetrics.Store(&after)
}
