package server

import (
	"maps"
	"slices"
)

// Stats is the state of a server at one moment.
type Stats struct {
	Draining                        bool
	Tenants                         int // number of tenants
	Connections, ConnectionsMax     int
	Memory, MemoryMax               int64 // bytes held by connections, and their limit; see Options.MaxMemory
	WaitingToCompute, WaitingToSave int   // connections in the queues for the processors and for the store
}

// Stats returns the current state of the server. It is meant for occasional calls.
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

// length returns the number of waiting connections.
func (t *turns) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// TenantNames returns the names of all tenants, in no particular order.
func (s *Server) TenantNames() []string {
	return slices.Collect(maps.Keys(s.directory.Load().rules))
}

// TenantStats is the usage and the limits of a tenant. A quota of 0 means unlimited.
type TenantStats struct {
	Name                        string
	Connections, ConnectionsMax int64
	Memory, MemoryMax           int64
	SessionsMax                 int64
	BytesMax                    int64
	WaitersMax                  int64
}

// TenantStats returns the statistics of each tenant, in no particular order.
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
