package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"sessionserver/storage"
)

// sweep is how far the walk through the folders has got. It goes on over calls: one pass sees every tenant that was
// there at its beginning, every sub-folder that the tenant had when its turn came, and every file that lay there all
// the time.
type sweep struct {
	mu      sync.Mutex // held for a round
	tenants []*tenant  // still to come in this pass
	tenant  *tenant    // whose turn it is
	folders []string   // of the tenant, still to come
	dir     *os.File   // the folder that is being read, or nil
	names   []string   // read from it, still to be examined
}

// Sweep implements storage.Sweeper. It looks at up to limit files and folders, holding no lock but that of the file at
// which it looks.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	if err := s.enterWrite(ctx); err != nil {
		return storage.Swept{}, failure("sweep", err)
	}
	defer s.life.RUnlock()
	w := &s.sweep
	w.mu.Lock()
	defer w.mu.Unlock()
	var swept storage.Swept
	if w.finished() {
		w.tenants = s.tenants.all()
	}
	for range max(limit, 1) {
		if w.finished() {
			return swept, nil
		}
		if err := ctx.Err(); err != nil {
			return swept, failure("sweep", err)
		}
		if err := s.sweepStep(w, &swept); err != nil {
			return swept, failure("sweep", err)
		}
	}
	swept.More = !w.finished()
	return swept, nil
}

func (w *sweep) finished() bool {
	return len(w.names) == 0 && w.dir == nil && len(w.folders) == 0 && len(w.tenants) == 0
}

// sweepStep examines one file, or finds the next ones.
func (s *Store) sweepStep(w *sweep, swept *storage.Swept) error {
	switch {
	case len(w.names) > 0:
		name := w.names[0]
		w.names = w.names[1:]
		id, _ := parseRecordName(name)
		return s.sweepOne(w.tenant, storage.Key{Tenant: w.tenant.name, ID: id}, swept)
	case w.dir != nil:
		return w.readNames()
	case len(w.folders) > 0:
		folder := w.folders[0]
		w.folders = w.folders[1:]
		dir, err := s.root.Open(folder)
		if err != nil {
			return ignoreMissing(err)
		}
		w.dir = dir
		return w.readNames()
	default:
		w.tenant = w.tenants[0]
		w.tenants = w.tenants[1:]
		return ignoreMissing(s.list(w.tenant.folder, func(e fs.DirEntry) error {
			if e.IsDir() && len(e.Name()) == 2 {
				w.folders = append(w.folders, w.tenant.folder+"/"+e.Name())
			}
			return nil
		}))
	}
}

// readNames reads on in the folder and closes it at its end.
func (w *sweep) readNames() error {
	entries, err := w.dir.ReadDir(listStep)
	for _, e := range entries {
		if _, ok := parseRecordName(e.Name()); ok && e.Type().IsRegular() {
			w.names = append(w.names, e.Name())
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, w.dir.Close())
	w.dir = nil
	return err
}

// sweepOne removes the record under key if it has expired. What cannot be read is left to somebody who can tell what it
// is.
func (s *Store) sweepOne(t *tenant, key storage.Key, swept *storage.Swept) error {
	stripe := &s.stripes[key.ID[0]]
	stripe.RLock()
	h, err := s.readHeadAt(t.path(key.ID), key)
	stripe.RUnlock()
	if err != nil || !h.expired(s.now()) {
		return ignoreUnreadable(err)
	}
	stripe.Lock()
	defer stripe.Unlock()
	h, err = s.readHeadAt(t.path(key.ID), key) // another record may have taken its place
	if err != nil || !h.expired(s.now()) {
		return ignoreUnreadable(err)
	}
	if err := s.remove(t, key); err != nil {
		return err
	}
	if !h.marker {
		swept.Removed = append(swept.Removed, key)
	}
	return nil
}

func (w *sweep) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir := w.dir
	w.tenants, w.tenant, w.folders, w.dir, w.names = nil, nil, nil, nil, nil
	if dir == nil {
		return nil
	}
	return dir.Close()
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func ignoreUnreadable(err error) error {
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt) {
		return nil
	}
	return err
}
