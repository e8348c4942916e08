package log

import (
	"errors"
	"os"
	"syscall"
)

// Allocate implements file with fallocate, so that a later write into the file does not run out of space.
func (f diskFile) Allocate(size int64) error {
	from, err := f.Size()
	if err != nil || from >= size {
		return err
	}
	for {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, size)
		if err != syscall.EINTR {
			break
		}
	}
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return fillZeros(f.File, from, size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// Sync implements file with fdatasync, which leaves out the time of the last write.
func (f diskFile) Sync() error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = c.Control(func(fd uintptr) {
		for {
			if failure = syscall.Fdatasync(int(fd)); failure != syscall.EINTR {
				return
			}
		}
	})
	if failure != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failure}
	}
	return err
}
