package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// pool holds up to maxOpen connections and assigns them to callers in order of arrival.
type pool struct {
	dial        func(context.Context) (*conn, error)
	maxOpen     int
	maxIdle     int
	idleTimeout time.Duration

	mu      sync.Mutex   // guards the fields below; never held during input or output
	idle    []*conn      // in order of last use; empty while there are waiters
	open    int          // connections in use, idle or being made
	waiters []chan *conn // in order of arrival
	reaper  *time.Timer  // runs while there is an idle connection
	closed  bool
}

// get returns a connection that belongs to the caller until put. A waiter receives a connection, or nil as the
// permission to make one.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sessionserver: wait for a connection: %w", err)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if last := len(p.idle) - 1; last >= 0 {
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return c, nil
	}
	if p.open < p.maxOpen {
		p.open++
		p.mu.Unlock()
		return p.connect(ctx)
	}
	waiter := make(chan *conn, 1)
	p.waiters = append(p.waiters, waiter)
	p.mu.Unlock()
	select {
	case c, ok := <-waiter:
		switch {
		case !ok:
			return nil, ErrClosed
		case c == nil:
			return p.connect(ctx)
		}
		return c, nil
	case <-ctx.Done():
		p.cancel(waiter)
		return nil, fmt.Errorf("sessionserver: wait for a connection: %w", ctx.Err())
	}
}

// cancel removes a waiter from the queue. If the waiter has just received a connection, cancel returns it to the pool.
func (p *pool) cancel(waiter chan *conn) {
	p.mu.Lock()
	i := slices.Index(p.waiters, waiter)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		return
	}
	switch c, ok := <-waiter; {
	case c != nil:
		p.put(c)
	case ok:
		p.free()
	}
}

// connect makes a connection, which the caller has counted in open.
func (p *pool) connect(ctx context.Context) (*conn, error) {
	c, err := p.dial(ctx)
	if err != nil {
		p.free()
		return nil, err
	}
	return c, nil
}

// free releases the place of a closed connection to the first waiter.
func (p *pool) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 {
		p.next() <- nil
		return
	}
	p.open--
}

// next removes and returns the first waiter.
func (p *pool) next() chan *conn {
	waiter := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return waiter
}

// put returns a connection without an open session to the pool.
func (p *pool) put(c *conn) {
	if !c.reusable() || !p.keep(c) {
		c.close()
		p.free()
	}
}

// keep passes the connection to the first waiter or to the idle ones, and reports whether there was room.
func (p *pool) keep(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.reused, c.idleSince = true, time.Now()
	switch {
	case p.closed:
		return false
	case len(p.waiters) > 0:
		p.next() <- c
		return true
	case len(p.idle) >= p.maxIdle:
		return false
	}
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(p.idleTimeout, p.reap)
	}
	return true
}

// reap closes the connections idle for longer than idleTimeout, and schedules the next reap.
func (p *pool) reap() {
	p.mu.Lock()
	if p.reaper == nil {
		p.mu.Unlock()
		return // closed or flushed
	}
	cutoff := time.Now().Add(-p.idleTimeout)
	n := 0
	for n < len(p.idle) && !p.idle[n].idleSince.After(cutoff) {
		n++
	}
	expired := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.reaper.Stop() // a flush may have replaced the timer that called reap
	p.reaper = nil
	if len(p.idle) > 0 {
		p.reaper = time.AfterFunc(p.idle[0].idleSince.Sub(cutoff), p.reap)
	}
	p.mu.Unlock()
	p.drop(expired)
}

// drop closes connections taken out of the idle ones.
func (p *pool) drop(idle []*conn) {
	for _, c := range idle {
		c.close()
		p.free()
	}
}

// flush closes all idle connections, after one of them turned out to be dead: the others are probably dead too.
func (p *pool) flush() { p.drop(p.takeIdle()) }

// takeIdle removes and returns all idle connections.
func (p *pool) takeIdle() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle := p.idle
	p.idle = nil
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
	return idle
}

// close closes the pool and refuses the waiters. Connections in use are closed by put.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, waiter := range p.waiters {
		close(waiter)
	}
	p.waiters = nil
	p.mu.Unlock()
	p.flush()
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.open, Idle: len(p.idle), Waiting: len(p.waiters)}
}
