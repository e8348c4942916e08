package pebble

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// private is the file system of the machine, where all that is made is for its owner alone, whatever the umask: Pebble
// itself makes files that others may read.
type private struct{ vfs.FS }

var _ vfs.FS = private{}

func (p private) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return made(name)(p.FS.Create(name, c))
}

func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return made(name)(p.FS.OpenReadWrite(name, c, opts...))
}

// made takes the file of that name, if it could be made, away from others.
func made(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(name, 0o600); err != nil {
			_ = f.Close()
			return nil, err
		}
		return f, nil
	}
}

func (p private) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return lock, nil
}

func (p private) MkdirAll(dir string, perm os.FileMode) error { return p.FS.MkdirAll(dir, perm&0o700) }

func (p private) Unwrap() vfs.FS { return p.FS }
