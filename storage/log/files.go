package log

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// files is the folder of a store, with names relative to it. Tests replace it by a folder that fails.
type files interface {
	Open(name string) (file, error)   // an existing file, for reading and writing
	Create(name string) (file, error) // a new or emptied file, for its owner alone
	Rename(old, name string) error
	Remove(name string) error
	List() ([]string, error)
	Sync() error    // makes the names in the folder durable
	Lock() error    // storage.ErrLocked if another store uses the folder
	Present() error // an error if the path no longer leads to the folder
	Close() error   // releases the lock
}

// file is one file of the folder.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Allocate(size int64) error // reserves space on the disk; never shortens the file
	Truncate(size int64) error
	Sync() error // makes the content durable
}

// folder is files on the machine's file system.
type folder struct {
	path string
	root *os.Root
	self fs.FileInfo
	lock *os.File
}

const lockName = "LOCK"

func openFolder(path string) (files, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	self, err := root.Stat(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &folder{path: path, root: root, self: self}, nil
}

func (d *folder) Open(name string) (file, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d *folder) Create(name string) (file, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d *folder) Rename(old, name string) error { return d.root.Rename(old, name) }

func (d *folder) Remove(name string) error { return d.root.Remove(name) }

func (d *folder) List() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (d *folder) Sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *folder) Lock() error {
	f, err := d.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lock(f); err != nil {
		return errors.Join(err, f.Close())
	}
	d.lock = f
	return nil
}

func (d *folder) Present() error {
	now, err := os.Stat(d.path)
	if err == nil && !os.SameFile(now, d.self) {
		err = errors.New("the folder was replaced by another one")
	}
	return err
}

func (d *folder) Close() error {
	err := d.root.Close()
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// diskFile is a file on the machine's file system.
type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// isFull reports whether an error is that the disk is full.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// fillZeros allocates space by writing zeros, where the system has no call for it.
func fillZeros(f *os.File, from, size int64) error {
	zeros := make([]byte, min(size-from, 1<<20))
	for ; from < size; from += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-from)], from); err != nil {
			return err
		}
	}
	return nil
}
