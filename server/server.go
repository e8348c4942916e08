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

	// ctx lives until the last connection may no longer go on; draining until new sessions may no longer begin.
	ctx      context.Context
	kill     context.CancelCauseFunc
	draining context.Context
	drain    context.CancelCauseFunc

	nextID  atomic.Uint64
	conns   sync.WaitGroup
	turning chan struct{} // holds one for each peer that is being told why it may not come

	directory       atomic.Pointer[directory]
	setting         sync.Mutex // held by SetTenants; comes before mu
	addresses       addressBook
	notices         notices
	gathered        gatherer     // refusals on their way to the audit log
	memory          atomic.Int64 // see account.hold
	turns           turns        // on the processors
	saves           turns        // at the store
	bulk            turns        // at the store, of large sessions
	unauthenticated line         // where those wait in turns who have not said who they are

	mu         sync.Mutex // guards what follows; a conn's mutex comes after it
	listeners  map[net.Listener]struct{}
	open       map[*conn]string       // to the address that the connection is counted for; "" for none
	perIP      map[string]int         // connections of each address
	handshakes map[string]*handshakes // by address
}

// New makes a server. It panics on a row of opts.Commands that is half filled or doubles a name.
func New(opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	s := &Server{
		opts:       opts,
		turning:    make(chan struct{}, opts.MaxRefusals),
		turns:      turns{free: runtime.GOMAXPROCS(0), polls: true},
		saves:      turns{free: savesMax},
		bulk:       turns{free: bulkMax, deposit: turnLate},
		table:      builtin().with(opts.Commands),
		listeners:  make(map[net.Listener]struct{}),
		open:       make(map[*conn]string),
		notices:    newNotices(),
		gathered:   gatherer{log: opts.Audit},
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

// Shutdown stops accepting and wakes idle connections. Commands in progress are finished; connections with an open session may go on until it
// is closed, or until ctx ends: then their locks are released and what was not saved is dropped. Waiters for locks are told at
// once. It returns when every connection has ended, or two seconds after ctx has if a command still hangs
// then; calling it again is harmless.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.gathered.flush()
	s.mu.Lock()
	s.drain(errShutdown)
	for l := range s.listeners {
		_ = l.Close() // Serve reports what Accept makes of it
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
	// A handler may hang in a storage that does not answer; nobody waits for that.
	select {
	case <-done:
	case <-time.After(lingerTime + time.Second):
	}
	return context.Cause(ctx)
}
