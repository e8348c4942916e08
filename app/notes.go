package app

import (
	"fmt"
	"slices"

	"sessionserver/app/tenants"
	"sessionserver/auth"
	"sessionserver/configs"
)

// notes returns notes on a valid configuration: settings that are unlikely to be meant.
func notes(cfg *configs.Config) []string {
	var notes []string
	for _, l := range cfg.Listen {
		if l.Anonymous == "" && cfg.Tenants == "" {
			notes = append(notes, fmt.Sprintf("listener %s has no anonymous identity, and no folder of tenants "+
				"is set (tenants): no client can use sessions there", l.Name))
		}
		if l.ClientCA != "" && cfg.Tenants == "" {
			notes = append(notes, fmt.Sprintf("listener %s asks for client certificates, and no folder of tenants "+
				"is set (tenants): no app has one", l.Name))
		}
	}
	if a := cfg.Audit; isLogFile(a.Output) && a.Output == a.Decisions.Output {
		notes = append(notes, fmt.Sprintf("the decision log shares the file of the audit log, %s: decisions, which "+
			"any app can cause, push the audit log's events out of the files that are kept", a.Output))
	}
	if cfg.Policy.Bundle.Plain() {
		notes = append(notes, "policies come by plain http: a host on the way can read the token and withhold newer "+
			"policies; use https")
	}
	if note := shareDescriptors(allowedDescriptors(), cfg).note(cfg); note != "" {
		notes = append(notes, note)
	}
	return notes
}

// tenantNotes returns notes on tenants.
func tenantNotes(cfg *configs.Config, ts *configs.Tenants) []string {
	var notes []string
	anonymous := make(map[auth.Identity]bool)
	for _, l := range cfg.Listen {
		id, _ := auth.ParseIdentity(l.Anonymous)
		anonymous[id] = true
	}
	if len(ts.All) == 0 {
		notes = append(notes, fmt.Sprintf("%s holds no tenant: no client can use sessions", cfg.Tenants))
	}
	for _, t := range ts.All {
		for _, name := range t.AppNames() {
			id := auth.Identity{Tenant: t.Name, App: name}
			if a := t.Apps[name]; len(a.Secrets)+len(a.Certificates) == 0 && !anonymous[id] {
				notes = append(notes, fmt.Sprintf("app %s has neither a secret nor a certificate: no client can be it",
					id))
			}
		}
		covered := func(host string) bool { return certified(cfg, ts, host) }
		uncovered := slices.DeleteFunc(slices.Clone(t.Hosts), covered)
		if len(uncovered) > 0 {
			notes = append(notes, fmt.Sprintf("tenant %s names hosts that no certificate is for: %s. Set "+
				"tls.acme.on_demand to have them obtained, or list one in tls.certificates",
				t.Name, tenants.Shorten(uncovered, 4)))
		}
	}
	return notes
}
