package file

// Stats is the state of a store at one moment.
type Stats struct {
	Files     int   // of records, Markers included
	DiskBytes int64 // size of the records' files, without the overhead of the file system
}

// Stats adds up the usage of all tenants. It is meant for an occasional call.
func (s *Store) Stats() Stats {
	st := Stats{Files: s.queue.len()}
	st.DiskBytes = int64(st.Files) * headSize
	s.tenants.mu.RLock()
	defer s.tenants.mu.RUnlock()
	for _, t := range s.tenants.byName {
		st.DiskBytes += t.usage().Bytes
	}
	return st
}
