package server

import "golang.org/x/sys/unix"

// POLLRDHUP reports a FIN of the peer although unread bytes precede it.
const peerGoneEvents = unix.POLLRDHUP
