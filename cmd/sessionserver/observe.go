package main

import (
	"cmp"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"sessionserver/audit"
	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/metrics"
	"sessionserver/policy"
	"sessionserver/session"
)

// newMetrics makes what all parts of a process are counted by.
func newMetrics(cfg *configs.Config, log *slog.Logger) (*metrics.Metrics, error) {
	return metrics.New(metrics.Options{
		Version: version, Revision: revision(), Tenants: metrics.TenantsMode(cfg.Metrics.Tenants), Logger: log,
	})
}

// watch has the parts of the process that are there asked at each scrape how they are.
func (p *process) watch() {
	from := metrics.Sources{
		Server: p.server, Sessions: p.sessions, Certificates: p.allCerts(), Ready: func() bool { return p.health.ready() == nil },
		LogLost: p.logLost,
	}
	if p.store != nil {
		from.Storage = p.store.state
	}
	p.metrics.Watch(from)
}

// allCerts are those that clients and operators are served with, as far as there are any.
func (p *process) allCerts() []*certs.Certs {
	return slices.DeleteFunc([]*certs.Certs{p.certs, p.operators.ownCerts()}, func(c *certs.Certs) bool { return c == nil })
}

// sessionEvent tells all who want to know what happens to sessions.
func (p *process) sessionEvent(e session.Event) {
	p.metrics.Session(e)
	p.audit.session(e)
	if e.Kind == session.Damaged {
		p.peers.Error("a damaged session counts as absent", "tenant", e.Tenant, "err", e.Err)
	}
}

// swept counts a round of removing expired sessions.
func (p *process) swept(removed int, err error) {
	p.metrics.Swept(removed, err)
	if err != nil {
		p.log.Error("sweeping failed", "err", err)
	}
}

// revision is the commit that the program was built from, where the build knows it.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "unknown"
	}
	var commit, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-dirty"
		}
	}
	return cmp.Or(commit, "unknown") + changed
}

// policyObservers, certificateObservers and auditObservers tell several the same.
type (
	policyObservers      []policy.Observer
	certificateObservers []certs.Observer
	auditObservers       []audit.Observer
)

func (all policyObservers) Decided(e policy.Evaluation) {
	for _, o := range all {
		o.Decided(e)
	}
}

func (all policyObservers) Reloaded(err error) {
	for _, o := range all {
		o.Reloaded(err)
	}
}

func (all certificateObservers) CertificateChanged(e certs.Event) {
	for _, o := range all {
		o.CertificateChanged(e)
	}
}

func (all certificateObservers) FilesRead(err error) {
	for _, o := range all {
		o.FilesRead(err)
	}
}

func (all auditObservers) Written(c audit.Code) {
	for _, o := range all {
		o.Written(c)
	}
}

func (all auditObservers) Flushed(lines int, in time.Duration) {
	for _, o := range all {
		o.Flushed(lines, in)
	}
}

func (all auditObservers) Failed(err error) {
	for _, o := range all {
		o.Failed(err)
	}
}

func (all auditObservers) Troubled(err error) {
	for _, o := range all {
		o.Troubled(err)
	}
}

func (all auditObservers) Recovered() {
	for _, o := range all {
		o.Recovered()
	}
}

func (all auditObservers) Lost(events int) {
	for _, o := range all {
		o.Lost(events)
	}
}
