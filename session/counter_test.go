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

// TestCounter increments a number in one session from many goroutines. Sessions without locks lose some of these
// increments.
func TestCounter(t *testing.T) {
	const workers, rounds = 50, 200
	for _, d := range drivers {
		if d.disk {
			continue // the driver is also listed without waiting for the disk; 10,000 waits would add nothing
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			m := session.NewManager(open(t, d.open), session.Options{})
			settings := session.DefaultSettings()
			settings.LockLease = time.Hour // the machine may be slow
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

			var grants atomic.Int64 // of the session's lock
			increment := func() (overtakers int64, err error) {
				arrival := int64(-1)
				onWait := func(ctx context.Context) (context.Context, func()) {
					arrival = grants.Load() // the open is in the queue by now
					return ctx, func() {}
				}
				opts := session.OpenOptions{Wait: session.WaitMax, OnWait: onWait}
				s, err := m.Open(ctx, tenant, []byte(id), opts)
				if err != nil {
					return 0, err
				}
				if arrival >= 0 {
					overtakers = grants.Load() - arrival
				}
				grants.Add(1)
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
				return overtakers, s.Close(ctx)
			}
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range rounds {
						n, err := increment()
						if err != nil {
							t.Error(err)
							return
						}
						// In order of arrival, each of the other workers gets the lock first at most once.
						if n >= workers {
							t.Errorf("%d opens were served first, want at most %d", n, workers-1)
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
				t.Errorf("counter = %s, %v, want %d", value, err, workers*rounds)
			}
			if st, err := s.Stat(); err != nil || st.Version != workers*rounds+1 {
				t.Errorf("version = %d, %v, want %d", st.Version, err, workers*rounds+1)
			}
		})
	}
}
