//go:build unix

package server

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchPeer returns a context that ends when the peer closes its side of the connection, however much it has sent before that is not
// read yet: reading is not how it is noticed. stop ends the watch.
//
// The runtime's poller wakes the callback at each change of the socket, which then asks the kernel what has changed; nothing is
// polled and no byte is consumed, so this works beneath TLS too.
func watchPeer(ctx context.Context, nc net.Conn) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	raw := rawConn(nc)
	if raw == nil {
		return ctx, func() { cancel(nil) }
	}
	_ = nc.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		gone := false
		// The error is the deadline by which stop ends the wait.
		_ = raw.Read(func(fd uintptr) bool {
			gone = peerGone(int(fd))
			return gone
		})
		if gone {
			cancel(errPeerLeft)
		}
	}()
	return ctx, func() {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
		<-done
		cancel(nil)
	}
}

func rawConn(nc net.Conn) syscall.RawConn {
	for {
		outer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = outer.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// peerGone asks whether the peer will send no more.
func peerGone(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: peerGoneEvents}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(peerGoneEvents|unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}
