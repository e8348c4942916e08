//go:build linux || darwin || freebsd

package opa

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is how long this thread has had a processor. A system without such a clock has the ordinary one counted.
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
