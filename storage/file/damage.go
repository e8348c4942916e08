package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"sessionserver/storage"
)

// A damaged file is a torn or foreign file under a record's name. It is never overwritten or removed when its key is
// used. It is moved to the folder for damaged files, where the operator can examine it. Its new name begins with a
// number, by which the log refers to it: the log must not contain the id.

// countDamaged finds the highest number of a damaged file.
func (s *Store) countDamaged() error {
	err := s.list(damagedFolder, func(e fs.DirEntry) error {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.ParseUint(number, 10, 63); err == nil {
			s.damagedFiles.Store(max(s.damagedFiles.Load(), n))
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// verify reads the whole record under key. The caller holds the stripe.
func (s *Store) verify(t *tenant, key storage.Key) error {
	f, h, err := s.openRecord(t.path(key.ID), key, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, h.length)
	if _, err := f.ReadAt(data, headSize); err != nil && err != io.EOF {
		return err
	}
	_, err = h.record(data)
	return err
}

// setAside moves the damaged file under key to the folder for damaged files, and reports it. The caller holds the
// stripe.
func (s *Store) setAside(t *tenant, key storage.Key, cause error) error {
	old, counted, err := s.counted(t, key) // it counts if its head is valid
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if err := s.makeFolder(damagedFolder, "."); err != nil {
		return err
	}
	name := fmt.Sprintf("%s/%d.%s.", damagedFolder, s.damagedFiles.Add(1), encodeTenant(t.name))
	if err := s.root.Rename(t.path(key.ID), name+recordName(key.ID)); err != nil {
		return err
	}
	s.queue.remove(t, key.ID)
	if counted {
		t.add(storage.Usage{Records: -1, Bytes: -old.length})
	}
	s.reportDamaged(t.name, name+"*", cause)
	return s.syncFolder(damagedFolder)
}

// dropDamaged removes the damaged files of a tenant.
func (s *Store) dropDamaged(t *tenant) error {
	err := s.list(damagedFolder, func(e fs.DirEntry) error {
		if parts := strings.Split(e.Name(), "."); len(parts) == 3 && parts[1] == encodeTenant(t.name) {
			return s.root.RemoveAll(damagedFolder + "/" + e.Name())
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
