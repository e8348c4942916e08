package log

import (
	"sync"
	"sync/atomic"

	"sessionserver/storage"
)

// tenant is a tenant that has had a record since the store was opened, or had one then.
type tenant struct {
	name   string
	number uint32

	usage   storage.Usage // guarded by log.mu
	dropped atomic.Uint64 // position of the newest drop; what lies before it is absent. Written under log.mu
}

// absent reports whether a slot of the tenant was dropped.
func (t *tenant) absent(s *slot) bool { return s.pos < position(t.dropped.Load()) }

// tenants gives each tenant a number, which slots have instead of its name.
type tenants struct {
	byName   sync.Map // of *tenant
	mu       sync.Mutex
	byNumber atomic.Pointer[[]*tenant]
}

// lookup returns a tenant, or nil if none of its records can exist.
func (ts *tenants) lookup(name string) *tenant {
	if t, ok := ts.byName.Load(name); ok {
		return t.(*tenant)
	}
	return nil
}

// get returns a tenant, which it adds if it is new.
func (ts *tenants) get(name string) *tenant {
	if t := ts.lookup(name); t != nil {
		return t
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.lookup(name); t != nil {
		return t
	}
	var all []*tenant
	if p := ts.byNumber.Load(); p != nil {
		all = *p
	}
	t := &tenant{name: name, number: uint32(len(all))}
	all = append(all, t) // readers of the old slice do not see its new end
	ts.byNumber.Store(&all)
	ts.byName.Store(name, t)
	return t
}

func (ts *tenants) at(number uint32) *tenant { return (*ts.byNumber.Load())[number] }
