package file

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"sessionserver/storage"
)

// DropTenant implements storage.Dropper. It removes one sub-folder after the other. Foreign files and the folders
// that contain them are left.
func (s *Store) DropTenant(ctx context.Context, name string) (removed int64, err error) {
	for b := range 256 {
		n, err := s.dropSubFolder(ctx, name, byte(b))
		removed += n
		if err != nil {
			return removed, failure("drop tenant", err)
		}
	}
	return removed, failure("drop tenant", s.dropFolder(ctx, name))
}

// dropSubFolder removes the records whose ids begin with b, and their folder.
func (s *Store) dropSubFolder(ctx context.Context, name string, b byte) (removed int64, err error) {
	if err := s.enterWrite(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	t := s.tenants.find(name)
	if t == nil {
		return 0, nil
	}
	folder := subFolder(t.folder, b)
	for found := true; found && err == nil; { // a listing may be incomplete while files are removed
		found = false
		err = s.list(folder, func(e fs.DirEntry) error {
			id, ok := parseRecordName(e.Name())
			if !ok || id[0] != b {
				return ctx.Err()
			}
			counted, err := s.dropRecord(t, storage.Key{Tenant: name, ID: id})
			removed += counted
			found = found || err == nil
			return errors.Join(err, ctx.Err())
		})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	return removed, errors.Join(err, s.syncFolder(folder), s.removeFolder(t, folder, &t.folders.ready[b]))
}

// dropRecord removes one record and returns 1 if it counted in the usage.
func (s *Store) dropRecord(t *tenant, key storage.Key) (int64, error) {
	stripe := &s.stripes[key.ID[0]]
	stripe.Lock()
	defer stripe.Unlock()
	_, counted, err := s.counted(t, key)
	switch {
	case err == nil:
		err = s.remove(t, key)
	case errors.Is(err, storage.ErrCorrupt): // a damaged file is the tenant's as well
		err = s.root.Remove(t.path(key.ID))
	}
	if err != nil || !counted {
		return 0, err
	}
	return 1, nil
}

// dropFolder removes the tenant's folder if it is empty.
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
	if err := s.removeFolder(t, t.folder, &t.folders.rootReady); err != nil {
		return err
	}
	return s.syncFolder(tenantsFolder)
}

// removeFolder removes a folder of the tenant if it is empty, and makes sure that it is created again when it is
// needed.
func (s *Store) removeFolder(t *tenant, folder string, ready *bool) error {
	t.folders.Lock()
	defer t.folders.Unlock()
	err := s.root.Remove(folder)
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		*ready = false
		return nil
	case errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist):
		return nil // some systems return ErrExist for a folder that is not empty
	}
	return err
}
