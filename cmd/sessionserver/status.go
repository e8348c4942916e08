package main

import (
	"runtime"
	"time"

	"sessionserver/admin"
	"sessionserver/configs"
)

// status is what operators see of the process. Until it serves, that is what the configuration says.
func (p *process) status() admin.Status {
	stored, _ := p.health.parts()
	s := admin.Status{
		Version: version, Go: runtime.Version(), Started: p.started, Uptime: admin.Duration(time.Since(p.started)),
		Listeners: []admin.Listener{}, Certificates: []admin.Certificate{}, Reloads: []admin.Reload{},
		Audit:   admin.Audit{Output: p.cfg.Audit.Output, Decisions: p.cfg.Audit.Decisions.Output, Error: errorText(p.audit.log.Failing())},
		Storage: admin.Storage{Driver: p.cfg.Storage.Driver, Error: errorText(stored)},
	}
	s.Connections = admin.Connections{
		Limit: p.descriptors.connections, Configured: p.cfg.Limits.Connections, Descriptors: p.descriptors.allowed,
	}
	if p.logLost != nil && p.health.serving.Load() { // it is set before anything is served
		s.Log.LostLines = p.logLost()
	}
	if p.cfg.Storage.Driver != "memory" {
		s.Storage.Path, s.Storage.Sync = p.cfg.Storage.Path, p.cfg.Storage.Sync
	}
	if err := p.health.failure(); err != nil {
		s.NotReady = errorText(err)
	} else if err := p.health.ready(); err != nil {
		s.NotReady = err.Error()
	}
	s.Ready = s.NotReady == ""
	for _, l := range p.cfg.Listen {
		s.Listeners = append(s.Listeners, admin.Listener{
			Name: l.Name, Address: l.Address, TLS: p.cfg.TLS.Used(), Plaintext: l.Plaintext, ClientCertificates: l.ClientCertificates,
			Allow: texts(l.Allow), Deny: texts(l.Deny), Proxies: texts(l.Proxies), Anonymous: l.Anonymous,
		})
	}
	if !p.health.serving.Load() { // the parts are only now being made
		return s
	}
	st := p.store.state()
	s.Storage.SizeBytes, s.Storage.FilesystemSizeBytes, s.Storage.FilesystemAvailableBytes = st.SizeBytes, st.FilesystemSizeBytes, st.FilesystemAvailBytes
	s.Storage.SweepLag = admin.Duration(st.SweepLag)
	for i, l := range p.listeners {
		s.Listeners[i].Address = l.Addr().String()
	}
	for _, from := range p.allCerts() {
		for _, e := range from.Expiries() {
			s.Certificates = append(s.Certificates, admin.Certificate{Source: e.Source.String(), Names: e.Names, Expires: e.NotAfter.UTC()})
		}
	}
	policy, tenants := p.policy.Status(), p.tenants.state()
	s.Policy = admin.Policy{Source: policy.Source, Revision: policy.Revision, Loaded: policy.Loaded.UTC(), Kept: policy.Kept, Error: errorText(policy.Err)}
	s.Tenants = admin.Tenants{Served: tenants.Tenants, Problems: len(tenants.Problems)}
	s.Reloads = p.reloads.states()
	return s
}

// errorText is an error for operators. Whatever looks like a secret in it is concealed.
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
