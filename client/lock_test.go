package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/storage"
	"sessionserver/storage/memory"
)

// watchedStore signals every Get. A server that opens a locked session calls Get once the request is in the queue.
type watchedStore struct {
	*memory.Store
	gets chan struct{}
}

func (s *watchedStore) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	select {
	case s.gets <- struct{}{}:
	default:
	}
	return s.Store.Get(ctx, key)
}

func TestCanceledWaitLeavesQueue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store := &watchedStore{memory.New(memory.Options{}), make(chan struct{}, 1)}
	t.Cleanup(func() { store.Close() })
	obs := newObserver()
	cfg := servertest.Config{Store: store}
	cfg.Options.Observer = obs
	c := dial(t, dsnOf(start(t, cfg), "?lock_timeout=300"), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	holder := open(t, c, id, client.OpenOptions{})

	waiter := func(ctx context.Context) <-chan error {
		select {
		case <-store.gets:
		default:
		}
		done := make(chan error, 1)
		go func() {
			s, err := c.Open(ctx, id, client.OpenOptions{Mode: client.ModeUpdate})
			if err == nil {
				err = s.Close(ctx)
			}
			done <- err
		}()
		select {
		case <-store.gets:
		case err := <-done:
			t.Fatalf("Open does not wait: %v", err)
		}
		return done
	}
	canceled, cancel := context.WithCancel(ctx)
	first := waiter(canceled)
	second := waiter(ctx)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled Open: %v", err)
	}
	// The lock is still held, so only the departure of the client can have ended the connection.
	if reason := <-obs.closed; reason != server.PeerLeft {
		t.Errorf("the connection of the canceled Open was closed for %v", reason)
	}
	require.NoError(t, holder.Close(ctx))
	require.NoError(t, <-second)

	expired, stop := context.WithTimeout(ctx, time.Millisecond)
	defer stop()
	holder = open(t, c, id, client.OpenOptions{})
	_, err := c.Open(expired, id, client.OpenOptions{})
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, client.ErrLockTimeout) {
		t.Errorf("a deadline during the wait: %v", err) // deadline and lock timeout are simultaneous
	}
	require.NoError(t, holder.Close(ctx))
}

func TestLockTimeout(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := start(t, servertest.Config{})
	c := dial(t, dsnOf(srv, "?lock_timeout=0.001"), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	holder := open(t, c, id, client.OpenOptions{})
	require.NoError(t, holder.Put(ctx, "a", "2"))
	for _, wait := range []time.Duration{0, client.NoWait, time.Millisecond} {
		for _, mode := range []client.Mode{client.ModeReadWrite, client.ModeUpdate, client.ModeRead} {
			_, err := c.Open(ctx, id, client.OpenOptions{Mode: mode, Wait: wait})
			if !errors.Is(err, client.ErrLockTimeout) {
				t.Errorf("open %s, wait %v: %v", mode, wait, err)
			}
		}
	}
	if v, err := c.View(ctx, id); err != nil || v.Get("a") != "1" {
		t.Errorf("view of a locked session: %v, %v", v, err)
	}

	lenient := dial(t, dsnOf(srv, "?lock_timeout=0&on_lock_timeout=readonly"), client.Options{})
	s, v, err := lenient.Load(ctx, id, client.OpenOptions{})
	require.NoError(t, err)
	if s.Mode() != client.ModeSnapshot || v.Get("a") != "1" {
		t.Errorf("on_lock_timeout=readonly: mode %s, %s", s.Mode(), all(v))
	}
	if err := s.Put(ctx, "a", "3"); !errors.Is(err, client.ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	require.NoError(t, s.Close(ctx))
	if err := lenient.Update(ctx, id, increment); !errors.Is(err, client.ErrLockTimeout) {
		t.Errorf("Update: %v", err)
	}
	fresh, err := c.New(ctx, 0)
	require.NoError(t, err)
	_, err = lenient.Open(ctx, fresh.ID(), client.OpenOptions{Mode: client.ModeReadWrite})
	if !errors.Is(err, client.ErrLockTimeout) {
		t.Errorf("locked session without saved values: %v", err)
	}
	fresh.Abort(ctx)
	holder.Abort(ctx)
	if st := lenient.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
		t.Errorf("at the end: %+v", st)
	}
}

func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var network network
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{DialContext: network.dialContext})
	id := save(t, c, map[string]string{"a": "1"})
	s := open(t, c, id, client.OpenOptions{})
	require.NoError(t, s.Put(ctx, "a", "2"))
	network.cut()
	var broken *client.ConnError
	if err := s.Close(ctx); !errors.As(err, &broken) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	if err := s.Close(ctx); !errors.Is(err, client.ErrNoSession) {
		t.Errorf("second Close: %v", err)
	}
	next := open(t, c, id, client.OpenOptions{Wait: time.Minute})
	defer next.Abort(ctx)
	if value, _, err := next.Get(ctx, "a"); value != "1" || err != nil {
		t.Errorf("the next session reads %q, %v", value, err)
	}
}

// TestContextEndsBeforeRoundTrip verifies that a session stays open if the context ends before anything is sent.
func TestContextEndsBeforeRoundTrip(t *testing.T) {
	t.Parallel()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	s, err := c.New(t.Context(), 0)
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ended, "a", "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	require.NoError(t, s.Put(t.Context(), "b", "2"))
	require.NoError(t, s.Close(t.Context()))
	if v, err := c.View(t.Context(), s.ID()); err != nil || all(v) != "b=2 " {
		t.Errorf("saved: %v, %v", v, err)
	}
	s, err = c.New(t.Context(), 0)
	require.NoError(t, err)
	s.Abort(ended)
	if st := c.Stats(); st.Open != 0 {
		t.Errorf("after Abort with a canceled context: %+v", st)
	}
}
