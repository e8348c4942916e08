package tenants

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy/opa"
)

// Load reads the files in the folder that cfg names.
func Load(cfg *configs.Config) *configs.Tenants {
	return configs.LoadTenants(cfg.Tenants, cfg, nil, Inspect)
}

// Inspect returns the mistakes in a tenant's file that package configs cannot find.
func Inspect(t *configs.Tenant) configs.Problems {
	var problems configs.Problems
	for _, name := range t.AppNames() {
		app := t.Apps[name]
		for setting, patterns := range map[string][]string{"read": app.Read, "write": app.Write} {
			for i, pattern := range patterns {
				if err := opa.CheckPattern(pattern); err != nil {
					key := fmt.Sprintf("%s.%s[%d]", configs.AppKey(name), setting, i)
					problems = append(problems, t.Problem(key, "%s", strings.TrimPrefix(err.Error(), "policy: ")))
				}
			}
		}
	}
	return problems
}

// Conflicts returns the mistakes that no file alone shows: certificates with two apps, anonymous identities without a
// tenant, and marks of deletion beside a tenant. Other tenants are served all the same.
func Conflicts(cfg *configs.Config, ts *configs.Tenants) configs.Problems {
	problems := sharedCertificates(ts)
	for i, l := range cfg.Listen {
		id, found := l.Identity()
		if !found {
			continue
		}
		key := fmt.Sprintf("listen[%d].anonymous", i)
		t := ts.Tenant(id.Tenant)
		if t == nil {
			problems = append(problems, cfg.Problem(key, "unknown tenant %s in %s: no client is accepted as %s",
				id.Tenant, cfg.Tenants, id))
		} else if _, found := t.Apps[id.App]; !found {
			problems = append(problems, cfg.Problem(key, "tenant %s has no app %s: no client is accepted as %s",
				id.Tenant, id.App, id))
		}
	}
	for _, name := range ts.Drops {
		path := filepath.Join(cfg.Tenants, name+configs.DropExt)
		if !auth.ValidName(name) {
			problems = append(problems, configs.Problem{File: path, Text: "its name is not the name of a tenant"})
		} else if _, err := os.Lstat(filepath.Join(cfg.Tenants, name+configs.TenantExt)); err == nil {
			problems = append(problems, configs.Problem{File: path, Text: fmt.Sprintf("the sessions of tenant %s are "+
				"to be dropped, and the tenant exists again: remove one of the files", name)})
		}
	}
	return problems
}

// sharedCertificates returns the certificate names that belong to two apps. Neither app can be identified by them.
func sharedCertificates(ts *configs.Tenants) (problems configs.Problems) {
	type claim struct {
		tenant   *configs.Tenant
		app, key string
	}
	claims := make(map[auth.CertificateName][]claim)
	var names []auth.CertificateName
	for _, t := range ts.All {
		for _, app := range t.AppNames() {
			for i, text := range t.Apps[app].Certificates {
				name, err := auth.ParseCertificateName(text)
				if err != nil {
					continue // a mistake in the file
				}
				if claims[name] == nil {
					names = append(names, name)
				}
				key := fmt.Sprintf("%s.certificates[%d]", configs.AppKey(app), i)
				claims[name] = append(claims[name], claim{t, app, key})
			}
		}
	}
	for _, name := range names {
		all := claims[name]
		for _, c := range all {
			i := slices.IndexFunc(all, func(o claim) bool { return o.tenant != c.tenant || o.app != c.app })
			if i >= 0 {
				problems = append(problems, c.tenant.Problem(c.key, "%s belongs to %s/%s too, and identifies neither",
					name, all[i].tenant.Name, all[i].app))
			}
		}
	}
	return problems
}
