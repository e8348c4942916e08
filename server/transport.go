package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"sessionserver/wire"
)

const (
	// restTime is how long an idle connection keeps its buffers.
	restTime = time.Second

	// lingerTime is how long a closed connection is kept for its peer to read the reason.
	lingerTime = time.Second
)

// transport is the socket of a connection: it reads requests, collects replies and sends them, and applies the
// deadlines of both. It does not know who the client is or what a command does.
//
// All but what mu guards belongs to the connection's goroutine. wake and cut are for other goroutines.
type transport struct {
	server  *Server
	account *account
	end     *ending // of the connection
	log     *slog.Logger
	opened  time.Time

	head         []byte // bytes that were read before the reader has begun
	reader       *wire.Reader
	reply        wire.Encoder
	mark         int          // where in reply that to the present request begins
	sink         func([]byte) // spill, made once; see stream
	deadlines    deadlines    // of the wait under way
	requestStart time.Time    // of the request that is being read; zero between requests
	writes       *writes      // see send; nil until something is sent in turn
	unlimited    bool         // a write is under way that has no deadline yet, since it has not waited

	mu      sync.Mutex // guards writing socket, resting and readBy; comes after Server.mu
	socket  net.Conn   // below or above TLS
	resting bool       // blocked in a read between two requests that wake may end
	readBy  time.Time  // deadline of reads; zero if unknown
}

// deadlines limit the wait for one request.
type deadlines struct {
	idle      time.Duration // until the request begins
	login     time.Time     // when the client must have authenticated; zero if it has
	drainable bool          // a shutdown ends the wait
}

// init makes the transport of a connection.
func (t *transport) init(c *conn, socket net.Conn) {
	t.server, t.account, t.end, t.log = c.server, &c.account, &c.end, c.log
	t.socket, t.opened = socket, time.Now()
	t.sink = t.spill
	t.reader = wire.NewReader(t, wire.UnauthenticatedLimits(), nil)
	t.reader.SetRoom(t.room)
}

// Next returns the next request. A *wire.Error refuses the request, and another can be read unless it is fatal. io.EOF
// is the end of the connection, whose reason and last reply are set.
func (t *transport) Next(d deadlines) (*wire.Request, error) {
	t.deadlines = d
	for {
		req, err := t.reader.Next()
		if err == nil {
			t.requestStart = time.Time{}
			return req, nil
		}
		t.account.conclude()
		var refused *wire.Error
		switch {
		case t.end.over || t.drained():
		case errors.As(err, &refused):
			t.requestStart = time.Time{}
			t.reply.Begin(t.reader.Framing())
			return nil, err
		case t.idle(err) && !t.loginExpired() && t.reader.Release():
			t.reply.Release()
			continue
		}
		t.failed(err)
		return nil, io.EOF
	}
}

// First returns the first byte of the connection, and leaves it to be read. The error is io.EOF, as of Next.
func (t *transport) First(d deadlines) (byte, error) {
	if len(t.head) == 0 {
		t.deadlines = d
		var first [1]byte
		if _, err := t.Read(first[:]); err != nil {
			t.failed(err)
			return 0, io.EOF
		}
		t.head = first[:]
	}
	return t.head[0], nil
}

// failed ends a connection from which no request can be read, with the last reply.
func (t *transport) failed(err error) {
	switch timeout := errors.Is(err, os.ErrDeadlineExceeded); {
	case t.end.over: // a reply could not be sent
	case t.drained():
		t.end.because(Drained)
	case timeout && t.loginExpired():
		t.end.because(LoginTimeout)
		t.reply.Begin(t.reader.Framing())
		t.reply.Error(wire.NoAuth, "the client did not authenticate in time; connect and authenticate again")
	case t.idle(err):
		t.end.because(IdleTimeout)
	case timeout:
		t.end.because(RequestTimeout)
		t.reply.Begin(t.reader.Framing())
		t.reply.Error(wire.Protocol, "the request was not complete in time; connect again and send it whole")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.end.because(PeerLeft)
	default:
		t.end.because(PeerLeft)
		t.log.Debug("connection broken", "err", err)
	}
}

// drained reports whether a shutdown ends the wait for a request.
func (t *transport) drained() bool {
	return t.deadlines.drainable && !t.reader.Midway() && t.server.isDraining()
}

// idle reports whether err is the time-out of a wait between two requests.
func (t *transport) idle(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !t.reader.Midway()
}

// loginExpired reports whether the client has not authenticated in time.
func (t *transport) loginExpired() bool {
	login := t.deadlines.login
	return !login.IsZero() && !time.Now().Before(login)
}

// Read is the source of the reader. Before it may block, all collected replies are sent. An idle connection first gives
// its buffers back.
func (t *transport) Read(p []byte) (n int, err error) {
	if len(t.head) > 0 {
		n := copy(p, t.head)
		t.head = t.head[n:]
		return n, nil
	}
	if err := t.flush(); err != nil {
		return 0, err
	}
	t.account.hold(t.held()+t.account.session, 0)
	if t.reader.Midway() {
		if t.requestStart.IsZero() {
			t.requestStart = t.account.clock()
		}
		t.mu.Lock()
		t.limitReads(t.requestStart.Add(t.server.opts.RequestTimeout), 0)
		t.mu.Unlock()
	} else {
		if !t.rest(len(p)) {
			return 0, errShutdown
		}
		defer t.unrest()
	}
	return t.account.receive(t.socket, p)
}

// rest sets the deadline of a read between two requests, and lets wake end it. It reports whether the read may begin.
func (t *transport) rest(room int) bool {
	wait, early := t.deadlines.idle, time.Duration(0)
	if room > 1 && wait > restTime {
		wait, early = restTime, restTime/2 // the reader has a buffer, which Next then releases
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deadlines.drainable {
		if t.server.isDraining() {
			return false
		}
		t.resting = true
	}
	t.limitReads(t.account.clock().Add(wait), early)
	return true
}

// limitReads sets the deadline of reads, and never one after the login deadline. A deadline that is so much early, at
// most, remains. The caller holds t.mu.
func (t *transport) limitReads(deadline time.Time, early time.Duration) {
	if login := t.deadlines.login; !login.IsZero() && login.Before(deadline) {
		deadline = login
	}
	if by := deadline.Sub(t.readBy); by < 0 || by > early {
		_ = t.socket.SetReadDeadline(deadline)
		t.readBy = deadline
	}
}

// unrest ends what rest has begun.
func (t *transport) unrest() {
	t.mu.Lock()
	t.resting = false
	t.mu.Unlock()
}

// held returns the memory of the buffers.
func (t *transport) held() int { return t.reply.Held() + t.reader.Held() }

// room decides whether the reader's buffer may grow to size.
func (t *transport) room(size int) *wire.Error {
	if size >= bulkSize {
		t.account.enterBulk(0) // received charges for the bytes as they come
	}
	before := t.account.held
	if t.account.hold(before+size-t.reader.Held(), spare) {
		return nil
	}
	t.account.hold(before, 0)
	return errMemoryLimit.reply
}

// begin starts the reply to a request.
func (t *transport) begin(f wire.Framing) {
	t.reply.Begin(f)
	t.mark = t.reply.Len()
}

// retract removes all of the present reply, and begins it anew. It reports whether nothing of it has been sent.
func (t *transport) retract(f wire.Framing) bool {
	whole := !t.reply.Sunk()
	t.reply.Truncate(t.mark)
	t.reply.Begin(f)
	return whole
}

// stream lets the handler's reply be sent in parts as it becomes large.
func (t *transport) stream() { t.reply.SetSink(t.account.flushAt(), t.sink) }

// spill sends a part of a reply. After a failure the rest of the reply is dropped.
func (t *transport) spill(p []byte) {
	if !t.end.over {
		_ = t.write(p)
	}
}

// flush sends the collected replies.
func (t *transport) flush() error {
	if t.reply.Len() == 0 {
		return nil
	}
	err := t.write(t.reply.Bytes())
	t.reply.Reset()
	return err
}

// flushLarge sends the collected replies if they are many.
func (t *transport) flushLarge() error {
	if t.reply.Len() < t.account.flushAt() {
		return nil
	}
	return t.flush()
}

// write sends bytes. A failure ends the connection.
func (t *transport) write(p []byte) error {
	t.unlimited = true
	n, err := t.send(t.socket, p)
	if !t.unlimited {
		_ = t.socket.SetWriteDeadline(time.Time{})
	}
	t.unlimited = false
	t.account.moved += n
	t.mark = 0
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.end.because(WriteTimeout)
	case err != nil:
		t.end.because(PeerLeft)
	}
	return err
}

// send writes to the socket below TLS, or through TLS. A peer that does not read is waited for out of turn, until a
// deadline.
func (t *transport) send(socket net.Conn, p []byte) (n int, err error) {
	if t.account.inTurn() && socket == bare(socket) {
		if t.writes == nil || t.writes.conn != socket {
			t.writes = newWrites(socket)
		}
		if n = t.writes.now(p); n == len(p) {
			return n, nil
		}
		t.account.exit()
	}
	if t.unlimited && socket == bare(socket) {
		t.unlimited = false
		_ = socket.SetWriteDeadline(time.Now().Add(t.server.opts.WriteTimeout))
	}
	more, err := socket.Write(p[n:])
	return n + more, err
}

// loopback reports whether the peer is on this machine. The peer of a client behind a balancer is the balancer.
func (t *transport) loopback() bool {
	peer, ok := t.socket.RemoteAddr().(*net.TCPAddr)
	return ok && peer.IP.IsLoopback()
}

// watch returns a context that ends when the peer leaves; see watchPeer.
func (t *transport) watch(ctx context.Context) (context.Context, func()) {
	t.forgetReadBy()
	return watchPeer(ctx, t.socket)
}

// forgetReadBy makes the next read set its deadline, because others change it.
func (t *transport) forgetReadBy() {
	t.mu.Lock()
	t.readBy = time.Time{}
	t.mu.Unlock()
}

// wake ends a read between two requests, unless a session is open. The server is draining.
func (t *transport) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.resting {
		t.readBy = time.Unix(1, 0)
		_ = t.socket.SetReadDeadline(t.readBy)
	}
}

// cut closes the socket whatever the connection is doing. TLS would first send an alert, and wait for a peer that does
// not read.
func (t *transport) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = bare(t.socket).Close()
}

// close closes the socket and releases the buffers. The peer has time to read an explanation.
func (t *transport) close(explained bool) {
	if explained {
		hangUp(t.socket)
	} else {
		_ = t.socket.Close()
	}
	t.reader.Release()
}

// hangUp closes a socket whose peer may still be sending. Closing at once would make the peer's system discard the last
// reply unread (RFC 1122, section 4.2.2.13). So what the peer sends is read first, up to the size of a large request.
func hangUp(socket net.Conn) {
	if half, ok := socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = socket.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, socket, 1<<20)
	}
	_ = socket.Close()
}
