package file

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"sessionserver/storage"
)

// tenants holds every tenant that has a folder or had one since the store was opened.
type tenants struct {
	mu     sync.RWMutex
	byName map[string]*tenant
}

// tenant is the folder of a tenant and its usage.
type tenant struct {
	name   string
	folder string

	folders struct {
		sync.Mutex
		ready     [256]bool // sub-folders that this process has created and synced, by number
		rootReady bool      // the same for folder itself
	}

	mu    sync.Mutex // guards total
	total storage.Usage
}

// find returns nil for a tenant without records.
func (ts *tenants) find(name string) *tenant {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	return ts.byName[name]
}

// findOrCreate returns the tenant, and creates it if necessary. It refuses a name that the contract does not allow.
func (ts *tenants) findOrCreate(name string) (*tenant, error) {
	if t := ts.find(name); t != nil {
		return t, nil
	}
	if name == "" || len(name) > maxTenant {
		return nil, fmt.Errorf("the tenant's name has %d bytes (allowed: 1 to %d)", len(name), maxTenant)
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

// path returns the path of the record with this id.
func (t *tenant) path(id storage.ID) string { return subFolder(t.folder, id[0]) + "/" + recordName(id) }

func (t *tenant) add(u storage.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.Records += u.Records
	t.total.Bytes += u.Bytes
}

func (t *tenant) usage() storage.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// makeFolders creates the tenant's folder and the sub-folder for ids that begin with b. The first use of a folder
// by this process syncs its name even if the folder exists. The process that created it may have been killed before
// the sync.
func (s *Store) makeFolders(t *tenant, b byte) error {
	t.folders.Lock()
	defer t.folders.Unlock()
	if t.folders.ready[b] {
		return nil
	}
	if !t.folders.rootReady {
		if err := s.makeFolder(t.folder, tenantsFolder); err != nil {
			return err
		}
		t.folders.rootReady = true
	}
	if err := s.makeFolder(subFolder(t.folder, b), t.folder); err != nil {
		return err
	}
	t.folders.ready[b] = true
	return nil
}

// resetFolders makes the next call of makeFolders create the folders again.
func (t *tenant) resetFolders(b byte) {
	t.folders.Lock()
	defer t.folders.Unlock()
	t.folders.ready[b], t.folders.rootReady = false, false
}

// makeFolder creates a folder in parent unless it exists.
func (s *Store) makeFolder(folder, parent string) error {
	if err := s.root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncFolder(parent)
}
