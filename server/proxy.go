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

// readProxyHeader reads the client's address from a trusted balancer, by the PROXY protocol (versions 1 and 2). A
// balancer that speaks for itself, as for a health check, keeps its own. A connection without a header is refused: all
// clients of a balancer that sends none would have its address. The error is errPeerLeft if the connection ended before
// its first byte, as health checks of TCP do.
func (c *conn) readProxyHeader() error {
	nc := c.nc
	_ = nc.SetReadDeadline(time.Now().Add(c.server.opts.HandshakeTimeout))
	stop := context.AfterFunc(c.server.draining, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := bufio.NewReaderSize(nc, 256)
	if err := gather(r); err != nil {
		if r.Buffered() == 0 && handshakeFailureOf(err) == HandshakePeerLeft {
			return errPeerLeft
		}
		return err
	}
	header, err := proxyproto.Read(r)
	if err != nil {
		return err
	}
	if r.Buffered() > 0 {
		c.head, _ = r.Peek(r.Buffered())
	}
	if header.Command.IsLocal() {
		c.balancer = true
		return nil
	}
	from, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok {
		return errors.New("server: the PROXY header names no TCP address")
	}
	remote := unmapped(from.AddrPort())
	c.balancer = remote.Addr() == c.info.Remote.Addr() // so HAProxy checks health by version 1
	c.info.Remote = remote
	return nil
}

// gather reads until a line is there, or so much that it is no header. The library wants headers of version 1 to come in one piece, which TCP
// does not promise.
func gather(r *bufio.Reader) error {
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
