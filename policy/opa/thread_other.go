//go:build !(linux || darwin || freebsd)

package opa

import "time"

// threadTime is the ordinary clock: the system has none for a thread.
func threadTime() time.Duration { return sinceStart() }
