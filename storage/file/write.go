package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sessionserver/storage"
)

// staged is a record that was completely written to a temporary file, and synced if the store syncs.
type staged struct {
	key     storage.Key
	tenant  *tenant
	folder  string // of both files
	temp    string // path of the temporary file
	counts  bool   // the record counts in the usage
	length  int64  // of the data
	expires int64  // Unix time in milliseconds
	target  string // path of the record
}

// stage writes rec to a temporary file in the record's folder. The caller removes the file if it does not become
// the record.
func (s *Store) stage(key storage.Key, rec storage.Record) (staged, error) {
	t, err := s.tenants.findOrCreate(key.Tenant)
	if err != nil {
		return staged{}, err
	}
	st := staged{
		key: key, tenant: t, folder: subFolder(t.folder, key.ID[0]), target: t.path(key.ID),
		counts: !rec.Marker, length: int64(len(rec.Data)), expires: rec.Expires.UnixMilli(),
	}
	st.temp = fmt.Sprintf("%s.%s-%d%s", st.target, s.nonce, s.temps.Add(1), tempSuffix)
	content := encode(key, rec)
	for attempt := 0; ; attempt++ {
		if err := s.makeFolders(t, key.ID[0]); err != nil {
			return staged{}, err
		}
		err := s.writeFile(st.temp, content)
		if !errors.Is(err, fs.ErrNotExist) || attempt == stageAttempts {
			return st, err
		}
		t.resetFolders(key.ID[0]) // DropTenant has removed a folder; it never removes one with a file in it
	}
}

// stageAttempts is the maximum number of times that removed folders are created again for one file.
const stageAttempts = 10

// replace renames the temporary file to the record, and returns the difference in the tenant's usage. The caller
// holds the stripe.
func (s *Store) replace(st staged) (added storage.Usage, err error) {
	if p := s.failed.Load(); p != nil { // a batch failed while this write waited for the stripe
		return added, *p
	}
	old, counted, err := s.counted(st.tenant, st.key)
	if errors.Is(err, storage.ErrCorrupt) {
		err = s.setAside(st.tenant, st.key, err)
	}
	if err != nil {
		return added, err
	}
	if err := s.root.Rename(st.temp, st.target); err != nil {
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

// writeFile creates a file with this content. After an error no file is left.
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

// syncFolder syncs the names in a folder if the store syncs. A folder that DropTenant has removed needs no sync.
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

// syncFile syncs a file and reports the duration.
func (s *Store) syncFile(f *os.File) error {
	start := time.Now()
	err := f.Sync()
	s.reportSync(time.Since(start))
	return err
}
