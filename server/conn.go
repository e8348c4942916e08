package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"sessionserver/session"
	"sessionserver/wire"
)

// conn is a connection: the loop over its requests, the open session, the error budget, and the reason for its end.
// It belongs to the goroutine of serve. Other goroutines call recheck, transport.wake and transport.cut only.
//
// Two mutexes guard what they share with the connection: caller.mu the access, transport.mu the socket. Both come after
// Server.mu, and neither is taken while the other is held.
type conn struct {
	server    *Server
	log       *slog.Logger
	observer  ConnObserver
	transport transport
	caller    caller
	account   account
	call      Call             // under way; zero between requests
	session   *session.Session // open on this connection, or nil
	visible   []int            // buffer of Call.visible
	budget    int              // errors until the connection is closed
	end       ending
}

// ending is whether and why a connection ends.
type ending struct {
	over    bool
	reason  CloseReason
	refusal *refusal // of the connection itself; nil if there is none
}

// because ends the connection for a reason.
func (e *ending) because(reason CloseReason) { e.over, e.reason = true, reason }

// explained reports whether the last reply explains the end, so that the peer gets time to read it.
func (r CloseReason) explained() bool {
	switch r {
	case TLSUnsupported, PlaintextRefused, RequestTimeout, BrokenFraming, ErrorBudget, Failed, LoginTimeout, Refused,
		TooManyFailures, Revoked, RateLimited, HandshakeFailed:
		return true
	}
	return false
}

// newConn returns a connection that is not admitted yet.
func (s *Server) newConn(socket net.Conn, listener *Listen) *conn {
	c := &conn{server: s, observer: Unobserved{}, budget: s.opts.ErrorBudget}
	info := ConnInfo{ID: s.nextID.Add(1), Listener: listener.Name}
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		info.Remote = unmapped(tcp.AddrPort())
	}
	c.log = s.opts.Logger.With("conn", info.ID)
	c.account.server, c.account.access = s, &c.caller.access
	c.caller.init(c, listener, info)
	c.transport.init(c, socket)
	return c
}

// table returns the command table of the connection. A second table, of another dialect, would be chosen here by the
// listener or by the caller's app.
func (c *conn) table() *table { return c.server.table }

// serve runs the connection: it decides between TLS and plaintext, identifies the client, and then reads and handles
// requests. The latter has a goroutine of its own, because the stack of a TLS handshake is never given back.
func (c *conn) serve() {
	if c.guarded(c.begin) {
		go c.guarded(c.loop)
	}
}

// guarded runs a part of the connection's life, and closes the connection unless the part reports that it continues.
func (c *conn) guarded(part func() (continues bool)) (continues bool) {
	defer func() {
		if p := recover(); p != nil { // the panics of handlers are recovered by run
			r := c.refusalOf("", &panicked{p, debug.Stack()})
			c.end.because(Failed)
			c.transport.reply.Error(r.reply.Code, r.reply.Message)
		}
		if !continues {
			c.close()
		}
	}()
	return part()
}

// begin decides between TLS and plaintext by the first byte, and identifies the client.
func (c *conn) begin() bool {
	first, err := c.transport.First(c.deadlines())
	if err != nil {
		return false
	}
	framing := wire.Line
	if first == '*' {
		framing = wire.RESP
	}
	c.transport.begin(framing) // for a refusal of the connection
	switch {
	case first == recordHandshake:
		if !c.secure() {
			return false
		}
	case c.admitsPlaintext():
	case c.caller.balancer:
		c.caller.healthCheck = true
	default:
		return c.reject(errPlaintext)
	}
	grant := c.initial()
	err = c.become(grant)
	if err == nil {
		err = c.recordIntroduction()
	}
	if err != nil {
		r := *c.refusalOf("", err)
		r.identity, r.closes = grant.Identity, Refused
		return c.reject(&r)
	}
	return true
}

// reject ends a connection whose framing is known with a reply.
func (c *conn) reject(r *refusal) bool {
	c.end.because(r.closes)
	c.turnDown(r)
	c.transport.reply.Error(r.reply.Code, r.reply.Message)
	return false
}

var errPlaintext = &refusal{
	reply:  wire.Errorf(wire.TLSRequired, "this listener does not serve plaintext to this address; connect with TLS"),
	closes: PlaintextRefused,
}

// admitsPlaintext reports whether the peer may connect without TLS.
func (c *conn) admitsPlaintext() bool {
	switch c.caller.listener.Plaintext {
	case PlaintextAlways:
		return true
	case PlaintextLoopback:
		// A balancer on another machine may report a client of its own machine.
		from := c.caller.info.Remote
		return !from.IsValid() || c.transport.loopback() && from.Addr().IsLoopback()
	}
	return false
}

// deadlines returns the deadlines of the wait for the next request. An open session has at least the lease of its lock:
// until then no other client gains from the end of the session, and its holder would lose changes.
func (c *conn) deadlines() deadlines {
	d := deadlines{idle: c.server.opts.IdleTimeout, drainable: c.session == nil}
	if c.session != nil {
		d.idle = max(c.server.opts.IdleInSessionTimeout, c.caller.access.rules.sessions.Settings.LockLease)
	}
	if c.caller.mustLogIn() {
		d.login = c.transport.opened.Add(c.server.opts.LoginTimeout)
	}
	return d
}

// loop reads requests and handles them until the connection ends. Replies are sent when no more requests wait to be
// read, or when the replies are large.
func (c *conn) loop() bool {
	for !c.end.over {
		req, err := c.transport.Next(c.deadlines())
		switch err {
		case nil:
			c.handle(req)
		case io.EOF:
			return false
		default:
			c.refuse(err)
		}
		c.account.conclude()
		if !c.end.over && c.session == nil && c.server.isDraining() {
			c.end.because(Drained)
		}
		if c.transport.flushLarge() != nil {
			return false
		}
	}
	return false
}

// handle runs one request.
func (c *conn) handle(req *wire.Request) {
	start := c.account.begin()
	c.transport.begin(req.Framing)
	cmd := c.table().lookup(req.Name)
	if cmd == nil {
		c.settle(nil, start, unknownCommand(req.Name))
		return
	}
	c.call = Call{Command: cmd, Args: req.Args(cmd.Line.Max), Reply: &c.transport.reply, conn: c}
	c.settle(cmd, start, c.run(req.Framing))
	c.call = Call{} // its arguments must not outlive the request
	if c.session != nil && c.session.Ended() {
		c.session = nil
	}
	c.countMemory(0)
}

// run sends the call through the gates to its handler.
func (c *conn) run(f wire.Framing) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{p, debug.Stack()}
		}
	}()
	cmd := c.call.Command
	if c.session != nil && cmd.Needs != Nothing {
		// The loss of the lock is reported before anything else about the session.
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
	if cmd.Waits {
		pending := 0
		if c.session != nil {
			pending = c.session.Pending()
		}
		return c.account.save(pending, func() error { return cmd.Run(&c.call) })
	}
	c.transport.stream()
	return cmd.Run(&c.call)
}

// unknownCommand returns the error of a command that the table does not have. A client of another protocol is closed,
// because the rest of what it sends must not be read as commands: HTTP, when a web page makes a browser send a request
// here, and the PROXY protocol, when the peer is not a trusted balancer.
func unknownCommand(name []byte) error {
	text := ""
	switch {
	case bytes.EqualFold(name, []byte("post")), bytes.EqualFold(name, []byte("host:")):
		text = "this is not an HTTP server; the connection is closed"
	case string(name) == "PROXY":
		text = "this listener takes no PROXY header from this address (an operator lists balancers under proxies); " +
			"the connection is closed"
	default:
		return wire.Errorf(wire.Unknown, "unknown command %.*q; try: help", 40, name)
	}
	return &refusal{reply: wire.Errorf(wire.Protocol, "%s", text), closes: BrokenFraming}
}

// refuse settles a request that could not be read.
func (c *conn) refuse(err error) {
	var reply *wire.Error
	if errors.Is(err, errMemoryLimit.reply) && errors.As(err, &reply) { // by transport.room
		r := *errMemoryLimit
		r.reply, err = reply, &r
	}
	c.settle(nil, c.account.clock(), err)
	if errors.As(err, &reply) && reply.Fatal {
		c.end.because(BrokenFraming)
	}
}

// countMemory counts the memory that the connection holds: the request as far as it is read, the replies that are not
// sent, and the open session. It reports whether there is room; see account.hold.
func (c *conn) countMemory(leave int64) bool {
	c.account.session = 0
	if c.session != nil {
		c.account.session = c.session.Held()
	}
	return c.account.hold(c.transport.held()+c.account.session, leave)
}

// recheck ends the connection if its credentials are not valid in d. It is called by another goroutine, which holds
// Server.mu, while the connection does something else, perhaps waiting for a lock.
func (c *conn) recheck(d *directory) {
	if c.caller.recheck(d) {
		c.transport.cut()
	}
}

// abandon drops the unsaved changes of the open session. If its lock was lost, only the audit log records that.
func (c *conn) abandon() {
	s := c.session
	if s == nil {
		return
	}
	c.session = nil
	if errors.Is(s.Abort(), session.ErrLockLost) {
		c.recordLockLost(s.ID())
	}
}

// close ends the connection: replies are sent, unsaved changes are dropped, and the lock is released at once.
func (c *conn) close() {
	defer c.account.exit() // hanging up reads by TLS
	c.account.exitBulk()
	c.abandon()
	_ = c.transport.flush()
	c.account.exit()
	c.transport.close(c.end.reason.explained())
	if c.caller.isRevoked() {
		c.end.reason = Revoked
	}
	c.caller.leave()
	c.ended()
	c.server.forget(c)
	c.server.conns.Done()
}

// ended reports the end of the connection to the audit log, the observer, and the log, which has one line for each
// connection.
func (c *conn) ended() {
	reason := c.end.reason
	c.recordEnd()
	c.observer.Closed(reason)
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		c.log.Debug("connection closed", "listener", c.caller.listener.Name, "remote", c.caller.remote(),
			"identity", c.caller.info.Identity, "reason", reason.String(),
			"duration", time.Since(c.transport.opened).Round(time.Millisecond))
	}
}
