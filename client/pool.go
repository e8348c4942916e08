package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// pool hands out connections, never more than maxOpen at a time, to those who ask in order of arrival.
type pool struct {
	dial        func(context.Context) (*conn, error)
	maxOpen     int
	maxIdle     int
	idleTimeout time.Duration

	mu      sync.Mutex // guards what follows; never held during input or output
	idle    []*conn    // used most recently last; empty while somebody waits
	open    int        // connections in use, idle, or being made
	waiting []chan *conn
	reaper  *time.Timer // runs while there is an idle connection
	closed  bool
}

// get returns a connection that is the caller's until put. A waiter is sent a connection, or nil: then it may make
// one.
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
	turn := make(chan *conn, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case c, ok := <-turn:
		switch {
		case !ok:
			return nil, ErrClosed
		case c == nil:
			return p.connect(ctx)
		}
		return c, nil
	case <-ctx.Done():
		p.leave(turn)
		return nil, fmt.Errorf("sessionserver: wait for a connection: %w", ctx.Err())
	}
}

// leave gives up the place of a waiter, or what it has been given in the same moment.
func (p *pool) leave(turn chan *conn) {
	p.mu.Lock()
	i := slices.Index(p.waiting, turn)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		return
	}
	switch c, ok := <-turn; {
	case c != nil:
		p.put(c)
	case ok:
		p.freed()
	}
}

// connect makes a connection for which there is room.
func (p *pool) connect(ctx context.Context) (*conn, error) {
	c, err := p.dial(ctx)
	if err != nil {
		p.freed()
		return nil, err
	}
	return c, nil
}

// freed gives the room of a connection that is no more to the first who waits.
func (p *pool) freed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		p.next() <- nil
		return
	}
	p.open--
}

func (p *pool) next() chan *conn {
	turn := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return turn
}

// put takes a connection back on which no session is open.
func (p *pool) put(c *conn) {
	if !c.reusable() || !p.keep(c) {
		c.close()
		p.freed()
	}
}

// keep hands the connection to the first who waits or to the idle ones, or reports that there is no room.
func (p *pool) keep(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.reused, c.idleSince = true, time.Now()
	switch {
	case p.closed:
		return false
	case len(p.waiting) > 0:
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

// reap closes the connections that were idle for too long, and comes back when the next one will have been.
func (p *pool) reap() {
	p.mu.Lock()
	if p.reaper == nil {
		p.mu.Unlock()
		return // closed, or flushed
	}
	long := time.Now().Add(-p.idleTimeout)
	n := 0
	for n < len(p.idle) && !p.idle[n].idleSince.After(long) {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.reaper.Stop() // it is another one than called if there was a flush in between
	p.reaper = nil
	if len(p.idle) > 0 {
		p.reaper = time.AfterFunc(p.idle[0].idleSince.Sub(long), p.reap)
	}
	p.mu.Unlock()
	p.drop(old)
}

func (p *pool) drop(idle []*conn) {
	for _, c := range idle {
		c.close()
		p.freed()
	}
}

// flush closes all idle connections: one of them turned out to be dead, and the others will be of the same age.
func (p *pool) flush() { p.drop(p.takeIdle()) }

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

// close sends everybody away. Connections in use end when they come back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, turn := range p.waiting {
		close(turn)
	}
	p.waiting = nil
	p.mu.Unlock()
	p.flush()
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.open, Idle: len(p.idle), Waiting: len(p.waiting)}
}
