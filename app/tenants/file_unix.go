//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tenants

import (
	"io/fs"
	"os"
	"syscall"
)

// inode tells a file from another one that has taken its place.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}

// links is under how many names there is a file.
func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}

// sameOwner gives f to the owner and group of another file.
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

// flock locks f for this process alone, or reports that another has it.
func flock(f *os.File) (free bool, err error) { return tryLock(f, syscall.LOCK_EX) }

// flockShared locks f beside others who share it, or reports that a process has it alone.
func flockShared(f *os.File) (free bool, err error) { return tryLock(f, syscall.LOCK_SH) }

func tryLock(f *os.File, how int) (free bool, err error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err {
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
