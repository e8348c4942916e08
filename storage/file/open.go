package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sessionserver/storage"
)

// Open opens the store in the folder o.Path, and creates the folder if it does not exist. If this process or
// another one already uses the folder, the error is storage.ErrLocked. Open completes or removes the work of a
// crashed process.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, failure("open", err)
	}
	s, err := open(o)
	if err != nil {
		return nil, failure("open "+o.Path, err)
	}
	return s, nil
}

func open(o Options) (_ *Store, err error) {
	if err := makePath(o.Path, o.Sync == SyncAlways); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(o.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Close())
		}
	}()
	lock, err := lockFolder(root)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	s := &Store{
		root: root, lock: lock, now: o.Now, sync: o.Sync == SyncAlways, nonce: rand.Text(),
		slots:        make(chan struct{}, o.Operations),
		reportFailed: o.Failed, reportDamaged: o.Damaged, reportSync: o.Synced,
	}
	s.tenants.byName = make(map[string]*tenant)
	s.queue.byKey = make(map[queueKey]*queueEntry)
	if err := s.makeFolder(tenantsFolder, "."); err != nil {
		return nil, err
	}
	if err := s.replay(); err != nil {
		return nil, err
	}
	if err := s.scan(); err != nil {
		return nil, err
	}
	if err := s.countDamaged(); err != nil {
		return nil, err
	}
	return s, nil
}

// makePath creates the folder and its missing parents.
func makePath(path string, sync bool) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	parent := filepath.Dir(path)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makePath(parent, sync); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil || !sync {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lockFolder locks the folder for this store. The kernel unlocks it when the file is closed or the process ends.
func lockFolder(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = flock(f); err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, storage.ErrLocked
	}
	return nil, fmt.Errorf("locking the file %q: %w", lockName, err)
}
