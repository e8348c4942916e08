package session_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/session"
)

// TestCounter is what sessions without locks get wrong: many read a number, add one, and write it back.
func TestCounter(t *testing.T) {
	const workers, rounds = 50, 200
	for _, d := range drivers {
		if d.disk {
			continue // the driver is there without waiting for the disk too; to wait 10,000 times finds out nothing more
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			m := session.NewManager(open(t, d.open), session.Options{})
			settings := session.DefaultSettings()
			settings.LockLease = time.Hour // this machine may be slow
			tenant := &session.Tenant{Name: "acme", Settings: settings}
			id, s, err := m.New(ctx, tenant, 0)
			if err != nil {
				t.Fatal(err)
			}
			key := []byte("n")
			if err := s.Put(key, []byte("0")); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}

			var served atomic.Int64 // how many have had the session
			count := func() (waited int64, err error) {
				arrived := int64(-1)
				opts := session.OpenOptions{Wait: session.WaitMax, OnWait: func(ctx context.Context) (context.Context, func()) {
					arrived = served.Load() // its place in the queue is taken by now
					return ctx, func() {}
				}}
				s, err := m.Open(ctx, tenant, []byte(id), opts)
				if err != nil {
					return 0, err
				}
				if arrived >= 0 {
					waited = served.Load() - arrived
				}
				served.Add(1)
				value, err := s.Get(key)
				if err != nil {
					return 0, err
				}
				n, err := strconv.Atoi(string(value))
				if err != nil {
					return 0, err
				}
				if err := s.Put(key, strconv.AppendInt(nil, int64(n+1), 10)); err != nil {
					return 0, err
				}
				return waited, s.Close(ctx)
			}
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range rounds {
						waited, err := count()
						if err != nil {
							t.Error(err)
							return
						}
						// In order of arrival, each of the others can have been before this one at most once.
						if waited >= workers {
							t.Errorf("%d went first, but there are only %d others", waited, workers-1)
						}
					}
				})
			}
			wg.Wait()
			s, err = m.Open(ctx, tenant, []byte(id), session.OpenOptions{Mode: session.Snapshot})
			if err != nil {
				t.Fatal(err)
			}
			if value, err := s.Get(key); err != nil || string(value) != strconv.Itoa(workers*rounds) {
				t.Errorf("the counter is %s, %v; want %d", value, err, workers*rounds)
			}
			if st, err := s.Stat(); err != nil || st.Version != workers*rounds+1 {
				t.Errorf("it was saved %d times, %v", st.Version, err)
			}
		})
	}
}
