package app

import (
	"runtime"
	"time"

	"sessionserver/admin"
	"sessionserver/configs"
)

// status returns what operators see of the process. Until it serves, that is the configuration.
func (a *App) status() admin.Status {
	stored, _ := a.health.parts()
	s := admin.Status{
		Version: a.opts.Version, Go: runtime.Version(),
		Started: a.started, Uptime: admin.Duration(time.Since(a.started)),
		Listeners: []admin.Listener{}, Certificates: []admin.Certificate{}, Reloads: []admin.Reload{},
		Audit: admin.Audit{
			Output: a.cfg.Audit.Output, Decisions: a.cfg.Audit.Decisions.Output,
			Error: errorText(a.audit.log.Failing()),
		},
		Storage: admin.Storage{Driver: a.cfg.Storage.Driver, Error: errorText(stored)},
	}
	s.Connections = admin.Connections{
		Limit: a.descriptors.connections, Configured: a.cfg.Limits.Connections, Descriptors: a.descriptors.allowed,
	}
	if a.opts.LogLost != nil {
		s.Log.LostLines = a.opts.LogLost()
	}
	if a.cfg.Storage.Driver != "memory" {
		s.Storage.Path, s.Storage.Sync = a.cfg.Storage.Path, a.cfg.Storage.Sync
	}
	if err := a.health.failure(); err != nil {
		s.NotReady = errorText(err)
	} else if err := a.health.ready(); err != nil {
		s.NotReady = err.Error()
	}
	s.Ready = s.NotReady == ""
	for _, l := range a.cfg.Listen {
		s.Listeners = append(s.Listeners, admin.Listener{
			Name: l.Name, Address: l.Address, TLS: a.cfg.TLS.Used(), Plaintext: l.Plaintext,
			ClientCertificates: l.ClientCertificates, Anonymous: l.Anonymous,
			Allow: texts(l.Allow), Deny: texts(l.Deny), Proxies: texts(l.Proxies),
		})
	}
	if !a.health.serving.Load() { // the parts are still being opened
		return s
	}
	st := a.store.state()
	s.Storage.SizeBytes = st.SizeBytes
	s.Storage.FilesystemSizeBytes, s.Storage.FilesystemAvailableBytes = st.FilesystemSizeBytes, st.FilesystemAvailBytes
	s.Storage.SweepLag = admin.Duration(st.SweepLag)
	for i, l := range a.listeners {
		s.Listeners[i].Address = l.Addr().String()
	}
	for _, from := range a.allCerts() {
		for _, e := range from.Expiries() {
			s.Certificates = append(s.Certificates, admin.Certificate{
				Source: e.Source.String(), Names: e.Names, Expires: e.NotAfter.UTC(),
			})
		}
	}
	policy, tenants := a.policy.Status(), a.tenants.Status()
	s.Policy = admin.Policy{
		Source: policy.Source, Revision: policy.Revision, Loaded: policy.Loaded.UTC(), Kept: policy.Kept,
		Error: errorText(policy.Err),
	}
	s.Tenants = admin.Tenants{Served: tenants.Tenants, Problems: len(tenants.Problems)}
	s.Reloads = a.reloads.states()
	return s
}

// errorText returns the text of an error for operators, with secrets concealed.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return configs.Conceal(err.Error())
}

func texts(ranges []configs.Prefix) []string {
	all := make([]string, len(ranges))
	for i, r := range ranges {
		all[i] = r.String()
	}
	return all
}
