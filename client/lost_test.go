package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"sessionserver/client"
	"sessionserver/server/servertest"
)

// wires makes connections, and cuts them.
type wires struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (w *wires) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, nc)
	return nc, err
}

func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, nc := range w.conns {
		_ = nc.Close()
	}
	w.conns = nil
}

// TestSaveOverALostConnection: a save whose connection breaks is done over another one, unless somebody else has changed
// the session, or more than Save knows of was to be saved.
func TestSaveOverALostConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := dsnOf(start(t, servertest.Config{}), "")
	w := new(wires)
	c, other := dial(t, dsn, client.Options{DialContext: w.dial}), dial(t, dsn, client.Options{})
	set := func(value string) func(id string) {
		return func(id string) {
			must(t, other.Update(ctx, id, func(v *client.Values) error {
				v.Set("n", value)
				return nil
			}))
		}
	}
	destroy := func(id string) { must(t, open(t, other, id, client.OpenOptions{}).Destroy(ctx)) }
	var broken *client.ConnError
	isBroken := func(err error) bool { return errors.As(err, &broken) }
	isLost := func(err error) bool { return errors.Is(err, client.ErrLockLost) }
	isNil := func(err error) bool { return err == nil }
	for _, tt := range []struct {
		name      string
		mode      client.Mode
		before    func(*client.Session)
		meanwhile func(id string)
		is        func(error) bool
		want      string // what is stored in the end; "" for no session
	}{
		{"alone", client.ModeReadWrite, nil, nil, isNil, "n=2 other=stays "},
		{"existing only", client.ModeUpdate, nil, nil, isNil, "n=2 other=stays "},
		{"touched", "", nil, set("1"), isNil, "n=2 other=stays "},
		{"changed", "", nil, set("7"), isLost, "n=7 other=stays "},
		{"saved already", "", nil, set("2"), isNil, "n=2 other=stays "},
		{"ended", "", nil, destroy, isBroken, ""},
		{"more was done", "", func(s *client.Session) { must(t, s.Put(ctx, "p", "1")) }, nil, isBroken, "n=1 other=stays "},
	} {
		id := save(t, c, map[string]string{"n": "1", "other": "stays"})
		s, v, err := c.Load(ctx, id, client.OpenOptions{Mode: tt.mode})
		must(t, err)
		if tt.before != nil {
			tt.before(s)
		}
		w.cut()
		if tt.meanwhile != nil {
			tt.meanwhile(id)
		}
		v.Set("n", "2")
		if err := s.Save(ctx, v); !tt.is(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, _, err := s.Get(ctx, "n"); !errors.Is(err, client.ErrNoSession) {
			t.Errorf("%s: it is still open: %v", tt.name, err)
		}
		got := ""
		if v, err := other.View(ctx, id); err == nil {
			got = all(v)
		} else if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got != tt.want {
			t.Errorf("%s: %q is stored, want %q", tt.name, got, tt.want)
		}
	}
	s, err := c.New(ctx, 0)
	must(t, err)
	w.cut()
	if err := s.Save(ctx, new(client.Values)); !isBroken(err) {
		t.Errorf("a new session: %v", err)
	}
	if st := c.Stats(); st.Open != st.Idle {
		t.Errorf("in the end: %+v", st)
	}
}

// TestDestroyOverALostConnection: a session that is to be removed does not live on because its connection breaks.
func TestDestroyOverALostConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := new(wires)
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{DialContext: w.dial})
	id := save(t, c, map[string]string{"n": "1"})
	gone := func(s *client.Session) {
		t.Helper()
		w.cut()
		must(t, s.Destroy(ctx))
		if _, err := c.View(ctx, s.ID()); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("it lives on: %v", err)
		}
	}
	gone(open(t, c, id, client.OpenOptions{}))
	s, err := c.New(ctx, 0)
	must(t, err)
	gone(s)

	id = save(t, c, map[string]string{"n": "1"})
	s = open(t, c, id, client.OpenOptions{Mode: client.ModeRead})
	w.cut()
	var broken *client.ConnError
	if err := s.Destroy(ctx); !errors.As(err, &broken) {
		t.Errorf("for reading: %v", err)
	}
	if _, err := c.View(ctx, id); err != nil {
		t.Errorf("for reading: %v", err)
	}
	if st := c.Stats(); st.Open != st.Idle {
		t.Errorf("in the end: %+v", st)
	}
}
