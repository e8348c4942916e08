package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFailed says that the store has stopped because its disk failed. See the package documentation.
var ErrFailed = errors.New("the store has failed")

// disk is the file system that Pebble stands on. It decides what a sync of the write-ahead log is (walsync.go), and
// what happens when writing fails.
//
// Pebble takes a failed write of its log or manifest for the end: it panics with locks held or asks its logger to exit
// the process. Therefore it never learns of one. At the first failure the folder is frozen: from then on whatever
// changes a file is answered with success and done to a ghost in memory, or to nothing. So Pebble stays sound, its
// waiters wake up and Close works, while the folder looks as after a kill at that moment, which Pebble is made to
// recover from. The failure is noted before the write is answered, and the store looks for it before it acknowledges
// anything.
type disk struct {
	vfs.FS
	mode     SyncMode
	log      *slog.Logger
	observer Observer

	failure atomic.Pointer[error]
	ghost   *vfs.MemFS // what is created after the failure

	mu   sync.Mutex
	wals map[*walFile]struct{} // guarded by mu: those open for writing
	stop chan struct{}         // closed to end the goroutine of SyncInterval
	done chan struct{}         // closed by it
}

var _ vfs.FS = (*disk)(nil)

func newDisk(o Options) *disk {
	d := &disk{
		FS: o.fs, mode: o.Sync, log: o.Logger, observer: o.Observer,
		ghost: vfs.NewMem(), wals: map[*walFile]struct{}{}, stop: make(chan struct{}), done: make(chan struct{}),
	}
	if d.mode == SyncInterval {
		go d.syncEvery(o.SyncInterval)
	} else {
		close(d.done)
	}
	return d
}

// close ends what newDisk has begun.
func (d *disk) close() {
	close(d.stop)
	<-d.done
}

func (d *disk) err() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (d *disk) failed() bool { return d.failure.Load() != nil }

// fail freezes the folder. Only the first failure counts.
func (d *disk) fail(op, path string, err error) {
	err = fmt.Errorf("%w: %s %s: %w", ErrFailed, op, d.PathBase(path), err)
	if d.failure.CompareAndSwap(nil, &err) {
		d.log.Error("storage has failed and stops", "op", op, "file", path, "err", err)
		d.observer.Failed(err)
	}
}

// compactions write a lot and nobody waits for them; they may see the failure, so that the ghost stays small.
func ghostly(c vfs.DiskWriteCategory) bool {
	return c != "pebble-compaction" && c != "pebble-blob-file-rewrite"
}

func (d *disk) create(name string, c vfs.DiskWriteCategory, real func() (vfs.File, error)) (vfs.File, error) {
	if !d.failed() {
		f, err := real()
		if err == nil {
			return d.wrap(name, f), nil
		}
		d.fail("create", name, err)
	}
	if !ghostly(c) {
		return nil, d.err()
	}
	if err := d.ghost.MkdirAll(d.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return d.ghost.Create(name, c)
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create(name, c, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.create(name, c, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create(newname, c, func() (vfs.File, error) { return d.FS.ReuseForWrite(oldname, newname, c) })
}

func (d *disk) wrap(name string, f vfs.File) vfs.File {
	base := d.PathBase(name)
	switch {
	case strings.HasSuffix(base, ".log"):
		return d.newWALFile(name, f)
	case strings.HasPrefix(base, "MANIFEST"):
		return &diskFile{File: f, disk: d, name: name, silent: true}
	}
	return &diskFile{File: f, disk: d, name: name}
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d, name: name, silent: true}, nil
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if d.failed() {
		if f, err := d.ghost.Open(name); err == nil {
			return f, nil
		}
	}
	return d.FS.Open(name, opts...)
}

func (d *disk) Stat(name string) (vfs.FileInfo, error) {
	if d.failed() {
		if fi, err := d.ghost.Stat(name); err == nil {
			return fi, nil
		}
	}
	return d.FS.Stat(name)
}

// change does one of the changes below, or makes it disappear. Nothing is lost by a file that could not be removed.
func (d *disk) change(op, name string, real, ghost func() error) error {
	if !d.failed() {
		err := real()
		if err == nil || op == "remove" {
			return err
		}
		d.fail(op, name, err)
	}
	_ = ghost()
	return nil
}

func (d *disk) Rename(oldname, newname string) error {
	return d.change("rename", newname,
		func() error { return d.FS.Rename(oldname, newname) }, func() error { return d.ghost.Rename(oldname, newname) })
}

func (d *disk) Link(oldname, newname string) error {
	return d.change("link", newname,
		func() error { return d.FS.Link(oldname, newname) }, func() error { return d.ghost.Link(oldname, newname) })
}

func (d *disk) MkdirAll(dir string, perm os.FileMode) error {
	return d.change("mkdir", dir,
		func() error { return d.FS.MkdirAll(dir, perm) }, func() error { return d.ghost.MkdirAll(dir, perm) })
}

func (d *disk) Remove(name string) error {
	return d.change("remove", name,
		func() error { return d.FS.Remove(name) }, func() error { return d.ghost.Remove(name) })
}

func (d *disk) RemoveAll(name string) error {
	return d.change("remove", name,
		func() error { return d.FS.RemoveAll(name) }, func() error { return d.ghost.RemoveAll(name) })
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

// diskFile is a file or directory open for writing or syncing. A silent one answers success after a failure; the
// others, of which something will be read again, answer the failure: Pebble knows how to start those anew.
type diskFile struct {
	vfs.File
	disk   *disk
	name   string
	silent bool
}

func (f *diskFile) do(op string, real func() error) error {
	if !f.disk.failed() {
		err := real()
		if err == nil {
			return nil
		}
		f.disk.fail(op, f.name, err)
	}
	if f.silent {
		return nil
	}
	return f.disk.err()
}

func (f *diskFile) Write(p []byte) (n int, err error) {
	n = len(p)
	err = f.do("write", func() (err error) { n, err = f.File.Write(p); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	n = len(p)
	err = f.do("write", func() (err error) { n, err = f.File.WriteAt(p, off); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *diskFile) Sync() error     { return f.do("sync", f.File.Sync) }
func (f *diskFile) SyncData() error { return f.do("sync", f.File.SyncData) }

func (f *diskFile) SyncTo(length int64) (full bool, err error) {
	err = f.do("sync", func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func (f *diskFile) Close() error { return f.do("close", f.File.Close) }
