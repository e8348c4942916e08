//go:build unix

package server

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchPeer returns a context that ends when the peer closes its side of the connection, although bytes that it sent
// before may still be unread. The returned function stops the watch.
//
// The runtime's poller wakes the callback at each change of the socket, and the callback asks the kernel what has
// changed. Nothing is polled and no byte is consumed, so this works beneath TLS too.
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
		// The error is the deadline that stops the watch.
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

// peerGone reports whether the peer will send no more.
func peerGone(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: peerGoneEvents}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(peerGoneEvents|unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

// writes writes to a socket without waiting.
type writes struct {
	conn net.Conn
	raw  syscall.RawConn // of conn; nil if it has none
	try  func(fd uintptr) bool
	p    []byte
	sent int
}

func newWrites(nc net.Conn) *writes {
	w := &writes{conn: nc, raw: rawConn(nc)}
	w.try = func(fd uintptr) bool {
		if n, err := unix.Write(int(fd), w.p); err == nil {
			w.sent = n
		}
		return true
	}
	return w
}

// now writes as many bytes as the socket has room for, and returns their number.
func (w *writes) now(p []byte) int {
	if w.raw == nil {
		return 0
	}
	w.p, w.sent = p, 0
	_ = w.raw.Write(w.try) // the next ordinary write gets the error again
	w.p = nil
	return w.sent
}

// poller waits until the runtime has polled the network. A pipe becomes readable, and its reader runs after the other
// goroutines that the same poll has made ready. A poller is not for concurrent use.
type poller struct {
	r, w   *os.File
	raw    syscall.RawConn
	failed bool
}

func (p *poller) wait() {
	if p.raw == nil && !p.failed {
		p.failed = p.open() != nil
	}
	if p.failed {
		return
	}
	b, written := [1]byte{}, false
	// The runtime polls the network between the two calls.
	_ = p.raw.Read(func(fd uintptr) bool {
		if written {
			_, _ = unix.Read(int(fd), b[:])
			return true
		}
		written = true
		_, err := p.w.Write(b[:])
		return err != nil
	})
}

func (p *poller) open() (err error) {
	if p.r, p.w, err = os.Pipe(); err == nil {
		p.raw, err = p.r.SyscallConn()
	}
	return err
}
