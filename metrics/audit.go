package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/audit"
)

// Audit returns the observer of the audit log.
func (m *Metrics) Audit() audit.Observer {
	o := auditObserver{m: m, events: make(map[audit.Code]prometheus.Counter)}
	for _, code := range audit.Codes() {
		o.events[code] = m.auditEvents.WithLabelValues(code.String())
	}
	return o
}

type auditObserver struct {
	m      *Metrics
	events map[audit.Code]prometheus.Counter
}

func (o auditObserver) Written(code audit.Code) {
	if c := o.events[code]; c != nil {
		c.Inc()
	}
}

func (o auditObserver) Flushed(_ int, took time.Duration) { o.m.auditWrite.Observe(took.Seconds()) }

func (o auditObserver) Failed(error) {
	o.m.auditFailures.Inc()
	o.m.auditFailing.Set(1)
}

func (o auditObserver) Troubled(error)  { o.m.auditFailures.Inc() }
func (o auditObserver) Recovered()      { o.m.auditFailing.Set(0) }
func (o auditObserver) Lost(events int) { o.m.auditLost.Add(float64(events)) }

// Decisions returns the observer of a decision log that is separate from the audit log.
func (m *Metrics) Decisions() audit.Observer { return decisionsObserver{m} }

type decisionsObserver struct{ m *Metrics }

func (decisionsObserver) Written(audit.Code)         {}
func (decisionsObserver) Flushed(int, time.Duration) {}
func (decisionsObserver) Failed(error)               {}
func (decisionsObserver) Troubled(error)             {}
func (decisionsObserver) Recovered()                 {}
func (o decisionsObserver) Lost(decisions int)       { o.m.decisionsLost.Add(float64(decisions)) }
