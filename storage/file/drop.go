package file

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"sessionserver/storage"
)

// DropTenant implements storage.Dropper. It goes through the tenant's sub-folders, each of which is a step. Files that no
// store has made stay, and so do the folders in which they are.
func (s *Store) DropTenant(ctx context.Context, name string) (removed int64, err error) {
	for b := range 256 {
		n, err := s.dropStep(ctx, name, byte(b))
		removed += n
		if err != nil {
			return removed, failure("drop tenant", err)
		}
	}
	return removed, failure("drop tenant", s.dropFolder(ctx, name))
}

// dropStep removes the records whose ids begin with b, and their folder.
func (s *Store) dropStep(ctx context.Context, name string, b byte) (removed int64, err error) {
	if err := s.enterWrite(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	t := s.tenants.find(name)
	if t == nil {
		return 0, nil
	}
	folder := subFolder(t.folder, b)
	for found := true; found && err == nil; { // what a folder lists while files leave it need not be all
		found = false
		err = s.list(folder, func(e fs.DirEntry) error {
			id, ok := parseRecordName(e.Name())
			if !ok || id[0] != b {
				return ctx.Err()
			}
			counted, err := s.dropOne(t, storage.Key{Tenant: name, ID: id})
			removed += counted
			found = found || err == nil
			return errors.Join(err, ctx.Err())
		})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	return removed, errors.Join(err, s.syncFolder(folder), s.removeFolder(t, folder, &t.folders.safe[b]))
}

// dropOne removes one record and answers 1 if it counted in the usage.
func (s *Store) dropOne(t *tenant, key storage.Key) (int64, error) {
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	_, counted, err := s.counted(t, key)
	switch {
	case err == nil:
		err = s.remove(t, key)
	case errors.Is(err, storage.ErrCorrupt): // nothing of the tenant is to be left
		err = s.root.Remove(t.path(key.ID))
	}
	if err != nil || !counted {
		return 0, err
	}
	return 1, nil
}

// dropFolder removes the tenant's folder if nothing is left in it.
func (s *Store) dropFolder(ctx context.Context, name string) error {
	if err := s.enterWrite(ctx); err != nil {
		return err
	}
	defer s.leave()
	t := s.tenants.find(name)
	if t == nil {
		return nil
	}
	if err := s.dropDamaged(t); err != nil {
		return err
	}
	if err := s.removeFolder(t, t.folder, &t.folders.self); err != nil {
		return err
	}
	return s.syncFolder(tenantsFolder)
}

// removeFolder removes a folder of the tenant if it is empty, and sees to it that it is made again when it is needed.
func (s *Store) removeFolder(t *tenant, folder string, safe *bool) error {
	t.folders.Lock()
	defer t.folders.Unlock()
	err := s.root.Remove(folder)
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		*safe = false
		return nil
	case errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist):
		return nil // some systems call it so
	}
	return err
}
