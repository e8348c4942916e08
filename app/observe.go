package app

import (
	"cmp"
	"runtime/debug"
	"slices"

	"sessionserver/certs"
	"sessionserver/metrics"
	"sessionserver/session"
)

// watch has the parts of the process that are there asked at each scrape how they are.
func (a *App) watch() {
	from := metrics.Sources{
		Server: a.server, Sessions: a.sessions, Certificates: a.allCerts(), Ready: func() bool { return a.health.ready() == nil },
		LogLost: a.opts.LogLost,
	}
	if a.store != nil {
		from.Storage = a.store.state
	}
	a.metrics.Watch(from)
}

// allCerts are those that clients and operators are served with, as far as there are any.
func (a *App) allCerts() []*certs.Certs {
	return slices.DeleteFunc([]*certs.Certs{a.certs, a.operators.ownCerts()}, func(c *certs.Certs) bool { return c == nil })
}

// sessionEvent tells all who want to know what happens to sessions.
func (a *App) sessionEvent(e session.Event) {
	a.metrics.Session(e)
	a.audit.session(e)
	if e.Kind == session.Damaged {
		a.peers.Error("a damaged session counts as absent", "tenant", e.Tenant, "err", e.Err)
	}
}

// swept counts a round of removing expired sessions.
func (a *App) swept(removed int, err error) {
	a.metrics.Swept(removed, err)
	if err != nil {
		a.log.Error("sweeping failed", "err", err)
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
