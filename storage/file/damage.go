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

// What is in a record's place and is no record, because it is torn or foreign, is never overwritten or removed by the use of its key: it is moved
// to the folder for damaged files, for somebody to look at. The number in front is how the log names it, which must not have the id.

// countDamaged finds the last number that a damaged file has.
func (s *Store) countDamaged() error {
	err := s.list(damagedFolder, func(e fs.DirEntry) error {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.ParseUint(number, 10, 63); err == nil {
			s.aside.Store(max(s.aside.Load(), n))
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

// setAside moves what is in the place of the record under key to the folder for damaged files, and tells why. The caller holds the stripe.
func (s *Store) setAside(t *tenant, key storage.Key, why error) error {
	old, counted, err := s.counted(t, key) // it counts if its head is sound
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	if err := s.makeFolder(damagedFolder, "."); err != nil {
		return err
	}
	shown := fmt.Sprintf("%s/%d.%s.", damagedFolder, s.aside.Add(1), encodeTenant(t.name))
	if err := s.root.Rename(t.path(key.ID), shown+recordName(key.ID)); err != nil {
		return err
	}
	s.queue.drop(t, key.ID)
	if counted {
		t.add(storage.Usage{Records: -1, Bytes: -old.length})
	}
	s.damaged(t.name, shown+"*", why)
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
