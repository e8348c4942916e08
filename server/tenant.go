package server

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/time/rate"

	"sessionserver/auth"
	"sessionserver/session"
)

// Tenant is the configuration of one tenant.
type Tenant struct {
	auth.Tenant                  // apps and allowlists
	Sessions    session.Settings // rules and quotas of its sessions
	MaxConns    int              // connections of all its apps at once; 0 is unlimited
	MaxMemory   int64            // bytes of requests, replies and open sessions at once; 0 is unlimited
	Rates       Rates
}

// directory holds all tenants at one time. It is immutable; SetTenants replaces it.
type directory struct {
	auth  *auth.Directory
	rules map[string]*rules
}

// rules are the configuration and the usage of one tenant.
type rules struct {
	sessions  session.Tenant
	maxConns  int
	maxMemory int64
	rates     Rates
	rate      *rate.Limiter
	bytes     *rate.Limiter // the rate in bytes
	usage     *usage
	apps      map[string]*appUsage
}

// usage is the current usage of a tenant. A new directory continues it.
type usage struct {
	conns  atomic.Int64
	memory atomic.Int64 // see account.hold
	line   line         // its queue for the processors
	saves  line         // its queue for the store
	bulk   line         // its queue for large sessions, before the one for the store
}

// appUsage is the current usage of an app.
type appUsage struct {
	rate, creation *rate.Limiter
	bytes          *rate.Limiter // the rate in bytes
	refusals       *rate.Limiter // see caller.recordsRefusal
}

// SetTenants replaces all tenants. Connections end if their credentials are no longer valid, or if an allowlist no
// longer admits their address. The other connections continue by the new rules. An error lists everything that is
// wrong with the tenants; nothing has changed then.
func (s *Server) SetTenants(tenants []Tenant) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	next, err := newDirectory(tenants, s.directory.Load())
	if err != nil {
		return err
	}
	s.directory.Store(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.recheck(next)
	}
	return nil
}

// newDirectory returns a directory that continues the usage of before, which may be nil.
func newDirectory(tenants []Tenant, before *directory) (*directory, error) {
	tenantAuth := make([]auth.Tenant, len(tenants))
	var errs []error
	for i, t := range tenants {
		tenantAuth[i] = t.Tenant
		for _, e := range t.Sessions.Validate() {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name, e))
		}
		if t.MaxConns < 0 {
			errs = append(errs, fmt.Errorf("server: tenant %s: MaxConns is negative (0 is unlimited)", t.Name))
		}
		if t.MaxMemory < 0 {
			errs = append(errs, fmt.Errorf("server: tenant %s: MaxMemory is negative (0 is unlimited)", t.Name))
		}
		if err := t.Rates.validate(); err != nil {
			errs = append(errs, fmt.Errorf("server: tenant %s: %w", t.Name, err))
		}
	}
	apps, err := auth.NewDirectory(tenantAuth)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	d := &directory{auth: apps, rules: make(map[string]*rules, len(tenants))}
	for _, t := range tenants {
		d.rules[t.Name] = t.rules(before)
	}
	return d, nil
}

// rules returns the rules of the tenant. It changes the limiters of the directory before, so the tenants must be
// valid.
func (t *Tenant) rules(before *directory) *rules {
	r := &rules{
		sessions: session.Tenant{Name: t.Name, Settings: t.Sessions},
		maxConns: t.MaxConns, maxMemory: t.MaxMemory, rates: t.Rates, apps: make(map[string]*appUsage, len(t.Apps)),
	}
	var old rules
	if before != nil && before.rules[t.Name] != nil {
		old = *before.rules[t.Name]
	}
	r.rate, r.bytes = carryOver(old.rate, t.Rates.Tenant), carryOver(old.bytes, t.Rates.TenantBytes)
	if r.usage = old.usage; r.usage == nil {
		r.usage = &usage{}
	}
	for _, a := range t.Apps {
		var u appUsage
		if before := old.apps[a.Name]; before != nil {
			u = *before
		}
		r.apps[a.Name] = &appUsage{
			rate: carryOver(u.rate, t.Rates.App), bytes: carryOver(u.bytes, t.Rates.AppBytes),
			creation: carryOver(u.creation, t.Rates.SessionCreation), refusals: carryOver(u.refusals, refusalEvents),
		}
	}
	return r
}
