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
	if c.listener.TLS == nil {
		c.reason = TLSUnsupported
		c.observer.HandshakeFailed(HandshakeUnserved)
		c.log.Debug("a client speaks TLS, which this listener does not serve", "listener", c.listener.Name, "remote", c.remote())
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
		_, _ = c.nc.Write(handshakeFailure)
		return false
	}
	if _, ok := take(c.limiter(unauthenticated, c.server.opts.Unauthenticated), handshakeCost, 0); !ok {
		c.reason = TooManyHandshakes
		c.observer.RateLimited(OfUnauthenticated)
		c.observer.HandshakeFailed(HandshakeTooMany)
		return false
	}
	ctx, cancel := context.WithTimeout(c.server.draining, c.server.opts.HandshakeTimeout)
	defer cancel()
	_ = c.nc.SetDeadline(time.Time{})
	turn := &turn{server: c.server, address: c.ipKey()}
	defer turn.over()
	secured := tls.Server(&headed{Conn: c.nc, conn: c, head: c.head, turn: turn}, c.listener.TLS)
	c.head = nil
	began := time.Now()
	c.enter()
	err := secured.HandshakeContext(ctx)
	turn.over()
	c.exit()
	if err != nil {
		failure := handshakeFailureOf(err)
		if c.reason = HandshakeFailed; c.server.isDraining() {
			c.reason, failure = Drained, HandshakeDrained
		}
		if failure == HandshakePeerLeft { // it was not refused
			c.reason = PeerLeft
		}
		c.observer.HandshakeFailed(failure)
		c.log.Debug("TLS handshake failed", "listener", c.listener.Name, "remote", c.remote(), "err", err)
		return false
	}
	state := secured.ConnectionState()
	c.info.TLS = state.Version
	c.observer.HandshakeDone(state.Version, time.Since(began))
	if state.NegotiatedProtocol == acmeALPN {
		c.reason = ACMEChallenge
		_ = secured.Close()
		return false
	}
	if len(state.PeerCertificates) > 0 {
		c.certificate = state.PeerCertificates[0]
	}
	c.question.TLS, c.question.Certificate = c.info.tlsVersion(), certificateFacts(c.certificate)
	c.mu.Lock()
	c.nc = secured
	c.mu.Unlock()
	return true
}

// handshakes are those of one address whose clients have said their part: each that is under way has a place, the others wait for one, first
// come, first served. Before a client has said anything there is nothing to do for it, and it takes nobody's place.
type handshakes struct {
	places chan struct{}
	count  int // under way or waiting
}

// turn is one connection's place among the handshakes of its address.
type turn struct {
	server  *Server
	address string
	of      *handshakes // nil before and after
	placed  bool
}

// wait waits for a place.
func (t *turn) wait(ctx context.Context) error {
	s := t.server
	s.mu.Lock()
	h := s.handshakes[t.address]
	if h == nil {
		h = &handshakes{places: make(chan struct{}, s.opts.HandshakesPerIP)}
		s.handshakes[t.address] = h
	}
	h.count++
	t.of = h
	s.mu.Unlock()
	select {
	case h.places <- struct{}{}:
		t.placed = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// over gives the place to the next. Calling it again is harmless.
func (t *turn) over() {
	h := t.of
	if h == nil {
		return
	}
	t.of = nil
	if t.placed {
		<-h.places
	}
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	if h.count--; h.count == 0 {
		delete(t.server.handshakes, t.address)
	}
}

// inTurn is config with handshakes that go on, once the client has said its part, when it is the connection's turn.
func inTurn(config *tls.Config) *tls.Config {
	config, choose := config.Clone(), config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if h, ok := hello.Conn.(*headed); ok {
			h.conn.exit()
			err := h.turn.wait(hello.Context())
			h.conn.enter()
			if err != nil {
				return nil, err
			}
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
	return config
}

// bare is the connection beneath TLS, if there is any.
func bare(nc net.Conn) net.Conn {
	if secured, ok := nc.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return nc
}

// headed is a connection some of which has been read already. What TLS does with what it reads is done when it is the connection's
// turn; see turns.
type headed struct {
	net.Conn
	conn *conn
	head []byte
	turn *turn
}

func (h *headed) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	h.conn.exit()
	defer h.conn.enter()
	return h.Conn.Read(p)
}

func (h *headed) Write(p []byte) (int, error) { return h.conn.send(h.Conn, p) }

// NetConn is the connection itself; see rawConn.
func (h *headed) NetConn() net.Conn { return h.Conn }
