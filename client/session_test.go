package client_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/session"
)

const unknownID = "0123456789abcdef0123456789abcdef"

func TestSessionValues(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	s, err := c.New(ctx, 0)
	require.NoError(t, err)
	if len(s.ID()) != 32 || s.Mode() != client.ModeReadWrite {
		t.Errorf("New: id %q, mode %q", s.ID(), s.Mode())
	}
	const binary = "a\r\n\x00\xffb"
	require.NoError(t, s.Put(ctx, "binary key\n", binary))
	require.NoError(t, s.Put(ctx, "empty", ""))
	require.NoError(t, s.PutMany(ctx, map[string]string{"b": "2", "a": "1"}))
	require.NoError(t, s.PutMany(ctx, nil))

	for _, tt := range []struct {
		key, value string
		ok         bool
	}{{"binary key\n", binary, true}, {"empty", "", true}, {"a", "1", true}, {"nothing", "", false}} {
		value, ok, err := s.Get(ctx, tt.key)
		if value != tt.value || ok != tt.ok || err != nil {
			t.Errorf("Get(%q) = %q, %t, %v", tt.key, value, ok, err)
		}
		if exists, err := s.Exists(ctx, tt.key); exists != tt.ok || err != nil {
			t.Errorf("Exists(%q) = %t, %v", tt.key, exists, err)
		}
	}
	for _, tt := range []struct {
		keys []string
		want map[string]string
	}{
		{nil, map[string]string{}},
		{[]string{"a"}, map[string]string{"a": "1"}},
		{[]string{"nothing"}, map[string]string{}},
		{[]string{"a", "nothing", "empty", "b"}, map[string]string{"a": "1", "b": "2", "empty": ""}},
	} {
		if got, err := s.GetMany(ctx, tt.keys...); !maps.Equal(got, tt.want) || err != nil {
			t.Errorf("GetMany(%q) = %q, %v", tt.keys, got, err)
		}
	}
	if keys, err := s.Keys(ctx); !slices.Equal(keys, []string{"binary key\n", "empty", "a", "b"}) || err != nil {
		t.Errorf("Keys = %q, %v", keys, err)
	}
	if n, err := s.Remove(ctx, "binary key\n", "nothing", "empty"); n != 2 || err != nil {
		t.Errorf("Remove = %d, %v", n, err)
	}
	if n, err := s.Remove(ctx); n != 0 || err != nil {
		t.Errorf("Remove of nothing = %d, %v", n, err)
	}
	v, err := s.All(ctx)
	if require.NoError(t, err); all(v) != "a=1 b=2 " {
		t.Errorf("All = %s", all(v))
	}
	require.NoError(t, s.ReplaceAll(ctx, map[string]string{"z": "26"}))
	require.NoError(t, s.Close(ctx))

	got, err := c.View(ctx, s.ID())
	if require.NoError(t, err); all(got) != "z=26 " {
		t.Errorf("View = %s", all(got))
	}
	s = open(t, c, s.ID(), client.OpenOptions{})
	require.NoError(t, s.ReplaceAll(ctx, nil))
	if keys, err := s.Keys(ctx); len(keys) != 0 || err != nil {
		t.Errorf("after ReplaceAll(nil): keys %q, %v", keys, err)
	}
	s.Abort(ctx)
	if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
		t.Errorf("at the end: %+v", st)
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := servertest.Settings()
	settings.MaxKeys = 4096
	c := dial(t, dsnOf(start(t, servertest.Config{Settings: settings}), ""), client.Options{})
	want := make(map[string]string)
	var keys []string
	for i := range 2*2048 - 1 {
		keys = append(keys, fmt.Sprintf("k%04d", i))
		want[keys[i]] = fmt.Sprint(i)
	}
	id := save(t, c, want)
	s := open(t, c, id, client.OpenOptions{})
	if got, err := s.GetMany(ctx, append(keys, "nothing")...); !maps.Equal(got, want) || err != nil {
		t.Errorf("GetMany: %d values, %v", len(got), err)
	}
	if got, err := s.GetMany(ctx, keys...); !maps.Equal(got, want) || err != nil {
		t.Errorf("GetMany: %d values, %v", len(got), err)
	}
	if n, err := s.Remove(ctx, keys[5:]...); n != len(keys)-5 || err != nil {
		t.Errorf("Remove = %d, %v", n, err)
	}
	require.NoError(t, s.ReplaceAll(ctx, want))
	require.NoError(t, s.Close(ctx))
	require.NoError(t, c.Update(ctx, id, func(v *client.Values) error {
		if !maps.Equal(maps.Collect(v.All()), want) {
			t.Errorf("Update loads %d values", v.Len())
		}
		for _, key := range keys[3:] {
			v.Set(key, "changed")
		}
		return nil
	}))
	v, err := c.View(ctx, id)
	if require.NoError(t, err); v.Len() != len(want) || v.Get(keys[2]) != "2" || v.Get(keys[len(keys)-1]) != "changed" {
		t.Errorf("after Update: %v", v)
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var cfg servertest.Config
	cfg.Options.Commands = []server.Command{{
		Name: "size", Usage: "key", Help: "returns the size of a value in bytes",
		Line: server.Exactly(1), RESP: server.Exactly(1), Needs: server.OpenSession, Access: server.Read, Cost: 1,
		Run: func(c *server.Call) error {
			value, err := c.Session().Get(c.Args[0])
			if err == nil {
				c.Reply.Int(int64(len(value)))
			}
			return err
		},
	}}
	c := dial(t, dsnOf(start(t, cfg), ""), client.Options{})
	s := open(t, c, save(t, c, map[string]string{"a": "123"}), client.OpenOptions{})
	defer s.Abort(ctx)
	for _, tt := range []struct {
		command []string
		want    any
	}{
		{[]string{"size", "a"}, int64(3)},
		{[]string{"get", "a"}, "123"},
		{[]string{"get", "b"}, nil},
		{[]string{"get", "a", "b"}, []any{"123", nil}},
		{[]string{"get_all"}, []any{"a", "123"}},
		{[]string{"put", "b", "2"}, "OK"},
	} {
		if got, err := s.Do(ctx, tt.command[0], tt.command[1:]...); !reflect.DeepEqual(got, tt.want) || err != nil {
			t.Errorf("Do(%q) = %#v, %v", tt.command, got, err)
		}
	}
	if _, err := s.Do(ctx, "size", "c"); !errors.Is(err, client.ErrNoKey) {
		t.Errorf("refused command: %v", err)
	}
	if _, err := s.Do(ctx, "nonsense"); !errors.Is(err, client.ErrUnknown) {
		t.Errorf("unknown command: %v", err)
	}
}

func TestSessionLifecycle(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := dial(t, dsnOf(start(t, servertest.Config{}), "?lifetime=7200"), client.Options{})
	s, err := c.New(ctx, 90*time.Second)
	require.NoError(t, err)
	lifetime := func(want time.Duration) {
		t.Helper()
		if d, err := s.Lifetime(ctx); d != want || err != nil {
			t.Errorf("Lifetime = %v, %v; want %v", d, err, want)
		}
	}
	lifetime(90 * time.Second)
	require.NoError(t, s.SetLifetime(ctx, 1500*time.Millisecond))
	lifetime(2 * time.Second)
	s.Abort(ctx)
	s, err = c.New(ctx, 0)
	require.NoError(t, err)
	lifetime(2 * time.Hour)

	before := time.Now().Truncate(time.Second)
	require.NoError(t, s.Put(ctx, "key", "value"))
	require.NoError(t, s.Commit(ctx))
	if s.Mode() != client.ModeSnapshot {
		t.Errorf("after Commit: mode %s", s.Mode())
	}
	st, err := s.Stat(ctx)
	require.NoError(t, err)
	if st.Version != 1 || st.Keys != 1 || st.Bytes != 8 ||
		st.Created.Before(before) || st.LastUsed.Before(st.Created) ||
		st.Expires.Before(before.Add(2*time.Hour)) || st.Expires.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("Stat = %+v", st)
	}
	if err := s.Put(ctx, "key", "other"); !errors.Is(err, client.ErrReadOnly) {
		t.Errorf("Put after Commit: %v", err)
	}
	require.NoError(t, s.Close(ctx))

	s = open(t, c, s.ID(), client.OpenOptions{Mode: client.ModeUpdate})
	require.NoError(t, s.Expire(ctx, "key", time.Hour))
	require.NoError(t, s.Expire(ctx, "key", 0))
	if err := s.Expire(ctx, "nothing", time.Hour); !errors.Is(err, client.ErrNoKey) {
		t.Errorf("Expire of nothing: %v", err)
	}
	if err := s.Expire(ctx, "key", -time.Millisecond); !errors.Is(err, client.ErrBadArg) {
		t.Errorf("Expire in the past: %v", err)
	}
	old := s.ID()
	id, err := s.Regenerate(ctx, 30*time.Second)
	require.NoError(t, err)
	if id == old || s.ID() != id {
		t.Errorf("Regenerate: %q to %q, ID %q", old, id, s.ID())
	}
	require.NoError(t, s.Close(ctx))
	s = open(t, c, old, client.OpenOptions{Mode: client.ModeRead}) // within the grace period
	if value, _, err := s.Get(ctx, "key"); value != "value" || err != nil {
		t.Errorf("session opened by its old id: %q, %v", value, err)
	}
	require.NoError(t, s.Close(ctx))
	s = open(t, c, id, client.OpenOptions{})
	_, err = s.Regenerate(ctx, 0)
	require.NoError(t, err)
	require.NoError(t, s.Destroy(ctx))
	for _, removed := range []string{old, id, s.ID()} {
		if _, err := c.Open(ctx, removed, client.OpenOptions{}); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("Open of a removed id: %v", err)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	for _, mode := range []client.Mode{client.ModeUpdate, client.ModeRead, client.ModeSnapshot} {
		if _, err := c.Open(ctx, unknownID, client.OpenOptions{Mode: mode}); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("open %s of an unknown id: %v", mode, err)
		}
	}
	for _, mode := range []client.Mode{client.ModeRead, client.ModeSnapshot} {
		s, v, err := c.Load(ctx, id, client.OpenOptions{Mode: mode})
		require.NoError(t, err)
		if s.Mode() != mode || all(v) != "a=1 " {
			t.Errorf("Load %s: mode %s, %s", mode, s.Mode(), all(v))
		}
		if err := s.Put(ctx, "a", "2"); !errors.Is(err, client.ErrReadOnly) {
			t.Errorf("Put in mode %s: %v", mode, err)
		}
		require.NoError(t, s.Close(ctx))
	}
	s, v, err := c.Load(ctx, unknownID, client.OpenOptions{Mode: client.ModeReadWrite})
	require.NoError(t, err)
	v.Set("made", "here")
	require.NoError(t, s.Save(ctx, v))
	if _, err := c.Open(ctx, "short", client.OpenOptions{}); !errors.Is(err, client.ErrBadID) {
		t.Errorf("open of a short id: %v", err)
	}
	if _, err := c.Open(ctx, id, client.OpenOptions{Mode: "x"}); !errors.Is(err, client.ErrBadArg) {
		t.Errorf("open in an unknown mode: %v", err)
	}
	if _, err := c.View(ctx, id+"x"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("view of an unknown id: %v", err)
	}
	require.NoError(t, c.Ping(ctx))
	if st := c.Stats(); st.Open != 1 || st.Idle != 1 {
		t.Errorf("refusals closed connections: %+v", st)
	}
}

func TestEndedSession(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	for name, end := range map[string]func(*client.Session) error{
		"Close":   func(s *client.Session) error { return s.Close(ctx) },
		"Abort":   func(s *client.Session) error { s.Abort(ctx); return nil },
		"Save":    func(s *client.Session) error { return s.Save(ctx, new(client.Values)) },
		"Destroy": func(s *client.Session) error { return s.Destroy(ctx) },
	} {
		s, err := c.New(ctx, 0)
		require.NoError(t, err)
		require.NoError(t, end(s))
		for method, call := range map[string]func() error{
			"Get":     func() error { _, _, err := s.Get(ctx, "a"); return err },
			"PutMany": func() error { return s.PutMany(ctx, map[string]string{"a": "2"}) },
			"All":     func() error { _, err := s.All(ctx); return err },
			"Save":    func() error { return s.Save(ctx, new(client.Values)) },
			"Close":   func() error { return s.Close(ctx) },
		} {
			if err := call(); !errors.Is(err, client.ErrNoSession) {
				t.Errorf("%s after %s: %v", method, name, err)
			}
		}
		s.Abort(ctx)
		if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
			t.Errorf("after %s: %+v", name, st)
		}
	}
	if v, err := c.View(ctx, id); err != nil || all(v) != "a=1 " {
		t.Errorf("an unrelated session: %v, %v", v, err)
	}
}

func TestRefusedPutLeavesSessionOpen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := servertest.Settings()
	settings.MaxBytes = 100
	c := dial(t, dsnOf(start(t, servertest.Config{Settings: settings}), ""), client.Options{})
	s, err := c.New(ctx, 0)
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, "a", "1"))
	err = s.Put(ctx, "b", strings.Repeat("x", 100))
	if !errors.Is(err, client.ErrTooLarge) || !strings.HasPrefix(err.Error(), "sessionserver: put: TOOLARGE ") {
		t.Errorf("Put of too much: %v", err)
	}
	if err := s.Put(ctx, "a\x00", "x"); !errors.Is(err, client.ErrBadKey) {
		t.Errorf("Put with a NUL in the key: %v", err)
	}
	require.NoError(t, s.Close(ctx))
	if v, err := c.View(ctx, s.ID()); err != nil || all(v) != "a=1 " {
		t.Errorf("saved: %v, %v", v, err)
	}
}

func TestLockLost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := servertest.Settings()
	settings.LockLease = 10 * time.Millisecond
	c := dial(t, dsnOf(start(t, servertest.Config{Settings: settings}), ""), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	slow := open(t, c, id, client.OpenOptions{})
	require.NoError(t, slow.Put(ctx, "a", "slow"))
	next := open(t, c, id, client.OpenOptions{}) // waits until the lease expires
	for _, want := range []error{client.ErrLockLost, client.ErrNoSession} {
		if err := slow.Close(ctx); !errors.Is(err, want) {
			t.Errorf("Close: %v, want %v", err, want)
		}
	}
	if value, _, err := next.Get(ctx, "a"); value != "1" || err != nil {
		t.Errorf("the next session reads %q, %v", value, err)
	}
	require.NoError(t, next.Close(ctx))
	if st := c.Stats(); st != (client.Stats{Open: 2, Idle: 2}) {
		t.Errorf("the lost lock closed a connection: %+v", st)
	}
}

func TestSessionConcealsID(t *testing.T) {
	t.Parallel()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	s, err := c.New(t.Context(), 0)
	require.NoError(t, err)
	defer s.Abort(t.Context())
	v := new(client.Values)
	v.Set("user", "alice")
	printed := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %v %+v %#v", s, s, s, s, v, v, v, c, c, c)
	for _, private := range []string{s.ID(), "alice", secret} {
		if strings.Contains(printed, private) {
			t.Errorf("%s is visible in %s", private, printed)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	var v client.Values
	if v.Get("a") != "" || v.Len() != 0 || len(v.Keys()) != 0 {
		t.Error("the zero Values are not empty")
	}
	v.Delete("a")
	v.Set("b", "2")
	v.Set("a", "x")
	v.SetInt("a", -7)
	if n, err := v.Int("a"); n != -7 || err != nil {
		t.Errorf("Int = %d, %v", n, err)
	}
	if n, err := v.Int("nothing"); n != 0 || err != nil {
		t.Errorf("Int of nothing = %d, %v", n, err)
	}
	v.Set("c", "text")
	if _, err := v.Int("c"); err == nil {
		t.Error("Int of a text: no error")
	}
	if all(&v) != "b=2 a=-7 c=text " {
		t.Errorf("values: %s", all(&v))
	}
	for key := range v.All() {
		if key == "a" {
			break
		}
	}
	v.Delete("b")
	if _, ok := v.Lookup("b"); ok || !reflect.DeepEqual(v.Keys(), []string{"a", "c"}) {
		t.Errorf("after Delete: %q", v.Keys())
	}
}

// TestChosenID verifies that no session is created under an id that a visitor has chosen. Only ModeReadWrite does so,
// in a tenant that is not strict.
func TestChosenID(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const chosen = "chosen-by-the-visitor"
	for _, strict := range []bool{true, false} {
		settings := session.DefaultSettings()
		if !settings.Strict {
			t.Fatal("tenants are not strict by default")
		}
		settings.Strict = strict
		c := dial(t, dsnOf(start(t, servertest.Config{Settings: settings}), ""), client.Options{})
		_, openErr := c.Open(ctx, chosen, client.OpenOptions{})
		_, _, loadErr := c.Load(ctx, chosen, client.OpenOptions{})
		_, viewErr := c.View(ctx, chosen)
		updateErr := c.Update(ctx, chosen, func(v *client.Values) error {
			v.Set("user", "victim")
			return nil
		})
		for method, err := range map[string]error{
			"Open": openErr, "Load": loadErr, "View": viewErr, "Update": updateErr,
		} {
			if !errors.Is(err, client.ErrNotFound) {
				t.Errorf("%s, strict %t: %v", method, strict, err)
			}
		}
		s, err := c.Open(ctx, chosen, client.OpenOptions{Mode: client.ModeReadWrite})
		if strict != errors.Is(err, client.ErrNotFound) || !strict && err != nil {
			t.Errorf("Open with ModeReadWrite, strict %t: %v", strict, err)
		}
		if err == nil {
			s.Abort(ctx)
		}
	}
}
