//go:build linux || darwin || freebsd

package opa

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime returns the processor time of this thread, or the ordinary clock where the system does not count it.
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
