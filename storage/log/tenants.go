package log

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sessionserver/storage"
)

// tenant is a tenant that has had a record since the store was opened, or had one then.
type tenant struct {
	name   string
	number uint32

	usage   storage.Usage // guarded by log.mu
	markers markers       // guarded by log.mu
	dropped atomic.Uint64 // position of the newest drop; what lies before it is absent. Written under log.mu
}

// markers count a tenant's markers by their expiries. Where clients create ids, an application that regenerates ids
// often has many more of them than sessions; their number is bounded.
type markers struct {
	expiries expiries
	count    int64
	next     int64        // count beyond which the bound is raised again; what it covers may not be swept yet
	bound    atomic.Int64 // markers that expire before this time, in Unix milliseconds, are removed by the next sweep
}

const (
	markersMin       = 10_000 // that every tenant may have,
	markersPerRecord = 4      // and for each of its records
)

// add counts markers that are added or removed. If there are too many, it raises the bound by whole periods.
func (m *markers) add(expires, n, records int64) {
	if m.expiries == nil {
		m.expiries = make(expiries)
	}
	m.expiries.add(expires, n)
	m.count += n
	limit := markersMin + markersPerRecord*records
	if m.count <= limit {
		m.next = 0
	}
	if m.count <= limit*9/10 { // the surplus is gone
		m.bound.Store(0)
	}
	if m.count <= max(limit, m.next) {
		return
	}
	m.next = m.count + limit/10
	surplus := m.count - limit*9/10
	for _, key := range slices.Sorted(maps.Keys(m.expiries)) {
		if surplus <= 0 {
			break
		}
		surplus -= m.expiries[key].records
		m.bound.Store((key + 1) << periodBits)
	}
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
