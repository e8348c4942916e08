package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/session"
	"sessionserver/wire"
)

const (
	// flushSize is how many bytes of replies are collected before they are sent although more requests wait.
	flushSize = 64 << 10

	// restTime is how long an idle connection keeps its buffers.
	restTime = time.Second

	// lingerTime is how long a connection that the server ends is kept for its peer to read why.
	lingerTime = time.Second
)

// conn is one connection. All but what the mutex guards belongs to the goroutine in serve.
type conn struct {
	server   *Server
	nc       net.Conn
	listener *Listen
	info     ConnInfo
	observer ConnObserver
	log      *slog.Logger
	opened   time.Time
	counted  bool // for its address; guarded by Server.mu

	balancer bool // a balancer speaks for itself; see Listen.Proxies
	checks   bool // and is admitted for health checks alone: it never gets an identity

	head        []byte            // bytes that were read and are not looked at yet
	certificate *x509.Certificate // the client's, verified; nil if it has shown none
	access      access
	held        int // bytes that account has counted
	moved       int // bytes that payBytes has not charged for

	reader       *wire.Reader
	reply        wire.Encoder
	call         Call
	mark         int              // where in reply the answer under way begins
	session      *session.Session // open on this connection, or nil
	question     policy.Input     // to the policy; what does not change from command to command stands in it always
	visible      []int            // buffer of Call.visible
	budget       int
	ticket       ticket
	bulk         ticket    // see enterBulk
	requestStart time.Time // when the request that is being read was begun; zero between requests
	name         string    // as CLIENT SETNAME gave it
	writes       *writes   // see send; nil until something is sent in turn
	quit         bool
	reason       CloseReason
	refused      *refusal // of the connection itself; nil if there is none

	unknown    auth.Method  // by which it would be somebody if it were known; "" when that is told
	introduced introduction // the last that the audit log knows of

	mu        sync.Mutex              // guards writing nc and access, and what follows; comes after Server.mu
	resting   bool                    // blocked in a read, with neither a session nor half a request
	revoked   bool                    // the credentials were, and the connection was closed
	interrupt context.CancelCauseFunc // ends what the connection waits for; nil while it waits for nothing
}

func (s *Server) newConn(nc net.Conn, listener *Listen) *conn {
	c := &conn{server: s, nc: nc, listener: listener, budget: s.opts.ErrorBudget, opened: time.Now(), observer: Unobserved{}}
	c.info = ConnInfo{ID: s.nextID.Add(1), Listener: listener.Name}
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.info.Remote = unmapped(tcp.AddrPort())
	}
	c.log = s.opts.Logger.With("conn", c.info.ID)
	c.reader = wire.NewReader(c, wire.UnauthenticatedLimits(), nil)
	c.reader.SetRoom(c.room)
	return c
}

// remote is where the connection comes from, for the log.
func (c *conn) remote() string {
	if c.info.Remote.IsValid() {
		return c.info.Remote.String()
	}
	return "unix"
}

// ipKey is what connections are counted under. IPv6 hosts have a whole /64 to choose from.
func (c *conn) ipKey() string {
	ip := c.info.Remote.Addr()
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.String()
	}
	return ip.String()
}

// local reports whether the peer is on this machine.
func (c *conn) local() bool {
	if !c.info.Remote.IsValid() {
		return true
	}
	peer, ok := c.nc.RemoteAddr().(*net.TCPAddr) // not so if a balancer elsewhere says that it serves its own machine
	return ok && peer.IP.IsLoopback() && c.info.Remote.Addr().IsLoopback()
}

// serve is the life of a connection: find out how it speaks and who it is, and then read requests and handle them. That goes on in a goroutine
// of its own, because the stack that a TLS handshake needs is never given back.
func (c *conn) serve() {
	if c.guarded(c.begin) {
		go c.guarded(c.loop)
	}
}

// guarded runs a part of the connection's life, and ends the connection unless that says that it goes on.
func (c *conn) guarded(part func() (goesOn bool)) (goesOn bool) {
	defer func() {
		if p := recover(); p != nil { // not of a command's: see run
			c.reason = Failed
			r := c.refusalOf("", &panicked{p, debug.Stack()})
			c.reply.Error(r.reply.Code, r.reply.Message)
		}
		if !goesOn {
			c.close()
		}
	}()
	return part()
}

// loop reads requests and handles them, and flushes when nothing more waits to be read. It ends with the connection.
func (c *conn) loop() bool {
	for !c.quit {
		req, err := c.reader.Next()
		if err != nil {
			c.exitBulk()
			c.payBytes()
			if !c.misread(err) {
				return false
			}
			continue
		}
		c.requestStart = time.Time{}
		c.handle(req)
		c.exitBulk()
		c.payBytes()
		if c.session == nil && c.server.isDraining() {
			c.reason, c.quit = Drained, true
		}
		if c.reply.Len() >= c.flushAt() && c.flush() != nil {
			return false
		}
	}
	return false
}

var errPlaintext = &refusal{
	reply: wire.Errorf(wire.TLSRequired, "this listener does not serve plaintext to this address; connect with TLS"),
}

// begin looks at the first byte, which decides between TLS and plaintext, at who may speak the latter, and at who the client is.
func (c *conn) begin() bool {
	if len(c.head) == 0 {
		var first [1]byte
		if _, err := c.Read(first[:]); err != nil {
			c.misread(err)
			return false // without a first byte nothing has been decided
		}
		c.head = first[:]
	}
	switch first := c.head[0]; {
	case first == recordHandshake:
		if !c.secure() {
			return false
		}
		c.reply.Begin(wire.Line) // unless the client speaks first, nobody knows
	case c.admitsPlaintext():
		c.frame(first)
	case c.balancer:
		c.checks = true
		c.frame(first)
	default:
		c.reason = PlaintextRefused
		c.frame(first)
		c.turnDown(errPlaintext)
		c.reply.Error(errPlaintext.reply.Code, errPlaintext.reply.Message)
		return false
	}
	grant := c.initially()
	err := c.become(grant)
	if err == nil {
		err = c.authenticated()
	}
	if err != nil {
		c.reason = Refused
		r := *c.refusalOf("", err)
		r.identity = grant.Identity
		c.turnDown(&r)
		c.reply.Error(r.reply.Code, r.reply.Message)
		return false
	}
	return true
}

// admitsPlaintext reports whether the peer may speak without TLS.
func (c *conn) admitsPlaintext() bool {
	return c.listener.Plaintext == PlaintextAlways || c.listener.Plaintext == PlaintextLoopback && c.local()
}

// frame answers a request of which only the first byte is known.
func (c *conn) frame(first byte) {
	if first == '*' {
		c.reply.Begin(wire.RESP)
	} else {
		c.reply.Begin(wire.Line)
	}
}

// Read is where the reader gets its bytes from. Before it may block, everything that was answered is sent; a connection that stays
// idle gives its buffers back first.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	c.exit()
	c.account(0)
	if c.reader.Midway() {
		if c.requestStart.IsZero() {
			c.requestStart = time.Now()
		}
		_ = c.nc.SetReadDeadline(c.inTime(c.requestStart.Add(c.server.opts.RequestTimeout)))
		return c.read(p)
	}
	if !c.rest(len(p)) {
		return 0, errShutdown
	}
	n, err := c.read(p)
	c.mu.Lock()
	c.resting = false
	c.mu.Unlock()
	return n, err
}

// read reads, and waits for the connection's turn to do something with that.
func (c *conn) read(p []byte) (int, error) {
	n, err := c.nc.Read(p)
	if n > 0 {
		c.moved += n
		c.ticket.owed += time.Duration(n) / wireCost
		c.enter()
	}
	return n, err
}

// idleTimeout is how long the connection may be without a request. With a session open it is never less than the lease
// of the lock: until then nobody else gains from the end of the session, and its holder would lose changes.
func (c *conn) idleTimeout() time.Duration {
	if c.session == nil {
		return c.server.opts.IdleTimeout
	}
	return max(c.server.opts.IdleInSessionTimeout, c.access.rules.sessions.Settings.LockLease)
}

// rest sets the deadline of a read between two requests, and lets Shutdown end it if no session is open. It reports whether there is to be one.
func (c *conn) rest(room int) bool {
	wait := c.idleTimeout()
	if room > 1 {
		wait = min(wait, restTime) // with a buffer in hand only shortly; see misread
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		if c.server.isDraining() {
			return false
		}
		c.resting = true
	}
	_ = c.nc.SetReadDeadline(c.inTime(time.Now().Add(wait)))
	return true
}

// inTime is until, or when the connection must have said who it is, if that comes first.
func (c *conn) inTime(until time.Time) time.Time {
	if login := c.opened.Add(c.server.opts.LoginTimeout); c.nobodyYet() && login.Before(until) {
		return login
	}
	return until
}

// nobodyYet reports whether the connection must still say who it is.
func (c *conn) nobodyYet() bool {
	return c.access.grant.Identity.IsZero() && (c.access.from != nil || c.listener.Anonymous.IsZero())
}

// wakeIdle ends a read between two requests if no session is open. The server is draining.
func (c *conn) wakeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resting {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// cut ends the connection whatever it is doing.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = bare(c.nc).Close()
}

// flush sends what was answered.
func (c *conn) flush() error {
	if c.reply.Len() == 0 {
		return nil
	}
	err := c.write(c.reply.Bytes())
	c.reply.Reset()
	return err
}

// spill sends a part of an answer that is not complete. Once that has failed the rest of the answer goes nowhere.
func (c *conn) spill(p []byte) {
	if !c.quit {
		_ = c.write(p)
	}
}

func (c *conn) write(p []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
	n, err := c.send(c.nc, p)
	c.moved += n
	c.mark = 0
	if err != nil {
		c.reason, c.quit = PeerLeft, true
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.reason = WriteTimeout
		}
	}
	return err
}

// misread deals with a request that could not be read, and reports whether another can be.
func (c *conn) misread(err error) bool {
	var reply *wire.Error
	idle := !c.reader.Midway()
	switch {
	case c.quit: // a reply could not be sent
		return false
	case c.server.isDraining() && idle && c.session == nil:
		c.reason = Drained
		return false
	case errors.As(err, &reply):
		c.requestStart = time.Time{}
		if errors.Is(reply, errMemoryLimit.reply) { // the reader was refused room
			r := *errMemoryLimit
			r.reply, err = reply, &r
		}
		c.reply.Begin(c.reader.Framing())
		c.settle(nil, time.Now(), err)
		if reply.Fatal {
			c.reason = BrokenFraming
		}
		return !reply.Fatal && !c.quit
	case errors.Is(err, os.ErrDeadlineExceeded) && c.nobodyYet() && time.Since(c.opened) >= c.server.opts.LoginTimeout:
		c.reason = LoginTimeout
		c.reply.Begin(c.reader.Framing())
		c.reply.Error(wire.NoAuth, "nobody has authenticated in time; the connection is closed")
	case errors.Is(err, os.ErrDeadlineExceeded) && idle && c.reader.Release():
		c.reply.Release()
		return true
	case errors.Is(err, os.ErrDeadlineExceeded) && idle:
		c.reason = IdleTimeout
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.reason = RequestTimeout
		c.reply.Begin(c.reader.Framing())
		c.reply.Error(wire.Protocol, "the request was not complete in time; the connection is closed")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.reason = PeerLeft
	default:
		c.reason = PeerLeft
		c.log.Debug("connection broken", "err", err)
	}
	return false
}

// handle runs one request.
func (c *conn) handle(req *wire.Request) {
	began := time.Now()
	c.yield(began)
	c.enter()
	c.reply.Begin(req.Framing)
	cmd := c.server.table.lookup(req.Name)
	if cmd == nil && c.handleForeign(req, began) {
		return
	}
	if cmd == nil {
		c.settle(nil, began, wire.Errorf(wire.Unknown, "unknown command %.*q; try: help", 40, req.Name))
		return
	}
	c.call = Call{Command: cmd, Args: req.Args(cmd.Line.Max), Reply: &c.reply, conn: c}
	c.mark = c.reply.Len()
	c.settle(cmd, began, c.run(req.Framing))
	c.call = Call{} // its arguments must not outlive the request
	if c.session != nil && c.session.Ended() {
		c.session = nil
	}
	c.account(0)
}

// handleForeign ends a connection that speaks another protocol, the rest of which must not be read as commands: HTTP, when a web page makes a
// browser send a request here, and the PROXY protocol, when nobody has said that this peer may tell who clients are.
func (c *conn) handleForeign(req *wire.Request, began time.Time) bool {
	text := ""
	switch {
	case bytes.EqualFold(req.Name, []byte("post")), bytes.EqualFold(req.Name, []byte("host:")):
		text = "this is no HTTP server; the connection is closed"
	case string(req.Name) == "PROXY":
		text = "this listener takes no PROXY header from this address (an operator lists balancers under proxies); the connection is closed"
	default:
		return false
	}
	c.reason, c.quit = BrokenFraming, true
	c.settle(nil, began, wire.Errorf(wire.Protocol, "%s", text))
	return true
}

// run asks the gates and then runs the command. A panic becomes an error, after which nothing on this connection is to be trusted: it
// ends, as its session does, and the server goes on.
func (c *conn) run(f wire.Framing) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.reason, c.quit = Failed, true
			err = &panicked{p, debug.Stack()}
		}
	}()
	cmd := c.call.Command
	if c.session != nil && cmd.Needs != Nothing {
		// Who has lost the lock must hear that before anything else about the session.
		if err := c.session.Err(); err != nil {
			return err
		}
	}
	if a, n := cmd.arity(f), len(c.call.Args); n < a.Min || n > a.Max {
		return wire.Errorf(wire.BadArg, "usage: %s", cmd.usage())
	}
	if err := c.call.admit(); err != nil {
		return err
	}
	if !cmd.Waits {
		c.enter() // a rate may have held it back
		c.reply.SetSink(c.flushAt(), c.spill)
		return cmd.Run(&c.call)
	}
	return c.save(cmd.Run)
}

// close ends the connection: what was answered is sent, what was not saved is dropped, and its lock is free at once.
func (c *conn) close() {
	defer c.exit() // what hangUp has read by TLS
	c.exitBulk()
	c.abandon()
	_ = c.flush()
	c.exit()
	switch c.reason {
	case TLSUnsupported, PlaintextRefused, RequestTimeout, BrokenFraming, ErrorBudget, Failed, LoginTimeout, Refused, TooManyFailures, Revoked,
		RateLimited, HandshakeFailed:
		hangUp(c.nc)
	default:
		_ = c.nc.Close()
	}
	c.reader.Release()
	c.mu.Lock()
	if c.revoked {
		c.reason = Revoked
	}
	c.mu.Unlock()
	c.leave()
	c.ended(c.reason)
	c.server.forget(c)
	c.server.conns.Done()
}

// ended tells all who want to know that the connection has ended: the audit log, the observer, and the log, which has one line a connection.
func (c *conn) ended(reason CloseReason) {
	c.recordEnd(reason)
	c.observer.Closed(reason)
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		c.log.Debug("connection closed", "listener", c.listener.Name, "remote", c.remote(), "identity", c.info.Identity, "reason", reason.String(),
			"duration", time.Since(c.opened).Round(time.Millisecond))
	}
}
