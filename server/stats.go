package server

import (
	"maps"
	"slices"
)

// Stats is the state of a server at one moment.
type Stats struct {
	Draining                        bool
	Tenants                         int // served
	Connections, ConnectionsMax     int
	Memory, MemoryMax               int64 // bytes that connections hold, and may hold; see Options.MaxMemory
	WaitingToCompute, WaitingToSave int   // connections that wait for their turn on a processor, and at the store
}

// Stats tells how the server is. It is made for a look now and then.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	connections := len(s.open)
	s.mu.Unlock()
	return Stats{
		Draining: s.isDraining(), Tenants: len(s.directory.Load().rules),
		Connections: connections, ConnectionsMax: s.opts.MaxConns,
		Memory: s.memory.Load(), MemoryMax: s.opts.MaxMemory,
		WaitingToCompute: s.turns.length(), WaitingToSave: s.saves.length() + s.bulk.length(),
	}
}

// length is how many wait for a turn.
func (t *turns) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// TenantNames are those of all tenants that are served, in no order.
func (s *Server) TenantNames() []string {
	return slices.Collect(maps.Keys(s.directory.Load().rules))
}

// TenantStats is what a tenant has of what this package counts, and may have. A quota of 0 is none.
type TenantStats struct {
	Name                        string
	Connections, ConnectionsMax int64
	Memory, MemoryMax           int64
	SessionsMax                 int64
	BytesMax                    int64
	WaitersMax                  int64
}

// TenantStats tells of each tenant that is served, in no order.
func (s *Server) TenantStats() []TenantStats {
	d := s.directory.Load()
	all := make([]TenantStats, 0, len(d.rules))
	for name, r := range d.rules {
		q := &r.sessions.Settings
		all = append(all, TenantStats{
			Name:        name,
			Connections: r.usage.conns.Load(), ConnectionsMax: int64(r.maxConns),
			Memory: r.usage.memory.Load(), MemoryMax: r.maxMemory,
			SessionsMax: int64(q.MaxSessions), BytesMax: int64(q.MaxTotalBytes), WaitersMax: int64(q.MaxWaiters),
		})
	}
	return all
}
