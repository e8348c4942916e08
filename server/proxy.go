package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// readProxyHeader takes the client's address from a trusted balancer, by the PROXY protocol (versions 1 and 2). A
// balancer that speaks for itself, as for a health check, keeps its own address. A connection without a header is
// refused: otherwise all clients of a balancer that sends none would have its address. The error is errPeerLeft if the
// connection ended before its first byte, as health checks of TCP do.
func (c *conn) readProxyHeader() error {
	header, err := c.transport.readProxyHeader()
	if err != nil {
		return err
	}
	if header.Command.IsLocal() {
		c.caller.balancer = true
		return nil
	}
	from, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok {
		return errors.New("server: the PROXY header has no TCP address")
	}
	remote := unmapped(from.AddrPort())
	c.caller.balancer = remote.Addr() == c.caller.info.Remote.Addr() // so HAProxy checks health by version 1
	c.caller.info.Remote = remote
	return nil
}

// readProxyHeader reads a PROXY header, and not the bytes after it.
func (t *transport) readProxyHeader() (*proxyproto.Header, error) {
	_ = t.socket.SetReadDeadline(time.Now().Add(t.server.opts.HandshakeTimeout))
	stop := context.AfterFunc(t.server.draining, func() { _ = t.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := bufio.NewReaderSize(t.socket, 256)
	if err := readLine(r); err != nil {
		if r.Buffered() == 0 && handshakeFailureOf(err) == HandshakePeerLeft {
			return nil, errPeerLeft
		}
		return nil, err
	}
	header, err := proxyproto.Read(r)
	if err == nil && r.Buffered() > 0 {
		t.head, _ = r.Peek(r.Buffered())
	}
	return header, err
}

// readLine fills r until it has a line, or so much that it is not a header. The library expects a header of version 1
// in one piece, which TCP does not guarantee.
func readLine(r *bufio.Reader) error {
	const longest = 107 // bytes of a header of version 1
	for {
		_, err := r.Peek(r.Buffered() + 1)
		if err != nil {
			return err
		}
		head, _ := r.Peek(r.Buffered())
		if head[0] != 'P' || bytes.IndexByte(head, '\n') >= 0 || len(head) >= longest {
			return nil
		}
	}
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
