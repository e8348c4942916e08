package file

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"sessionserver/storage"
)

// tenants are those that have a folder, or had one since the store was opened.
type tenants struct {
	mu     sync.RWMutex
	byName map[string]*tenant
}

// tenant is one tenant's place and what it keeps.
type tenant struct {
	name   string
	folder string

	folders struct {
		sync.Mutex
		safe [256]bool // sub-folders that this process has made sure of, by number
		self bool      // the same for folder itself
	}

	mu   sync.Mutex // guards kept
	kept storage.Usage
}

// find answers nil for a tenant that has nothing.
func (ts *tenants) find(name string) *tenant {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	return ts.byName[name]
}

// make answers the tenant, a new one if need be. It refuses a name that the contract does not allow.
func (ts *tenants) make(name string) (*tenant, error) {
	if t := ts.find(name); t != nil {
		return t, nil
	}
	if name == "" || len(name) > maxTenant {
		return nil, fmt.Errorf("a tenant's name of %d bytes (allowed: 1 to %d)", len(name), maxTenant)
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byName[name]
	if t == nil {
		t = &tenant{name: name, folder: tenantsFolder + "/" + encodeTenant(name)}
		ts.byName[name] = t
	}
	return t, nil
}

// path answers where the record with that id is.
func (t *tenant) path(id storage.ID) string { return subFolder(t.folder, id[0]) + "/" + recordName(id) }

func (t *tenant) add(u storage.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept.Records += u.Records
	t.kept.Bytes += u.Bytes
}

func (t *tenant) usage() storage.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

// makeFolders makes the tenant's folder and the sub-folder for ids that begin with b. The first time that a process
// writes to one its name is synced, even if it is there: who made it may have been killed before it could.
func (s *Store) makeFolders(t *tenant, b byte) error {
	t.folders.Lock()
	defer t.folders.Unlock()
	if t.folders.safe[b] {
		return nil
	}
	if !t.folders.self {
		if err := s.makeFolder(t.folder, tenantsFolder); err != nil {
			return err
		}
		t.folders.self = true
	}
	if err := s.makeFolder(subFolder(t.folder, b), t.folder); err != nil {
		return err
	}
	t.folders.safe[b] = true
	return nil
}

// forgetFolders makes makeFolders look again.
func (t *tenant) forgetFolders(b byte) {
	t.folders.Lock()
	defer t.folders.Unlock()
	t.folders.safe[b], t.folders.self = false, false
}

// makeFolder makes a folder in parent, where there is none.
func (s *Store) makeFolder(folder, parent string) error {
	if err := s.root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncFolder(parent)
}
