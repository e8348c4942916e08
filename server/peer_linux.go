package server

import "golang.org/x/sys/unix"

// POLLRDHUP tells of a peer's FIN even while unread bytes stand before it.
const peerGoneEvents = unix.POLLRDHUP
