package server

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/time/rate"

	"sessionserver/auth"
	"sessionserver/session"
)

// Tenant is all that the server keeps to for one tenant.
type Tenant struct {
	auth.Tenant                  // its apps, and from where they may come
	Sessions    session.Settings // the rules for its sessions, and its quotas for them
	MaxConns    int              // connections of all its apps at once; 0 is no limit
	MaxMemory   int64            // bytes of requests, replies and open sessions of its connections at once; 0 is no limit
	Rates       Rates
}

// directory is all that the server knows of its tenants at one time. It is never changed; SetTenants puts another in its place.
type directory struct {
	auth  *auth.Directory
	rules map[string]*rules
}

// rules are those of one tenant, and what is counted by them.
type rules struct {
	sessions  session.Tenant
	maxConns  int
	maxMemory int64
	rates     Rates
	rate      *rate.Limiter
	bytes     *rate.Limiter // a rate too
	usage     *usage
	apps      map[string]*appUsage
}

// usage is what is counted of a tenant. It goes on from one directory to the next.
type usage struct {
	conns  atomic.Int64
	memory atomic.Int64 // see account.hold
	line   line         // where its connections wait for a processor
	saves  line         // and those for the store
	bulk   line         // and those with large sessions, before that
}

// appUsage is what is counted of an app.
type appUsage struct {
	rate, creation *rate.Limiter
	bytes          *rate.Limiter // a rate too
	refusals       *rate.Limiter // see caller.recordsRefusal
}

// SetTenants makes these all the tenants that there are. Connections whose credentials are not good any more, or whose clients may not come
// from where they come from any more, end; the others go on by the new rules. On an error, which tells of everything that is wrong with the tenants,
// nothing has changed.
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

// newDirectory makes a directory that goes on counting where before, which may be nil, is.
func newDirectory(tenants []Tenant, before *directory) (*directory, error) {
	known := make([]auth.Tenant, len(tenants))
	var errs []error
	for i, t := range tenants {
		known[i] = t.Tenant
		for _, e := range t.Sessions.Validate() {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name, e))
		}
		if t.MaxConns < 0 {
			errs = append(errs, fmt.Errorf("server: tenant %s: MaxConns is negative", t.Name))
		}
		if t.MaxMemory < 0 {
			errs = append(errs, fmt.Errorf("server: tenant %s: MaxMemory is negative", t.Name))
		}
		if err := t.Rates.validate(); err != nil {
			errs = append(errs, fmt.Errorf("server: tenant %s: %w", t.Name, err))
		}
	}
	apps, err := auth.NewDirectory(known)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	d := &directory{auth: apps, rules: make(map[string]*rules, len(tenants))}
	for _, t := range tenants {
		d.rules[t.Name] = t.rules(before)
	}
	return d, nil
}

// rules makes those of the tenant. It changes the limiters of the directory before, so all that may be wrong has been looked at.
func (t *Tenant) rules(before *directory) *rules {
	r := &rules{
		sessions: session.Tenant{Name: t.Name, Settings: t.Sessions},
		maxConns: t.MaxConns, maxMemory: t.MaxMemory, rates: t.Rates, apps: make(map[string]*appUsage, len(t.Apps)),
	}
	var old rules
	if before != nil && before.rules[t.Name] != nil {
		old = *before.rules[t.Name]
	}
	r.rate, r.bytes = carryOn(old.rate, t.Rates.Tenant), carryOn(old.bytes, t.Rates.TenantBytes)
	if r.usage = old.usage; r.usage == nil {
		r.usage = &usage{}
	}
	for _, a := range t.Apps {
		var u appUsage
		if was := old.apps[a.Name]; was != nil {
			u = *was
		}
		r.apps[a.Name] = &appUsage{
			rate: carryOn(u.rate, t.Rates.App), bytes: carryOn(u.bytes, t.Rates.AppBytes),
			creation: carryOn(u.creation, t.Rates.SessionCreation), refusals: carryOn(u.refusals, refusalEvents),
		}
	}
	return r
}
