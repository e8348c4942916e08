package tenants

import (
	"slices"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/server"
)

// ForServer returns the tenants of valid files as the server takes them.
func ForServer(files []*configs.Tenant) []server.Tenant {
	all := make([]server.Tenant, len(files))
	for i, f := range files {
		all[i] = forServer(f)
	}
	return all
}

func forServer(t *configs.Tenant) server.Tenant {
	return server.Tenant{
		Tenant: t.Auth(), Sessions: t.SessionSettings(),
		MaxConns: t.Quotas.Connections, MaxMemory: int64(t.Quotas.Memory), Rates: rates(t.Rates),
	}
}

func rates(r configs.Rates) server.Rates {
	return server.Rates{
		Tenant: Rate(r.Tenant), App: Rate(r.App), Address: Rate(r.Address), SessionCreation: Rate(r.SessionCreation),
		TenantBytes: byteRate(r.TenantBytes), AppBytes: byteRate(r.AppBytes),
		OnLimit: server.OnLimit(r.OnLimit),
	}
}

// Rate returns a rate as the server takes it.
func Rate(r configs.Rate) server.Rate {
	if r.PerSecond == 0 {
		return server.Unlimited
	}
	return server.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
}

func byteRate(r configs.ByteRate) server.Rate {
	return Rate(configs.Rate{PerSecond: float64(r.PerSecond), Burst: int(r.Burst)})
}

// Anonymous returns the tenants of anonymous listeners, for a server without a folder of tenants. A client that the
// listener admits may use them, with the settings of the configuration.
func Anonymous(cfg *configs.Config) []server.Tenant {
	var all []server.Tenant
	for _, l := range cfg.Listen {
		id, found := l.Identity()
		if !found {
			continue
		}
		i := slices.IndexFunc(all, func(t server.Tenant) bool { return t.Name == id.Tenant })
		if i < 0 {
			i = len(all)
			all = append(all, forServer(&configs.Tenant{
				Name: id.Tenant, Allow: configs.Everywhere(),
				Session: cfg.Session, Quotas: cfg.Quotas, Rates: cfg.Rates.Rates,
			}))
		}
		if !slices.ContainsFunc(all[i].Apps, func(a auth.App) bool { return a.Name == id.App }) {
			all[i].Apps = append(all[i].Apps, auth.App{Name: id.App, Role: auth.ReadWrite})
		}
	}
	return all
}

// ForPolicy returns the facts about tenants that policies may read. The settings under policy come from the files, of
// which a tenant may have none.
func ForPolicy(tenants []server.Tenant, files []*configs.Tenant) []policy.Tenant {
	settings := make(map[string]map[string]any, len(files))
	for _, f := range files {
		settings[f.Name] = f.Policy
	}
	out := make([]policy.Tenant, len(tenants))
	for i, t := range tenants {
		out[i] = policy.Tenant{Name: t.Name, Settings: settings[t.Name], Apps: make([]policy.App, len(t.Apps))}
		for j, a := range t.Apps {
			out[i].Apps[j] = policy.App{Name: a.Name, Role: string(a.Role), Read: a.Read, Write: a.Write}
		}
	}
	return out
}

// Hosts returns the names for which tenants need certificates, sorted.
func Hosts(ts *configs.Tenants) []string {
	var all []string
	for _, t := range ts.All {
		all = append(all, t.Hosts...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
