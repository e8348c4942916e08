package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sessionserver/storage"
)

// Open opens the store in the folder o.Path, and makes it where there is none. A folder that is held, by this process
// or another one, is refused with storage.ErrLocked; one that is damaged with storage.ErrCorrupt.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("pebble: open: %w", err)
	}
	s, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("pebble: open %s: %w", o.Path, err)
	}
	return s, nil
}

func open(o Options) (_ *Store, err error) {
	path, err := folder(o)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(path, o.fs)
	if err != nil {
		return nil, err
	}
	d := newDisk(o)
	s := &Store{disk: d, lock: lock, log: o.Logger, now: o.Now, perStripe: max(o.Headers/stripeCount, 1)}
	for i := range s.stripes {
		s.stripes[i].headers = map[headerKey]header{}
	}
	defer func() {
		if err != nil {
			if s.db != nil {
				err = errors.Join(err, s.db.Close())
			}
			d.close()
			err = errors.Join(err, lock.Close())
		}
	}()
	s.db, err = pebbledb.Open(path, libraryOptions(o, d, lock))
	if pebbledb.IsCorruptionError(err) {
		err = errors.Join(storage.ErrCorrupt, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.checkLayout(); err != nil {
		return nil, err
	}
	if err := s.loadUsage(); err != nil {
		return nil, err
	}
	return s, d.err() // Pebble does not notice when the disk fails meanwhile
}

// folder makes the folder and answers its one true name: Pebble's lock holds between processes by file and within one
// by name.
func folder(o Options) (string, error) {
	if err := o.fs.MkdirAll(o.Path, 0o700); err != nil {
		return "", err
	}
	if o.fs != (private{vfs.Default}) {
		return o.Path, nil
	}
	path, err := filepath.EvalSymlinks(o.Path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func lockFolder(path string, v vfs.FS) (*pebbledb.Lock, error) {
	lock, err := pebbledb.LockDirectory(path, v)
	if err == nil {
		return lock, nil
	}
	// A file that cannot be made, or a file system without locks, is another problem than a lock that somebody has.
	var noFile *fs.PathError
	var errno syscall.Errno
	if errors.As(err, &noFile) || errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return nil, err
	}
	return nil, fmt.Errorf("%w (%w)", storage.ErrLocked, err)
}

// checkLayout marks a new folder with the layout's version, and refuses one of another version.
func (s *Store) checkLayout() error {
	v, closer, err := s.get(layoutKey)
	if err != nil {
		return err
	}
	if closer == nil {
		return s.db.Set(layoutKey, []byte(layoutVersion), pebbledb.Sync)
	}
	defer closer.Close()
	if string(v) != layoutVersion {
		return fmt.Errorf("the folder has layout %q, this program knows %q", v, layoutVersion)
	}
	return nil
}
