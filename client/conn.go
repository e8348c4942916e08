package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"sessionserver/wire"
)

// conn is one connection to the server. Queued requests are sent together, and their replies arrive in the same order.
// A conn has one user at a time, the one that got it from the pool. A broken conn is never used again.
type conn struct {
	nc      net.Conn
	addr    string
	timeout time.Duration
	src     *bufio.Reader
	replies *wire.ReplyReader

	lockWait time.Duration // the tenant's wait for a lock, for requests without an explicit one
	rateWait time.Duration // how long requests beyond a rate limit may wait

	out       []byte // queued requests
	queued    []int  // offset of each request in out
	probing   bool   // a ping with a short deadline precedes the queued requests
	reused    bool   // the connection has been in the pool before
	broken    bool   // the position in the stream of replies is lost, or the connection is closed
	retired   bool   // no further session may use the connection; the open one may finish
	idleSince time.Time
}

func newConn(nc net.Conn, addr string, timeout time.Duration) *conn {
	src := bufio.NewReader(nc)
	return &conn{nc: nc, addr: addr, timeout: timeout, src: src, replies: wire.NewReplyReader(src)}
}

// queue appends a request for the next exchange.
func (c *conn) queue(request ...string) {
	c.queued = append(c.queued, len(c.out))
	c.out = wire.AppendRequest(c.out, request...)
}

// probeAfter is the idle time after which a connection is probed before use. A network path may be dead without any
// sign of it.
const probeAfter = time.Second

// probeShare is the divisor of the timeout that gives the time for the reply to a probe.
const probeShare = 5

// errSilent is the error of a pooled connection whose probe has no reply.
var errSilent = errors.New("no reply to a ping")

// probe puts a ping in front of the queue if the connection has been idle for longer than probeAfter.
func (c *conn) probe() {
	if c.reused && time.Since(c.idleSince) > probeAfter {
		c.out = wire.AppendRequest(c.out, "ping")
		c.probing = true
	}
}

// keptBuffer is the largest buffer, in bytes, that is kept for the next requests.
const keptBuffer = 64 << 10

// exchange sends the queued requests and reads all replies in one round trip. Each element of kinds lists the allowed
// kinds of one reply, and the last element applies to all replies that follow. The server may take wait beyond the
// connection's timeout.
//
// A request beyond a rate limit is sent again when the server allows it, within rateWait. Error replies are returned
// among the replies. The error of exchange is the context's if ctx ends first, and a *ConnError otherwise; both break
// the connection.
func (c *conn) exchange(ctx context.Context, op string, kinds []string, wait time.Duration) ([]wire.Reply, error) {
	defer func() {
		c.queued, c.out, c.probing = c.queued[:0], c.out[:0], false
		if cap(c.out) > keptBuffer {
			c.out = nil
		}
	}()
	if err := ctx.Err(); err != nil {
		// Nothing was sent, so the connection stays usable.
		return nil, fmt.Errorf("sessionserver: %s: %w", op, err)
	}
	replies, err := c.transferAll(ctx, c.timeout+wait)
	switch {
	case err == nil:
		for i, r := range replies {
			if err := c.expect(op, kinds[min(i, len(kinds)-1)], r); err != nil {
				return nil, err
			}
		}
		return replies, nil
	case ctx.Err() != nil:
		err = fmt.Errorf("sessionserver: %s: %w", op, ctx.Err())
	case errors.Is(err, io.EOF):
		err = &ConnError{op, c.addr, io.ErrUnexpectedEOF}
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &ConnError{op, c.addr, fmt.Errorf("no reply within %v: %w", c.timeout+wait, os.ErrDeadlineExceeded)}
	default:
		err = &ConnError{op, c.addr, err}
	}
	c.cut()
	return nil, err
}

// transferAll sends the queued requests together. After a RATELIMITED reply it sends the remaining ones one at a time:
// the server closes a connection with too many errors, and each further request would add one.
func (c *conn) transferAll(ctx context.Context, timeout time.Duration) ([]wire.Reply, error) {
	var replies []wire.Reply
	rate := newRateWait(c.rateWait)
	for batch := len(c.queued); len(replies) < len(c.queued); {
		from := len(replies)
		n := min(batch, len(c.queued)-from)
		begin, end := c.queued[from], len(c.out)
		if c.probing {
			begin = 0
		}
		if from+n < len(c.queued) {
			end = c.queued[from+n]
		}
		more, err := c.transfer(ctx, c.out[begin:end], n, timeout)
		if err != nil {
			return nil, err
		}
		c.probing = false
		limited := firstRateLimited(more)
		if limited >= 0 && rate.wait(ctx, more[limited].Err) {
			more = more[:limited]
			batch = 1
		}
		replies = append(replies, more...)
	}
	return replies, nil
}

// transfer sends n encoded requests and reads their replies.
func (c *conn) transfer(ctx context.Context, out []byte, n int, timeout time.Duration) ([]wire.Reply, error) {
	limit := timeout
	if c.probing {
		limit = c.timeout / probeShare
	}
	if err := c.nc.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if ctx.Done() != nil {
		interrupted := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = c.nc.SetDeadline(time.Unix(1, 0))
			close(interrupted)
		})
		defer func() {
			if !stop() {
				<-interrupted // a late deadline would interrupt the next round trip
			}
		}()
	}
	if _, err := c.nc.Write(out); err != nil {
		// The server may have sent a reason before it closed the connection.
		if rejection := c.rejection(); rejection != nil {
			return nil, rejection
		}
		return nil, err
	}
	if c.probing {
		if err := c.readPong(ctx, timeout); err != nil {
			return nil, err
		}
	}
	replies := make([]wire.Reply, n)
	for i := range replies {
		if rejection := c.rejection(); rejection != nil {
			return nil, rejection
		}
		var err error
		if replies[i], err = c.replies.Next(); err != nil {
			if i > 0 && replies[i-1].Err != nil && errors.Is(err, io.EOF) {
				return nil, replies[i-1].Err // the reason for the end of the connection
			}
			return nil, err
		}
		if e := replies[i].Err; e != nil {
			switch e.Code {
			case wire.Shutdown, wire.Protocol, wire.Busy:
				c.retired = true
			}
		}
	}
	return replies, nil
}

// readPong reads the reply to the ping of probe and sets the deadline of the other replies. Any reply will do, also an
// error.
func (c *conn) readPong(ctx context.Context, timeout time.Duration) error {
	if rejection := c.rejection(); rejection != nil {
		return rejection
	}
	if _, err := c.replies.Next(); errors.Is(err, os.ErrDeadlineExceeded) {
		return errSilent
	} else if err != nil {
		return err
	}
	if err := c.nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return ctx.Err() // the new deadline may have replaced that of the context's end
}

// rejection returns the error with which the server rejects a connection, or nil. It is a line "err CODE message",
// since the server determines the framing by the first request. No RESP reply begins with "e".
func (c *conn) rejection() error {
	if start, err := c.src.Peek(1); err != nil || start[0] != 'e' {
		return nil
	}
	line, err := c.src.ReadString('\n')
	if err != nil {
		return err
	}
	code, message, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "err ")), " ")
	return wire.Errorf(wire.Code(code), "%s", message)
}

// firstError returns the first error reply, or nil.
func firstError(replies []wire.Reply) *wire.Error {
	for _, r := range replies {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// expect returns an error and breaks the connection if a reply is of none of the given kinds. Such a reply belongs to
// another request. Error replies are always allowed, and empty kinds allow all replies.
func (c *conn) expect(op, kinds string, r wire.Reply) error {
	if r.Err != nil || kinds == "" || strings.IndexByte(kinds, r.Kind) >= 0 {
		return nil
	}
	c.cut()
	return &ConnError{op, c.addr, fmt.Errorf("unexpected reply of kind %q", r.Kind)}
}

// reusable reports whether the connection can serve another session.
func (c *conn) reusable() bool {
	return !c.broken && !c.retired && c.replies.Buffered() == 0
}

// cut closes the connection at once, whatever is in transit. The server rolls back the open session and releases its
// lock.
func (c *conn) cut() {
	c.broken = true
	nc := c.nc
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn() // an orderly close of TLS may block
	}
	_ = nc.Close()
}

// close closes an idle connection.
func (c *conn) close() {
	if !c.broken {
		c.broken = true
		_ = c.nc.Close()
	}
}
