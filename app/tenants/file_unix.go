//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tenants

import (
	"io/fs"
	"os"
	"syscall"
)

// inode returns the number that distinguishes a file from one that replaced it.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}

// links returns the number of names of a file.
func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}

// sameOwner sets the owner and group of f to those of another file.
func sameOwner(f *os.File, other fs.FileInfo) error {
	want, ok := other.Sys().(*syscall.Stat_t)
	info, err := f.Stat()
	if err != nil || !ok {
		return err
	}
	if has, ok := info.Sys().(*syscall.Stat_t); ok && has.Uid == want.Uid && has.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// flock locks f exclusively. It reports false if another process holds a lock.
func flock(f *os.File) (free bool, err error) { return tryLock(f, syscall.LOCK_EX) }

// flockShared locks f together with others that share it. It reports false if a process holds it exclusively.
func flockShared(f *os.File) (free bool, err error) { return tryLock(f, syscall.LOCK_SH) }

func tryLock(f *os.File, mode int) (free bool, err error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), mode|syscall.LOCK_NB); err {
		case nil:
			return true, nil
		case syscall.EWOULDBLOCK:
			return false, nil
		case syscall.EINTR:
		default:
			return false, err
		}
	}
}
