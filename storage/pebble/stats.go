package pebble

// Stats is the state of a store at one moment.
type Stats struct {
	DiskBytes   uint64 // what the folder takes up, the log included
	MemoryBytes uint64 // memtables and cached blocks
	Headers     int    // records whose expiry and size are in memory
	CacheHits   int64  // blocks found in the cache since the store was opened,
	CacheMisses int64  // and not found
	Debt        uint64 // an estimate of the bytes that compactions have yet to rewrite
	ReadAmp     int    // how many tables a read may have to look into
}

// Stats answers the zero value when the store is closed. It is made for a look now and then, not for each request.
func (s *Store) Stats() Stats {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return Stats{}
	}
	m := s.db.Metrics()
	st := Stats{
		DiskBytes:   m.DiskSpaceUsage(),
		MemoryBytes: m.MemTable.Size + m.MemTable.ZombieSize + uint64(m.BlockCache.Size),
		CacheHits:   m.BlockCache.Hits,
		CacheMisses: m.BlockCache.Misses,
		Debt:        m.Compact.EstimatedDebt,
		ReadAmp:     m.ReadAmp(),
	}
	for i := range s.stripes {
		s.stripes[i].mu.Lock()
		st.Headers += len(s.stripes[i].headers)
		s.stripes[i].mu.Unlock()
	}
	return st
}
