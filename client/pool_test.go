package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/client"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestDeadPathIsReplaced verifies that an idle connection is replaced if a ping on it has no reply within a fifth of
// the timeout, and that a recently used connection is not probed.
func TestDeadPathIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		f := &fake{}
		c := f.dial(t, "?timeout=5", client.Options{})
		f.take()
		openAndAbort := func(want string, took time.Duration) {
			t.Helper()
			start := time.Now()
			s, err := c.Open(ctx, unknownID, client.OpenOptions{})
			require.NoError(t, err)
			s.Abort(ctx)
			if got := strings.Join(f.take(), ", "); got != want || time.Since(start) != took {
				t.Errorf("requests %q in %v, want %q in %v", got, time.Since(start), want, took)
			}
		}
		session := "open " + unknownID + " u, abort"
		openAndAbort(session, 0)
		time.Sleep(2 * time.Second)
		openAndAbort("ping, "+session, 0)
		openAndAbort(session, 0)
		time.Sleep(2 * time.Second)
		f.freeze()
		openAndAbort("hello 3 auth t/a s, ping, "+session, time.Second)
		f.freeze()
		start := time.Now()
		_, err := c.Open(ctx, unknownID, client.OpenOptions{})
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 15*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		time.Sleep(2 * time.Second)
		f.reply = func(string) string { return "" }
		start = time.Now()
		_, err = c.Open(ctx, unknownID, client.OpenOptions{})
		const want = "sessionserver: dial: connection to h:9090: no reply within 5s: i/o timeout"
		if took := time.Since(start); err == nil || err.Error() != want || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestPoolIsFairAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		f := &fake{}
		c := f.dial(t, "", client.Options{MaxOpen: 2})
		first, err := c.New(ctx, 0)
		require.NoError(t, err)
		second, err := c.New(ctx, 0)
		require.NoError(t, err)

		var mu sync.Mutex
		var order []string
		record := func(event string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, event)
		}
		wait := func(name string, ctx context.Context) {
			go func() {
				s, err := c.New(ctx, 0)
				switch {
				case err == nil:
					record(name)
					s.Abort(ctx)
				case errors.Is(err, ctx.Err()):
					record(name + " gave up")
				default:
					t.Errorf("%s: %v", name, err)
				}
			}()
			synctest.Wait()
		}
		cancelable, cancel := context.WithCancel(ctx)
		wait("a", ctx)
		wait("b", cancelable)
		wait("c", ctx)
		limited, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		wait("d", limited)
		if st := c.Stats(); st != (client.Stats{Open: 2, Waiting: 4}) {
			t.Errorf("with four waiters: %+v", st)
		}
		cancel()
		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		first.Abort(ctx) // each waiter passes the connection on to the next one
		synctest.Wait()
		if want := []string{"b gave up", "d gave up", "a", "c"}; !slices.Equal(order, want) {
			t.Errorf("order %q, want %q", order, want)
		}

		// A connection that breaks makes room for a new one.
		third, err := c.New(ctx, 0)
		require.NoError(t, err)
		wait("e", ctx)
		f.cut()
		if err := second.Put(ctx, "a", "1"); err == nil {
			t.Error("Put over a closed connection: no error")
		}
		synctest.Wait()
		if order[len(order)-1] != "e" {
			t.Errorf("order %q", order)
		}
		third.Abort(ctx)
		if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
			t.Errorf("at the end: %+v", st)
		}
	})
}

func TestPoolIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		f := &fake{}
		c := f.dial(t, "", client.Options{MaxIdle: 3, IdleTimeout: time.Minute})
		var sessions []*client.Session
		for range 5 {
			s, err := c.New(ctx, 0)
			require.NoError(t, err)
			sessions = append(sessions, s)
		}
		expect := func(open, idle int) {
			t.Helper()
			synctest.Wait()
			if st := c.Stats(); st != (client.Stats{Open: open, Idle: idle}) {
				t.Errorf("%+v, want %d open, %d idle", st, open, idle)
			}
		}
		expect(5, 0)
		for _, s := range sessions {
			s.Abort(ctx)
			time.Sleep(10 * time.Second)
		}
		expect(3, 3) // idle since 0, 10 and 20 s; the time is 50 s
		time.Sleep(11 * time.Second)
		expect(2, 2)
		require.NoError(t, c.Ping(ctx)) // uses the most recently used connection
		time.Sleep(10 * time.Second)
		expect(1, 1)
		time.Sleep(time.Minute)
		expect(0, 0)
		require.NoError(t, c.Ping(ctx))
		expect(1, 1)

		none := f.dial(t, "", client.Options{MaxIdle: -1})
		if st := none.Stats(); st != (client.Stats{}) {
			t.Errorf("MaxIdle -1: %+v", st)
		}
	})
}

func TestClosedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c := (&fake{}).dial(t, "", client.Options{MaxOpen: 1})
		s, err := c.New(ctx, 0)
		require.NoError(t, err)
		waited := make(chan error)
		go func() { waited <- c.Ping(ctx) }()
		synctest.Wait()
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		if err := <-waited; err != client.ErrClosed {
			t.Errorf("waiting Ping: %v", err)
		}
		if err := c.Ping(ctx); err != client.ErrClosed {
			t.Errorf("Ping after Close: %v", err)
		}
		require.NoError(t, s.Put(ctx, "a", "1"))
		require.NoError(t, s.Close(ctx))
		if st := c.Stats(); st != (client.Stats{}) {
			t.Errorf("at the end: %+v", st)
		}
	})
}

// TestDeadConnections verifies that connections closed by the server are replaced when a session begins.
func TestDeadConnections(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, call := range map[string]func(c *client.Client) error{
		"ping":   func(c *client.Client) error { return c.Ping(ctx) },
		"view":   func(c *client.Client) error { _, err := c.View(ctx, unknownID); return err },
		"update": func(c *client.Client) error { return c.Update(ctx, unknownID, increment) },
		"new": func(c *client.Client) error {
			s, err := c.New(ctx, 0)
			if err == nil {
				s.Abort(ctx)
			}
			return err
		},
	} {
		f := &fake{}
		c := f.dial(t, "", client.Options{})
		var sessions []*client.Session
		for range 5 {
			s, err := c.New(ctx, 0)
			require.NoError(t, err)
			sessions = append(sessions, s)
		}
		for _, s := range sessions {
			s.Abort(ctx)
		}
		f.cut()
		if err := call(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// TestDrainingServer verifies that the client connects again after a SHUTDOWN reply.
func TestDrainingServer(t *testing.T) {
	t.Parallel()
	var draining atomic.Bool
	f := &fake{reply: func(request string) string {
		if draining.Load() && strings.HasPrefix(request, "new") {
			return "-SHUTDOWN connect again\r\n"
		}
		if strings.HasPrefix(request, "hello") {
			draining.Store(false) // the new connection is to another server
		}
		return defaultReply(request)
	}}
	c := f.dial(t, "", client.Options{})
	draining.Store(true)
	s, err := c.New(t.Context(), 0)
	require.NoError(t, err)
	s.Abort(t.Context())

	f.reply = func(request string) string {
		if strings.HasPrefix(request, "new") {
			return "-SHUTDOWN connect again\r\n"
		}
		return defaultReply(request)
	}
	if _, err := c.New(t.Context(), 0); !errors.Is(err, client.ErrShutdown) {
		t.Errorf("all servers draining: %v", err)
	}
	if st := c.Stats(); st.Open != 0 {
		t.Errorf("a connection to a draining server is kept: %+v", st)
	}
}

// redirect makes connections to a changeable address.
type redirect struct{ addr atomic.Value }

func (r *redirect) dialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, fmt.Sprint(r.addr.Load()))
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var current redirect
	old := start(t, servertest.Config{})
	current.addr.Store(old.Addr)
	c := dial(t, dsnOf(old, ""), client.Options{DialContext: current.dialContext})
	var held []*client.Session
	for range 4 {
		s, err := c.New(ctx, 0)
		require.NoError(t, err)
		held = append(held, s)
	}
	for _, s := range held[1:] {
		require.NoError(t, s.Close(ctx))
	}
	require.NoError(t, held[0].Put(ctx, "a", "1"))

	current.addr.Store(start(t, servertest.Config{}).Addr)
	stopped := make(chan error)
	shutdown, cancel := context.WithCancel(ctx)
	go func() { stopped <- old.Shutdown(shutdown) }()
	cancel() // do not wait for the open session
	<-stopped

	var broken *client.ConnError
	if err := held[0].Close(ctx); !errors.As(err, &broken) || broken.Op != "close" {
		t.Errorf("Close of a session on the old server: %v", err)
	}
	id := save(t, c, map[string]string{"n": "1"})
	require.NoError(t, c.Update(ctx, id, increment))
	if v, err := c.View(ctx, id); err != nil || v.Get("n") != "2" {
		t.Errorf("on the new server: %v, %v", v, err)
	}
	if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
		t.Errorf("at the end: %+v", st)
	}
}
