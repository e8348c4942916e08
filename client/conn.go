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

// conn is one connection: requests are queued and go out together, and their replies come back in order. Whoever has
// it from the pool uses it alone. Once broken it is never used again.
type conn struct {
	nc      net.Conn
	addr    string
	timeout time.Duration
	src     *bufio.Reader
	replies *wire.ReplyReader

	lockWait time.Duration // how long an open without a time of its own waits, as the tenant says

	rateWait time.Duration // how long requests beyond a rate wait

	out       []byte // requests that are queued
	queued    []int  // where each begins in out
	probing   bool   // there is a ping before them, whose reply comes soon or never
	reused    bool   // it has come out of the pool before
	broken    bool   // nobody knows what comes next
	spoilt    bool   // it is fit for the session that is open on it, and for no other
	idleSince time.Time
}

func newConn(nc net.Conn, addr string, timeout time.Duration) *conn {
	src := bufio.NewReader(nc)
	return &conn{nc: nc, addr: addr, timeout: timeout, src: src, replies: wire.NewReplyReader(src)}
}

// queue adds a request to those that exchange will send.
func (c *conn) queue(request ...string) {
	c.queued = append(c.queued, len(c.out))
	c.out = wire.AppendRequest(c.out, request...)
}

// sure is how long after its last use a connection is taken for good. A path may be dead without a sign of it.
const sure = time.Second

// probeShare is the part of the time-out in which a connection that is not taken for good replies to a ping.
const probeShare = 5

// errSilent is why a connection out of the pool is replaced.
var errSilent = errors.New("no reply to a ping")

// probe sends a ping before all that is queued if the connection is not sure to work.
func (c *conn) probe() {
	if c.reused && time.Since(c.idleSince) > sure {
		c.out = wire.AppendRequest(c.out, "ping")
		c.probing = true
	}
}

// keepMax is the largest buffer kept for the next requests.
const keepMax = 64 << 10

// exchange sends what is queued and reads all replies: one round trip. kinds are those that each reply may be of, the
// last one of all that follow. wait is how long the server may take beyond the connection's time-out. What is refused
// for a rate is sent again when the server says, within rateWait. When the context ends first the connection is broken, and its error is the context's; any other is a *ConnError. Refusals
// are replies.
func (c *conn) exchange(ctx context.Context, op string, kinds []string, wait time.Duration) ([]wire.Reply, error) {
	defer func() {
		c.queued, c.out, c.probing = c.queued[:0], c.out[:0], false
		if cap(c.out) > keepMax {
			c.out = nil
		}
	}()
	if err := ctx.Err(); err != nil {
		// Nothing was sent: the connection is as good as before.
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
		err = &ConnError{op, c.addr, fmt.Errorf("no answer within %v: %w", c.timeout+wait, os.ErrDeadlineExceeded)}
	default:
		err = &ConnError{op, c.addr, err}
	}
	c.cut()
	return nil, err
}

// transferAll sends what is queued, at once. After a refusal for a rate the rest goes one by one: each request more would
// be one more error, of which the server takes so many only.
func (c *conn) transferAll(ctx context.Context, timeout time.Duration) ([]wire.Reply, error) {
	var replies []wire.Reply
	rate := newRateWait(c.rateWait)
	for most := len(c.queued); len(replies) < len(c.queued); {
		from := len(replies)
		n := min(most, len(c.queued)-from)
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
		at := beyondRate(more)
		if at >= 0 && rate.wait(ctx, more[at].Err) {
			more = more[:at]
			most = 1
		}
		replies = append(replies, more...)
	}
	return replies, nil
}

func (c *conn) transfer(ctx context.Context, out []byte, n int, timeout time.Duration) ([]wire.Reply, error) {
	limit := timeout
	if c.probing {
		limit = c.timeout / probeShare
	}
	if err := c.nc.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if ctx.Done() != nil {
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = c.nc.SetDeadline(time.Unix(1, 0))
			close(woken)
		})
		defer func() {
			if !stop() {
				<-woken // or it would end somebody else's round trip
			}
		}()
	}
	if _, err := c.nc.Write(out); err != nil {
		// The server may have said why it closed the connection before it read this.
		if turned := c.turnedAway(); turned != nil {
			return nil, turned
		}
		return nil, err
	}
	if c.probing {
		if err := c.pong(ctx, timeout); err != nil {
			return nil, err
		}
	}
	replies := make([]wire.Reply, n)
	for i := range replies {
		if turned := c.turnedAway(); turned != nil {
			return nil, turned
		}
		var err error
		if replies[i], err = c.replies.Next(); err != nil {
			if i > 0 && replies[i-1].Err != nil && errors.Is(err, io.EOF) {
				return nil, replies[i-1].Err // the server has said why it closes the connection
			}
			return nil, err
		}
		if e := replies[i].Err; e != nil {
			switch e.Code {
			case wire.Shutdown, wire.Protocol, wire.Busy:
				c.spoilt = true
			}
		}
	}
	return replies, nil
}

// pong reads the reply to the ping of probe, and gives the others their time. A refusal is a sign of life.
func (c *conn) pong(ctx context.Context, timeout time.Duration) error {
	if turned := c.turnedAway(); turned != nil {
		return turned
	}
	if _, err := c.replies.Next(); errors.Is(err, os.ErrDeadlineExceeded) {
		return errSilent
	} else if err != nil {
		return err
	}
	if err := c.nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return ctx.Err() // the deadline may have been set for its end
}

// turnedAway returns what a server says to a peer that it does not let in: a line, since it has not read in which
// framing the peer speaks. No RESP reply begins like "err ".
func (c *conn) turnedAway() error {
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

// first returns the first refusal among replies, or nil.
func first(replies []wire.Reply) *wire.Error {
	for _, r := range replies {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// expect breaks the connection if a reply is of none of these kinds, if there are any, and so does not answer its
// request. Refusals are expected always.
func (c *conn) expect(op, kinds string, r wire.Reply) error {
	if r.Err != nil || kinds == "" || strings.IndexByte(kinds, r.Kind) >= 0 {
		return nil
	}
	c.cut()
	return &ConnError{op, c.addr, fmt.Errorf("the server answered with an unexpected reply of kind %q", r.Kind)}
}

// reusable reports whether the connection can go to the next one.
func (c *conn) reusable() bool {
	return !c.broken && !c.spoilt && c.replies.Buffered() == 0
}

// cut closes the connection at once, with whatever is on its way: the server rolls back and lets others in.
func (c *conn) cut() {
	c.broken = true
	nc := c.nc
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = tls.NetConn() // closing TLS in good order may block
	}
	_ = nc.Close()
}

// close ends a connection that is idle.
func (c *conn) close() {
	if !c.broken {
		c.broken = true
		_ = c.nc.Close()
	}
}
