package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sessionserver/storage"
)

// staged is a record that has been written to a temporary file, whole, and synced if the store syncs.
type staged struct {
	key     storage.Key
	tenant  *tenant
	folder  string // of both files
	temp    string // its path
	counts  bool   // whether the record counts in a usage
	length  int64  // of the data
	expires int64  // Unix time in milliseconds
	replace string // the path that it is to have
}

// stage writes rec to a temporary file in the folder where it belongs. The caller removes the file if it is not to
// become the record.
func (s *Store) stage(key storage.Key, rec storage.Record) (staged, error) {
	t, err := s.tenants.make(key.Tenant)
	if err != nil {
		return staged{}, err
	}
	st := staged{
		key: key, tenant: t, folder: subFolder(t.folder, key.ID[0]), replace: t.path(key.ID),
		counts: !rec.Marker, length: int64(len(rec.Data)), expires: rec.Expires.UnixMilli(),
	}
	st.temp = fmt.Sprintf("%s.%s-%d%s", st.replace, s.nonce, s.temps.Add(1), tempSuffix)
	content := encode(key, rec)
	for attempt := 0; ; attempt++ {
		if err := s.makeFolders(t, key.ID[0]); err != nil {
			return staged{}, err
		}
		err := s.writeFile(st.temp, content)
		if !errors.Is(err, fs.ErrNotExist) || attempt == stageAttempts {
			return st, err
		}
		t.forgetFolders(key.ID[0]) // DropTenant has just removed one; it removes none that has a file in it
	}
}

// stageAttempts is how often the folders are made again for a file that cannot be made because they are gone.
const stageAttempts = 10

// replace makes the staged record the record, and answers what that adds to its tenant's usage. The caller holds its
// stripe.
func (s *Store) replace(st staged) (added storage.Usage, err error) {
	if p := s.failed.Load(); p != nil { // while this waited for the stripe
		return added, *p
	}
	old, counted, err := s.counted(st.tenant, st.key)
	if errors.Is(err, storage.ErrCorrupt) {
		err = s.setAside(st.tenant, st.key, err)
	}
	if err != nil {
		return added, err
	}
	if err := s.root.Rename(st.temp, st.replace); err != nil {
		return added, err
	}
	s.queue.set(st.tenant, st.key.ID, st.expires)
	if counted {
		added.Records, added.Bytes = -1, -old.length
	}
	if st.counts {
		added.Records, added.Bytes = added.Records+1, added.Bytes+st.length
	}
	return added, nil
}

// writeFile makes a file with that content and leaves nothing behind when it fails.
func (s *Store) writeFile(path string, content []byte) error {
	f, err := s.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && s.sync {
		err = s.syncFile(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.root.Remove(path))
	}
	return nil
}

// syncFolder makes the names in a folder safe, if the store syncs. In a folder that DropTenant has removed there are
// none.
func (s *Store) syncFolder(folder string) error {
	if !s.sync {
		return nil
	}
	f, err := s.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(s.syncFile(f), f.Close())
}

// syncFile makes a file safe and tells how long that took.
func (s *Store) syncFile(f *os.File) error {
	start := time.Now()
	err := f.Sync()
	s.synced(time.Since(start))
	return err
}
