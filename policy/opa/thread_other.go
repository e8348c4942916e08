//go:build !(linux || darwin || freebsd)

package opa

import "time"

// threadTime returns the ordinary clock, since this system has none for a thread.
func threadTime() time.Duration { return sinceStart() }
