package file

// Stats is the state of a store at one moment.
type Stats struct {
	Files     int   // of records, Markers included
	DiskBytes int64 // what the records' files hold. The file system adds what it needs to keep files and folders
}

// Stats is made for a look now and then: it adds up what tenants keep.
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
