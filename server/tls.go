package server

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// recordHandshake is the first byte of a TLS connection (RFC 8446, section 5.1).
const recordHandshake = 0x16

// acmeALPN is what an authority speaks that comes to see whether this server has a name (RFC 8737). It leaves after the handshake.
const acmeALPN = "acme-tls/1"

// handshakeFailure is the TLS alert (RFC 8446, section 6) that a client of a listener without TLS gets: what its library understands.
var handshakeFailure = []byte{21, 3, 1, 0, 2, 2, 40}

// secure makes the connection speak TLS. The first byte of the handshake has been read. It reports whether the connection can go on.
func (c *conn) secure() bool {
	if c.how.TLS == nil {
		c.reason = TLSUnsupported
		c.log.Info("a client speaks TLS, which this listener does not serve", "listener", c.how.Name, "remote", c.remote())
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
		_, _ = c.nc.Write(handshakeFailure)
		return false
	}
	if _, ok := take(c.limiter(strangers, c.server.opts.Strangers), handshakeCost, 0); !ok {
		c.reason = TooManyHandshakes
		return false
	}
	ctx, cancel := context.WithTimeout(c.server.draining, c.server.opts.HandshakeTimeout)
	defer cancel()
	_ = c.nc.SetDeadline(time.Time{})
	secured := tls.Server(&headed{Conn: c.nc, head: c.head}, c.how.TLS)
	c.head = nil
	began := time.Now()
	err := c.server.handshake(ctx, c.ipKey(), secured)
	if err != nil {
		if c.reason = HandshakeFailed; c.server.isDraining() {
			c.reason = Drained
		}
		c.log.Debug("TLS handshake failed", "listener", c.how.Name, "remote", c.remote(), "err", err)
		return false
	}
	state := secured.ConnectionState()
	c.info.TLS = state.Version
	c.server.opts.Observer.HandshakeDone(c.info, time.Since(began))
	if state.NegotiatedProtocol == acmeALPN {
		c.reason = ACMEChallenge
		_ = secured.Close()
		return false
	}
	if len(state.PeerCertificates) > 0 {
		c.certificate = state.PeerCertificates[0]
	}
	c.mu.Lock()
	c.nc = secured
	c.mu.Unlock()
	return true
}

// handshakes are those of one address: each that is under way has a place, the others wait for one, first come, first served.
type handshakes struct {
	places chan struct{}
	count  int // under way or waiting
}

// handshake shakes hands when the address has a place for it.
func (s *Server) handshake(ctx context.Context, address string, secured *tls.Conn) error {
	s.mu.Lock()
	h := s.handshakes[address]
	if h == nil {
		h = &handshakes{places: make(chan struct{}, s.opts.HandshakesPerIP)}
		s.handshakes[address] = h
	}
	h.count++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if h.count--; h.count == 0 {
			delete(s.handshakes, address)
		}
	}()
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
		return secured.HandshakeContext(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bare is the connection beneath TLS, if there is any.
func bare(nc net.Conn) net.Conn {
	if secured, ok := nc.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return nc
}

// headed is a connection some of which has been read already.
type headed struct {
	net.Conn
	head []byte
}

func (h *headed) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

// NetConn is the connection itself; see rawConn.
func (h *headed) NetConn() net.Conn { return h.Conn }
