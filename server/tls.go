package server

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// recordHandshake is the first byte of a TLS connection (RFC 8446, section 5.1).
const recordHandshake = 0x16

// acmeALPN is the protocol of a certificate authority that verifies this server's name (RFC 8737). The authority leaves
// after the handshake.
const acmeALPN = "acme-tls/1"

// handshakeFailure is the TLS alert (RFC 8446, section 6) for a client of a listener without TLS.
var handshakeFailure = []byte{21, 3, 1, 0, 2, 2, 40}

// secure makes the connection use TLS, and reports whether it can continue. The first byte of the handshake has been
// read.
func (c *conn) secure() bool {
	listener := c.caller.listener
	if listener.TLS == nil {
		c.end.because(TLSUnsupported)
		c.observer.HandshakeFailed(HandshakeUnserved)
		c.log.Debug("a client speaks TLS, which this listener does not serve",
			"listener", listener.Name, "remote", c.caller.remote())
		_ = c.transport.socket.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
		_, _ = c.transport.socket.Write(handshakeFailure)
		return false
	}
	start := time.Now()
	if _, ok := take(c.caller.limiter(unauthenticated, c.server.opts.Unauthenticated), start, handshakeCost, 0); !ok {
		c.end.because(TooManyHandshakes)
		c.observer.RateLimited(OfUnauthenticated)
		c.observer.HandshakeFailed(HandshakeTooMany)
		return false
	}
	secured, err := c.transport.handshake(listener.TLS, c.caller.ipKey())
	if err != nil {
		failure := handshakeFailureOf(err)
		reason := HandshakeFailed
		if c.server.isDraining() {
			reason, failure = Drained, HandshakeDrained
		}
		if failure == HandshakePeerLeft { // the client was not refused
			reason = PeerLeft
		}
		c.end.because(reason)
		c.observer.HandshakeFailed(failure)
		c.log.Debug("TLS handshake failed", "listener", listener.Name, "remote", c.caller.remote(), "err", err)
		return false
	}
	state := secured.ConnectionState()
	c.observer.HandshakeDone(state.Version, time.Since(start))
	if state.NegotiatedProtocol == acmeALPN {
		c.end.because(ACMEChallenge)
		_ = secured.Close()
		return false
	}
	c.caller.secured(state)
	return true
}

// secured sets the TLS version and the verified certificate of the client.
func (c *caller) secured(state tls.ConnectionState) {
	c.info.TLS = state.Version
	if len(state.PeerCertificates) > 0 {
		c.certificate = state.PeerCertificates[0]
	}
	c.question.TLS, c.question.Certificate = c.info.tlsVersion(), certificateFacts(c.certificate)
}

// handshake replaces the socket by a TLS connection, after a handshake in a slot of the client's address.
func (t *transport) handshake(config *tls.Config, address string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(t.server.draining, t.server.opts.HandshakeTimeout)
	defer cancel()
	t.forgetReadBy()
	_ = t.socket.SetDeadline(time.Time{})
	slot := &handshakeSlot{server: t.server, address: address}
	defer slot.release()
	secured := tls.Server(&headed{Conn: t.socket, transport: t, head: t.head, slot: slot}, config)
	t.head = nil
	t.account.enter()
	err := secured.HandshakeContext(ctx)
	slot.release()
	t.account.exit()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.socket = secured
	t.mu.Unlock()
	return secured, nil
}

// handshakes are the TLS handshakes of one address whose clients have sent their first message. Each one under way has
// a slot, and the others wait for one, first come, first served. A client that has sent nothing needs no slot.
type handshakes struct {
	slots chan struct{}
	count int // under way or waiting
}

// handshakeSlot is the slot of one connection.
type handshakeSlot struct {
	server  *Server
	address string
	of      *handshakes // nil before acquire and after release
	held    bool
}

// acquire waits for the slot.
func (h *handshakeSlot) acquire(ctx context.Context) error {
	s := h.server
	s.mu.Lock()
	of := s.handshakes[h.address]
	if of == nil {
		of = &handshakes{slots: make(chan struct{}, s.opts.HandshakesPerIP)}
		s.handshakes[h.address] = of
	}
	of.count++
	h.of = of
	s.mu.Unlock()
	select {
	case of.slots <- struct{}{}:
		h.held = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives the slot to the next connection. Calling it again is harmless.
func (h *handshakeSlot) release() {
	of := h.of
	if of == nil {
		return
	}
	h.of = nil
	if h.held {
		<-of.slots
	}
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	if of.count--; of.count == 0 {
		delete(h.server.handshakes, h.address)
	}
}

// inTurn returns config with handshakes that wait for a slot once the client has sent its first message, and continue
// in turn.
func inTurn(config *tls.Config) *tls.Config {
	config, choose := config.Clone(), config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if h, ok := hello.Conn.(*headed); ok {
			err := h.transport.account.blocking(func() error { return h.slot.acquire(hello.Context()) })
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

// bare returns the connection beneath TLS, or the connection itself.
func bare(socket net.Conn) net.Conn {
	if secured, ok := socket.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return socket
}

// headed is a connection of which the head has been read already. TLS processes in turn what it reads; see turns.
type headed struct {
	net.Conn
	transport *transport
	head      []byte
	slot      *handshakeSlot
}

func (h *headed) Read(p []byte) (n int, err error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	account := h.transport.account
	account.exit()
	if n, err = h.Conn.Read(p); n > 0 {
		account.enter()
	}
	return n, err
}

func (h *headed) Write(p []byte) (int, error) { return h.transport.send(h.Conn, p) }

// NetConn returns the connection itself; see rawConn.
func (h *headed) NetConn() net.Conn { return h.Conn }
