//go:build unix && !linux

package server

import "golang.org/x/sys/unix"

// Without Linux's POLLRDHUP a peer that has left is noticed as soon as the system reports a hang-up.
const peerGoneEvents = unix.POLLHUP
