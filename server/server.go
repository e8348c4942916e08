package server

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("server: closed")

// Server serves sessions on any number of listeners.
type Server struct {
	opts  Options
	table *table

	// ctx ends when connections must end; draining ends when no new session may begin.
	ctx      context.Context
	kill     context.CancelCauseFunc
	draining context.Context
	drain    context.CancelCauseFunc

	nextID   atomic.Uint64
	conns    sync.WaitGroup
	refusing chan struct{} // has one element for each peer that is sent its refusal; see turnAway

	directory       atomic.Pointer[directory]
	setting         sync.Mutex // held by SetTenants; comes before mu
	addresses       addressBook
	notices         notices
	aggregator      aggregator   // of refusals in the audit log
	memory          atomic.Int64 // see account.hold
	turns           turns        // on the processors
	saves           turns        // at the store
	bulk            turns        // at the store, of large sessions
	unauthenticated line         // of the unauthenticated connections in turns

	mu         sync.Mutex // guards what follows; a conn's mutex comes after it
	listeners  map[net.Listener]struct{}
	open       map[*conn]string       // to the address that the connection is counted for; "" for none
	perIP      map[string]int         // connections of each address
	handshakes map[string]*handshakes // by address
}

// New returns a server. It panics on a row of opts.Commands that is incomplete or has a duplicate name.
func New(opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	s := &Server{
		opts:       opts,
		refusing:   make(chan struct{}, opts.MaxRefusals),
		turns:      turns{free: runtime.GOMAXPROCS(0), polls: true},
		saves:      turns{free: savesMax},
		bulk:       turns{free: bulkMax, deposit: turnLate},
		table:      builtin().with(opts.Commands),
		listeners:  make(map[net.Listener]struct{}),
		open:       make(map[*conn]string),
		notices:    newNotices(),
		aggregator: aggregator{log: opts.Audit},
		perIP:      make(map[string]int),
		handshakes: make(map[string]*handshakes),
	}
	if err := s.SetTenants(opts.Tenants); err != nil {
		return nil, err
	}
	s.ctx, s.kill = context.WithCancelCause(context.Background())
	s.draining, s.drain = context.WithCancelCause(s.ctx)
	return s, nil
}

func (s *Server) isDraining() bool { return s.draining.Err() != nil }

// Shutdown stops accepting connections and ends idle ones. Commands in progress are finished. A connection with an open
// session continues until the session is closed, or until ctx ends: then its lock is released and its unsaved changes
// are dropped. Waiters for locks are refused at once. Shutdown returns when every connection has ended, or two seconds
// after the end of ctx if a command still hangs then. Calling it again is harmless.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.aggregator.flush()
	s.mu.Lock()
	s.drain(errShutdown)
	for l := range s.listeners {
		_ = l.Close() // Serve returns for the error of Accept
	}
	for c := range s.open {
		c.transport.wake()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.kill(errShutdown)
		return nil
	case <-ctx.Done():
	}
	s.kill(errShutdown)
	s.mu.Lock()
	for c := range s.open {
		c.transport.cut()
	}
	s.mu.Unlock()
	// A handler can hang in a storage that does not respond, which is not waited for.
	select {
	case <-done:
	case <-time.After(lingerTime + time.Second):
	}
	return context.Cause(ctx)
}
