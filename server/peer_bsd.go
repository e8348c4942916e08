//go:build unix && !linux

package server

import "golang.org/x/sys/unix"

// POLLHUP reports that a peer has left, later than the POLLRDHUP of Linux.
const peerGoneEvents = unix.POLLHUP
