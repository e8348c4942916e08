package session

// Stats is the state of a manager at one moment.
type Stats struct {
	Open    int // sessions that were opened and have not ended, with a lock or without
	Held    int // locks held; each holder of a shared lock counts
	Waiting int // holds that wait for locks
}

// Stats returns the state of the manager. It visits every lock, so it is meant for an occasional call.
func (m *Manager) Stats() Stats {
	st := Stats{Open: int(m.open.Load())}
	for i := range m.locks.shards {
		held, waiting := m.locks.shards[i].count()
		st.Held += held
		st.Waiting += waiting
	}
	return st
}

func (s *lockShard) count() (held, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.locks {
		held += len(l.holders)
		waiting += len(l.queue)
	}
	return held, waiting
}
