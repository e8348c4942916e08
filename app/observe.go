package app

import (
	"cmp"
	"runtime/debug"
	"slices"

	"sessionserver/certs"
	"sessionserver/metrics"
	"sessionserver/session"
)

// exposeState passes the open parts of the process to metrics, which read their state at each scrape.
func (a *App) exposeState() {
	from := metrics.Sources{
		Server: a.server, Sessions: a.sessions, Certificates: a.allCerts(),
		Ready: func() bool { return a.health.ready() == nil }, LogLost: a.opts.LogLost,
	}
	if a.store != nil {
		from.Storage = a.store.state
	}
	a.metrics.Watch(from)
}

// allCerts returns the sources of certificates for clients and operators.
func (a *App) allCerts() []*certs.Certs {
	all := []*certs.Certs{a.certs, a.operators.ownCerts()}
	return slices.DeleteFunc(all, func(c *certs.Certs) bool { return c == nil })
}

// sessionEvent counts and records an event of a session.
func (a *App) sessionEvent(e session.Event) {
	a.metrics.Session(e)
	a.audit.session(e)
	if e.Kind == session.Damaged {
		a.peers.Error("a damaged session counts as absent", "tenant", e.Tenant, "err", e.Err)
	}
}

// swept counts a removal of expired sessions.
func (a *App) swept(removed int, err error) {
	a.metrics.Swept(removed, err)
	if err != nil {
		a.log.Error("sweeping failed", "err", err)
	}
}

// revision returns the commit that the program was built from, or "unknown".
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
