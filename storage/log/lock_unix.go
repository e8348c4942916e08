//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package log

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"sessionserver/storage"
)

// lock locks the file for this store. The kernel unlocks it when the file is closed or the process ends. The lock
// belongs to the open file, so it works within a process as well.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return storage.ErrLocked
		default:
			return fmt.Errorf("locking the file %q: %w", lockName, err)
		}
	}
}
