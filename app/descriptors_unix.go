//go:build unix

package app

import (
	"math"
	"syscall"
)

// allowedDescriptors returns the number of file descriptors that the system allows this process. The runtime has raised
// the soft limit to the hard one, or one less, when the process began.
func allowedDescriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
