package client_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/client"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

func increment(v *client.Values) error {
	n, err := v.Int("n")
	v.SetInt("n", n+1)
	return err
}

func TestConcurrentUpdates(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	// The pool is smaller than the number of workers: some wait for a connection, some for the lock.
	c := dial(t, dsnOf(start(t, servertest.Config{}), "?lock_timeout=300"), client.Options{MaxOpen: 12})
	id := save(t, c, map[string]string{"other": "stays"})
	var workers sync.WaitGroup
	for range 20 {
		workers.Go(func() {
			for range 50 {
				if err := c.Update(ctx, id, increment); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	v, err := c.View(ctx, id)
	if require.NoError(t, err); all(v) != "other=stays n=1000 " {
		t.Errorf("at the end: %s", all(v))
	}
	if st := c.Stats(); st.Open > 12 || st.Open != st.Idle || st.Waiting != 0 {
		t.Errorf("at the end: %+v", st)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := servertest.Settings()
	settings.MaxBytes = 100
	obs := newObserver()
	cfg := servertest.Config{Settings: settings}
	cfg.Options.Observer = obs
	c := dial(t, dsnOf(start(t, cfg), ""), client.Options{})
	failure := errors.New("the function failed")
	for _, tt := range []struct {
		name   string
		change func(*client.Values) error
		err    error
		want   string
		sent   string // after open and get_all
	}{
		{"no change", func(*client.Values) error { return nil }, nil, "a=1 b=2 c=3 ", "close"},
		{"set to an equal value", func(v *client.Values) error {
			v.Set("a", "1")
			return nil
		}, nil, "a=1 b=2 c=3 ", "close"},
		{"deleted and set again", func(v *client.Values) error {
			v.Delete("c")
			v.Set("c", "3")
			return nil
		}, nil, "a=1 b=2 c=3 ", "close"},
		{"set", func(v *client.Values) error {
			v.Set("b", "x")
			v.Set("d", "4")
			return nil
		}, nil, "a=1 b=x c=3 d=4 ", "put close"},
		{"delete", func(v *client.Values) error {
			v.Delete("a")
			v.Delete("c")
			return nil
		}, nil, "b=2 ", "remove close"},
		{"set and delete", func(v *client.Values) error {
			v.Delete("a")
			v.Set("b", "x")
			return nil
		}, nil, "b=x c=3 ", "remove put close"},
		{"function fails", func(v *client.Values) error {
			v.Set("a", "x")
			return failure
		}, failure, "a=1 b=2 c=3 ", "abort"},
		{"refused", func(v *client.Values) error {
			v.Set("a", "x")
			v.Set("big", strings.Repeat("x", 100))
			return nil
		}, client.ErrTooLarge, "a=1 b=2 c=3 ", "put close"},
		{"partly refused", func(v *client.Values) error {
			v.Delete("a")
			v.Set("big", strings.Repeat("x", 100))
			return nil
		}, client.ErrTooLarge, "a=1 b=2 c=3 ", "remove put abort"},
	} {
		id := save(t, c, map[string]string{"a": "1", "b": "2", "c": "3"})
		obs.take()
		if err := c.Update(ctx, id, tt.change); !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
		}
		require.NoError(t, c.Ping(ctx)) // all earlier commands have been observed
		if got, want := obs.take(), "open get_all "+tt.sent+" ping"; got != want {
			t.Errorf("%s: sent %s, want %s", tt.name, got, want)
		}
		v, err := c.View(ctx, id)
		if require.NoError(t, err); all(v) != tt.want {
			t.Errorf("%s: saved %s, want %s", tt.name, all(v), tt.want)
		}
	}
	if err := c.Update(ctx, unknownID, increment); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Update of an unknown id: %v", err)
	}
	if st := c.Stats(); st != (client.Stats{Open: 1, Idle: 1}) {
		t.Errorf("at the end: %+v", st)
	}
}

// TestRefusedSaveStoresNothing verifies that a refused Save stores nothing, in a session with unsaved changes and in
// a new one.
func TestRefusedSaveStoresNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	settings := servertest.Settings()
	settings.MaxBytes = 100
	c := dial(t, dsnOf(start(t, servertest.Config{Settings: settings}), ""), client.Options{})
	tooLarge := new(client.Values)
	tooLarge.Set("big", strings.Repeat("x", 100))

	s, v, err := c.Load(ctx, unknownID, client.OpenOptions{Mode: client.ModeReadWrite})
	require.NoError(t, err)
	v.Set("big", strings.Repeat("x", 100))
	if err := s.Save(ctx, v); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("Save: %v", err)
	}
	if _, err := c.View(ctx, unknownID); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a session was created: %v", err)
	}

	id := save(t, c, map[string]string{"a": "1"})
	s, _, err = c.Load(ctx, id, client.OpenOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, "a", "2"))
	if err := s.Save(ctx, tooLarge); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("Save: %v", err)
	}
	if v, err := c.View(ctx, id); err != nil || all(v) != "a=1 " {
		t.Errorf("saved: %s, %v", all(v), err)
	}
}

func TestUpdatePanic(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	func() {
		defer func() {
			if recover() != "panic of the function" {
				t.Error("Update did not propagate the panic")
			}
		}()
		_ = c.Update(ctx, id, func(v *client.Values) error { v.Set("a", "x"); panic("panic of the function") })
	}()
	s := open(t, c, id, client.OpenOptions{Wait: client.NoWait})
	defer s.Abort(ctx)
	if value, _, err := s.Get(ctx, "a"); value != "1" || err != nil {
		t.Errorf("after the panic: %q, %v", value, err)
	}
}

func TestUpdateContextCanceled(t *testing.T) {
	t.Parallel()
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	id := save(t, c, map[string]string{"a": "1"})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Update(ctx, id, func(v *client.Values) error {
		v.Set("a", "x")
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	s := open(t, c, id, client.OpenOptions{Wait: time.Minute})
	defer s.Abort(t.Context())
	if value, _, err := s.Get(t.Context(), "a"); value != "1" || err != nil {
		t.Errorf("after Update: %q, %v", value, err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	c := dial(b, dsnOf(start(b, servertest.Config{}), ""), client.Options{})
	id := save(b, c, map[string]string{"payload": strings.Repeat("x", 2048), "n": "0"})
	for b.Loop() {
		if err := c.Update(b.Context(), id, increment); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCycle measures the cycle of a web request: load all values, change one, save. It uses many sessions at once.
func BenchmarkCycle(b *testing.B) {
	c := dial(b, dsnOf(start(b, servertest.Config{}), ""), client.Options{})
	payload := strings.Repeat("x", 2048)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		id := save(b, c, map[string]string{"payload": payload, "n": "0"})
		for pb.Next() {
			s, v, err := c.Load(b.Context(), id, client.OpenOptions{})
			if err == nil {
				_ = increment(v)
				err = s.Save(b.Context(), v)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// TestSaveErrorNamesSessionLimit verifies that a change beyond the limits of a request and of the session is refused
// with the limit of the session.
func TestSaveErrorNamesSessionLimit(t *testing.T) {
	c := dial(t, dsnOf(start(t, servertest.Config{}), ""), client.Options{})
	id := save(t, c, map[string]string{"n": "1"})
	for _, tt := range []struct {
		keys, size int
		want       string
	}{
		{9, 600_000, "the session would have 4200007 bytes (allowed: 4194304)"},
		{1100, 1, "a session has at most 1024 keys"},
		{1, 2_000_000, "a value has at most 1048576 bytes"},
	} {
		err := c.Update(t.Context(), id, func(v *client.Values) error {
			v.Delete("n")
			for i := range tt.keys {
				v.Set(strconv.Itoa(i), strings.Repeat("x", tt.size))
			}
			return nil
		})
		if !errors.Is(err, client.ErrTooLarge) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d keys of %d bytes: %v", tt.keys, tt.size, err)
		}
	}
	if v, err := c.View(t.Context(), id); err != nil || all(v) != "n=1 " {
		t.Errorf("%v %v", v, err)
	}
}
