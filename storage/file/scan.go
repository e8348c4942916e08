package file

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"runtime"
	"strings"
	"sync"

	"sessionserver/storage"
)

// scan counts the records of each tenant, adds them to the queue, and removes temporary files. It runs before the
// store is in use.
func (s *Store) scan() error {
	folders := make(chan scanFolder)
	errs := make(chan error, 1) // the first error; further ones are dropped
	var wg sync.WaitGroup
	for range min(2*runtime.GOMAXPROCS(0), cap(s.slots)) { // the goroutines mostly wait for the disk
		wg.Go(func() {
			for f := range folders {
				if err := s.scanRecords(f); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	err := s.scanTenants(func(f scanFolder) error {
		select {
		case err := <-errs:
			return err
		case folders <- f:
			return nil
		}
	})
	close(folders)
	wg.Wait()
	if err == nil {
		select {
		case err = <-errs:
		default:
		}
	}
	return err
}

// scanFolder is a folder of records.
type scanFolder struct {
	tenant *tenant
	prefix string // two hex digits, the first of the records' names
}

// scanTenants calls each for every folder of records.
func (s *Store) scanTenants(each func(scanFolder) error) error {
	return s.list(".", func(e fs.DirEntry) error {
		if strings.HasPrefix(e.Name(), journalName+".") && strings.HasSuffix(e.Name(), tempSuffix) {
			return s.root.Remove(e.Name())
		}
		if e.Name() != tenantsFolder {
			return nil
		}
		return s.list(tenantsFolder, func(e fs.DirEntry) error {
			name, ok := decodeTenant(e.Name())
			if !ok || !e.IsDir() {
				return nil // foreign
			}
			t, err := s.tenants.findOrCreate(name)
			if err != nil {
				return err
			}
			return s.list(t.folder, func(e fs.DirEntry) error {
				if !e.IsDir() || len(e.Name()) != 2 {
					return nil
				}
				return each(scanFolder{t, e.Name()})
			})
		})
	})
}

func (s *Store) scanRecords(f scanFolder) error {
	folder := path.Join(f.tenant.folder, f.prefix)
	return s.list(folder, func(e fs.DirEntry) error {
		file := path.Join(folder, e.Name())
		if _, ok := tempTarget(file); ok {
			return s.root.Remove(file)
		}
		id, ok := parseRecordName(e.Name())
		if !ok || !e.Type().IsRegular() || e.Name()[:2] != f.prefix {
			return nil
		}
		h, err := s.readHeadAt(file, storage.Key{Tenant: f.tenant.name, ID: id})
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt) {
			return nil
		}
		if err != nil {
			return err
		}
		s.queue.set(f.tenant, id, h.expires)
		if !h.marker {
			f.tenant.add(storage.Usage{Records: 1, Bytes: h.length})
		}
		return nil
	})
}

// list calls each for every entry of a folder while it reads the folder.
func (s *Store) list(folder string, each func(fs.DirEntry) error) error {
	dir, err := s.root.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(listStep)
		for _, e := range entries {
			if err := each(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// listStep is the number of names that are read from a folder at a time.
const listStep = 256
