package metrics

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/server"
	"sessionserver/session"
)

// allTenants is the name under which all are counted together. A tenant of that name is counted under it too, and nobody minds.
const allTenants = "all"

// tenant is what is counted of one tenant.
type tenant struct {
	ok, refused, failed prometheus.Counter
	gates               map[string]prometheus.Counter
	events              map[session.EventKind]prometheus.Counter
	waited              prometheus.Counter
}

// tenantEventKinds are what is counted of a tenant's sessions.
var tenantEventKinds = []session.EventKind{
	session.Created, session.Saved, session.Destroyed, session.Regenerated, session.Expired, session.LockTimedOut, session.LockLost,
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
		gates:   byGate(func(gate string) prometheus.Counter { return m.tenantRefusals.WithLabelValues(name, gate) }),
		events:  make(map[session.EventKind]prometheus.Counter),
		waited:  m.tenantLockWait.WithLabelValues(name),
	}
	for _, kind := range tenantEventKinds {
		t.events[kind] = m.tenantEvents.WithLabelValues(name, kind.String())
	}
	return t
}

func (m *Metrics) forgetTenant(name string) {
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

// tenant finds what is counted of a tenant, nil if nothing is: of one that is not served, say, whose sessions still expire.
func (m *Metrics) tenant(name string) *tenant {
	if m.mode == Totals {
		name = allTenants
	}
	return (*m.known.Load())[name]
}

// servedTenant is tenant for one that a server has just let in, and that therefore is served.
func (m *Metrics) servedTenant(name string) *tenant {
	if t := m.tenant(name); t != nil || m.mode == Off {
		return t
	}
	m.learning.Lock()
	defer m.learning.Unlock()
	before := *m.known.Load()
	if t := before[name]; t != nil {
		return t
	}
	after := maps.Clone(before)
	after[name] = m.newTenant(name)
	m.known.Store(&after)
	return after[name]
}

// knowTenants begins to count those that are new since the last time, and lets the series go of those that are not served any more. It is called
// before each scrape: whatever was counted of others between two scrapes nobody sees.
func (m *Metrics) knowTenants() {
	from := m.sources.Load()
	if from == nil || from.Server == nil || m.mode != Full {
		return
	}
	m.learning.Lock()
	defer m.learning.Unlock()
	before := *m.known.Load()
	after := make(map[string]*tenant, len(before))
	for _, name := range from.Server.TenantNames() {
		t := before[name]
		if t == nil {
			t = m.newTenant(name)
		}
		after[name] = t
	}
	for name := range before {
		if after[name] == nil {
			m.forgetTenant(name)
		}
	}
	m.known.Store(&after)
}
