package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/session"
)

// sessionEvents holds the counters for the sessions of all tenants together.
type sessionEvents map[session.EventKind]prometheus.Counter

func (m *Metrics) beginSessions() {
	m.events = make(sessionEvents)
	for _, kind := range []session.EventKind{
		session.Created, session.Saved, session.Destroyed, session.Regenerated, session.Expired, session.Damaged,
	} {
		m.events[kind] = m.sessionEvents.WithLabelValues(kind.String())
	}
	m.events[session.LockTimedOut], m.events[session.LockLost] = m.lockTimeouts, m.locksLost
}

// Session counts an event of a session manager.
func (m *Metrics) Session(e session.Event) {
	t := m.tenant(e.Tenant)
	switch e.Kind {
	case session.LockGranted:
		m.lockWait.Observe(e.Waited.Seconds())
	default:
		if c := m.events[e.Kind]; c != nil {
			c.Inc()
		}
	}
	if t == nil {
		return
	}
	if e.Waited > 0 {
		t.waited.Add(e.Waited.Seconds())
	}
	if c := t.events[e.Kind]; c != nil {
		c.Inc()
	}
}

// Swept counts a sweep of expired sessions.
func (m *Metrics) Swept(removed int, err error) {
	m.sweepRemoved.Add(float64(removed))
	if err != nil {
		m.sweepErrors.Inc()
		return
	}
	m.sweepLastSuccess.now()
}
