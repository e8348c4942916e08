package client_test

import (
	"errors"
	"testing"

	"sessionserver/client"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestSaveAfterLostConnection verifies that Save continues over another connection after the first one broke. It must
// not do so if another client has changed the session, or if the session had changes from other methods.
func TestSaveAfterLostConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := dsnOf(start(t, servertest.Config{}), "")
	nw := new(network)
	c, other := dial(t, dsn, client.Options{DialContext: nw.dialContext}), dial(t, dsn, client.Options{})
	set := func(value string) func(id string) {
		return func(id string) {
			require.NoError(t, other.Update(ctx, id, func(v *client.Values) error {
				v.Set("n", value)
				return nil
			}))
		}
	}
	destroy := func(id string) { require.NoError(t, open(t, other, id, client.OpenOptions{}).Destroy(ctx)) }
	var broken *client.ConnError
	isBroken := func(err error) bool { return errors.As(err, &broken) }
	isLost := func(err error) bool { return errors.Is(err, client.ErrLockLost) }
	isNil := func(err error) bool { return err == nil }
	for _, tt := range []struct {
		name      string
		mode      client.Mode
		before    func(*client.Session)
		meanwhile func(id string)
		expected  func(error) bool
		want      string // the stored values at the end; "" for no session
	}{
		{"read-write mode", client.ModeReadWrite, nil, nil, isNil, "n=2 other=stays "},
		{"update mode", client.ModeUpdate, nil, nil, isNil, "n=2 other=stays "},
		{"saved unchanged by another client", "", nil, set("1"), isNil, "n=2 other=stays "},
		{"changed by another client", "", nil, set("7"), isLost, "n=7 other=stays "},
		{"already saved", "", nil, set("2"), isNil, "n=2 other=stays "},
		{"destroyed by another client", "", nil, destroy, isBroken, ""},
		{"changed before Save", "", func(s *client.Session) { require.NoError(t, s.Put(ctx, "p", "1")) }, nil, isBroken,
			"n=1 other=stays "},
	} {
		id := save(t, c, map[string]string{"n": "1", "other": "stays"})
		s, v, err := c.Load(ctx, id, client.OpenOptions{Mode: tt.mode})
		require.NoError(t, err)
		if tt.before != nil {
			tt.before(s)
		}
		nw.cut()
		if tt.meanwhile != nil {
			tt.meanwhile(id)
		}
		v.Set("n", "2")
		if err := s.Save(ctx, v); !tt.expected(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, _, err := s.Get(ctx, "n"); !errors.Is(err, client.ErrNoSession) {
			t.Errorf("%s: Get after Save: error %v, want ErrNoSession", tt.name, err)
		}
		got := ""
		if v, err := other.View(ctx, id); err == nil {
			got = all(v)
		} else if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got != tt.want {
			t.Errorf("%s: stored %q, want %q", tt.name, got, tt.want)
		}
	}
	s, err := c.New(ctx, 0)
	require.NoError(t, err)
	nw.cut()
	if err := s.Save(ctx, new(client.Values)); !isBroken(err) {
		t.Errorf("Save of a new session: %v", err)
	}
	if st := c.Stats(); st.Open != st.Idle {
		t.Errorf("at the end: %+v", st)
	}
}

// TestDestroyAfterLostConnection verifies that Destroy removes a session even if its connection broke.
func TestDestroyAfterLostConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	nw := new(network)
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{DialContext: nw.dialContext})
	id := save(t, c, map[string]string{"n": "1"})
	expectDestroyed := func(s *client.Session) {
		t.Helper()
		nw.cut()
		require.NoError(t, s.Destroy(ctx))
		if _, err := c.View(ctx, s.ID()); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("the session still exists: %v", err)
		}
	}
	expectDestroyed(open(t, c, id, client.OpenOptions{}))
	s, err := c.New(ctx, 0)
	require.NoError(t, err)
	expectDestroyed(s)

	id = save(t, c, map[string]string{"n": "1"})
	s = open(t, c, id, client.OpenOptions{Mode: client.ModeRead})
	nw.cut()
	var broken *client.ConnError
	if err := s.Destroy(ctx); !errors.As(err, &broken) {
		t.Errorf("Destroy in read mode: %v", err)
	}
	if _, err := c.View(ctx, id); err != nil {
		t.Errorf("View after Destroy in read mode: %v", err)
	}
	if st := c.Stats(); st.Open != st.Idle {
		t.Errorf("at the end: %+v", st)
	}
}
