package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"sessionserver/auth"
	"sessionserver/wire"
)

// Serve accepts connections from l until Shutdown, and then returns ErrServerClosed. It closes l. The checks of this
// file come before the first byte is read.
func (s *Server) Serve(l net.Listener, listener Listen) error {
	defer l.Close()
	switch listener.Plaintext {
	case "":
		listener.Plaintext = PlaintextLoopback
	case PlaintextLoopback, PlaintextNever, PlaintextAlways:
	default:
		return fmt.Errorf("server: listener %s: plaintext %q (allowed: loopback, never, always)",
			listener.Name, listener.Plaintext)
	}
	if !listener.Anonymous.IsZero() {
		if err := CheckAnonymous(listener.Allow.Allow); err != nil {
			return fmt.Errorf("server: listener %s: %w", listener.Name, err)
		}
	}
	if listener.TLS != nil {
		listener.TLS = inTurn(listener.TLS)
	}
	s.mu.Lock()
	if s.isDraining() {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()

	pause := time.Duration(0)
	for {
		socket, err := l.Accept()
		if err == nil {
			pause = 0
			s.turns.take(&s.unauthenticated, connCPU)
			s.accept(socket, &listener)
			s.turns.give(&s.unauthenticated, 0)
			continue
		}
		if s.isDraining() || errors.Is(err, net.ErrClosed) {
			return ErrServerClosed
		}
		// File descriptors, for example, have run out. Open connections continue, and new ones are accepted when
		// there is room.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.notices.log(s.opts.Logger, slog.LevelError, noAccept, "cannot accept a connection",
			"listener", listener.Name, "err", err, "retry_in", pause.String())
		select {
		case <-time.After(pause):
		case <-s.draining.Done():
		}
	}
}

// CheckAnonymous returns an error if an allowlist is too wide for anonymous access. Access without credentials needs a
// list of clients, and no organization has a range wider than IPv4's /8 or IPv6's /16 to itself.
func CheckAnonymous(allow []netip.Prefix) error {
	for _, p := range allow {
		p = auth.Unmap(p)
		if least := map[bool]int{true: 8, false: 16}[p.Addr().Is4()]; p.Bits() < least {
			return fmt.Errorf("anonymous access needs an allowlist narrower than everybody: %s is wider than /%d; "+
				"name smaller ranges", p, least)
		}
	}
	return nil
}

// accept starts a connection, or refuses it with a reply.
func (s *Server) accept(socket net.Conn, listener *Listen) {
	c := s.newConn(socket, listener)
	if r := s.admit(c); r != nil {
		c.observer = s.opts.Observer.ConnOpened(c.caller.info)
		s.refuse(c, r)
		return
	}
	go func() {
		balancer := c.caller.info.Remote.Addr()
		if !auth.Contains(listener.Proxies, balancer) {
			c.observer = s.opts.Observer.ConnOpened(c.caller.info)
		} else if err := s.admitProxied(c); err != nil {
			var r *refusal
			if errors.As(err, &r) {
				s.refuse(c, r)
			} else {
				c.ended()
				_ = c.transport.socket.Close()
			}
			s.forget(c)
			s.conns.Done()
			return
		}
		c.serve()
	}()
}

// admitProxied reads the address of the client behind a balancer, and makes the checks that admit has not made. The
// error is a refusal, or errPeerLeft.
func (s *Server) admitProxied(c *conn) error {
	balancer := c.caller.info.Remote.Addr()
	err := c.readProxyHeader()
	c.observer = s.opts.Observer.ConnOpened(c.caller.info)
	switch {
	case err != nil && s.isDraining():
		return errShutdown
	case err == errPeerLeft:
		return err
	case err != nil:
		s.notices.log(s.opts.Logger, slog.LevelWarn, badHeader, "invalid PROXY header from a balancer",
			"listener", c.caller.listener.Name, "balancer", balancer, "err", err)
		return &refusal{reply: wire.Errorf(wire.Protocol, "this address must send a PROXY header first")}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.admitAddress(c); r != nil {
		return r
	}
	return nil
}

// refuse ends a connection that is not admitted.
func (s *Server) refuse(c *conn, r *refusal) {
	c.end.because(Refused)
	c.turnDown(r)
	c.ended()
	s.turnAway(c.transport.socket, r.reply)
}

// turnAway sends the refusal to a peer and closes the socket. The framing is unknown before a byte is read, and a line
// is readable in both. While many peers are refused at once, further sockets are closed without a delay, so that a peer
// that has sent something may not read the reason.
func (s *Server) turnAway(socket net.Conn, refusal *wire.Error) {
	send := func() {
		_ = socket.SetWriteDeadline(time.Now().Add(lingerTime))
		_, _ = fmt.Fprintf(socket, "err %s %s\r\n", refusal.Code, refusal.Message)
	}
	select {
	case s.refusing <- struct{}{}:
	default:
		send() // without a wait, since nothing was sent before
		_ = socket.Close()
		return
	}
	go func() {
		defer func() { <-s.refusing }()
		send()
		hangUp(socket)
	}()
}

// admit counts a connection, or returns why it is not admitted. The client behind a balancer is not known yet.
func (s *Server) admit(c *conn) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDraining():
		return errShutdown
	case len(s.open) >= s.opts.MaxConns:
		return &refusal{
			reply: wire.Errorf(wire.Unavailable, "the server has reached its limit of connections; try again later"),
			gate:  gateQuota,
		}
	}
	s.open[c] = ""
	if !auth.Contains(c.caller.listener.Proxies, c.caller.info.Remote.Addr()) {
		if r := s.admitAddress(c); r != nil {
			delete(s.open, c)
			return r
		}
	}
	s.conns.Add(1)
	return nil
}

// Costs of a connection at the unauthenticated rate of its address, besides its commands before it has authenticated.
// A full TLS handshake takes as much time as some ten commands.
const (
	connCost      = 1
	handshakeCost = 8
)

// admitAddress counts a connection for the client's address, or returns why the address is not admitted. The caller
// holds s.mu.
func (s *Server) admitAddress(c *conn) *refusal {
	ip := c.caller.info.Remote.Addr()
	if !ip.IsValid() {
		return nil
	}
	admitted := c.caller.listener.Allow.Admits(ip)
	c.caller.healthCheck = !admitted && c.caller.balancer
	key := c.caller.ipKey()
	switch {
	case !admitted && !c.caller.healthCheck:
		return &refusal{
			reply: wire.Errorf(wire.IPDenied, "this address may not connect here; ask the operator to allow it"),
			gate:  gateAllowlist,
		}
	case s.perIP[key] >= s.opts.MaxConnsPerIP:
		return &refusal{
			reply: wire.Errorf(wire.Unavailable, "this address has reached its limit of connections; close some"),
			gate:  gateQuota,
		}
	}
	if wait, ok := take(c.caller.limiter(unauthenticated, s.opts.Unauthenticated), time.Now(), connCost, 0); !ok {
		return &refusal{
			reply: wire.Errorf(wire.RateLimited,
				"this address connects too often: keep connections open; retry in %d ms", wait.Milliseconds()+1),
			gate: gateRates, scope: OfUnauthenticated,
		}
	}
	s.perIP[key]++
	s.open[c] = key
	return nil
}

// forget ends the counting of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.open[c]
	delete(s.open, c)
	if key == "" {
		return
	}
	if s.perIP[key]--; s.perIP[key] == 0 {
		delete(s.perIP, key)
	}
}
