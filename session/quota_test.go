package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

// wantQuota fails the test unless err reports this quota and is fit for a client.
func (f *fixture) wantQuota(err error, quota Quota) {
	f.Helper()
	var q *QuotaError
	if !errors.Is(err, ErrQuota) || !errors.As(err, &q) || q.Quota != quota {
		f.Fatalf("error = %v, want quota %s", err, quota)
	}
	if text := err.Error(); !strings.Contains(text, fmt.Sprint(q.Limit)) || strings.Contains(text, f.tenant.Name) {
		f.Errorf("error %q: the limit is missing, or the tenant's name is not", text)
	}
}

// wantUsage fails the test unless the tenant has this many sessions and waiters.
func (f *fixture) wantUsage(sessions, waiters int64) {
	f.Helper()
	u, err := f.m.Usage(ctx, f.tenant.Name)
	f.ok(err)
	if u.Sessions != sessions || u.Waiters != waiters {
		f.Fatalf("usage = %+v, want %d sessions and %d waiters", u, sessions, waiters)
	}
}

func TestQuotaOfSessions(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 2 })
		first, second := f.saved("k", "1"), f.saved("k", "2")
		_, s := f.new("k", "3") // does not count until it is saved
		f.wantUsage(2, 0)
		f.wantQuota(s.Commit(ctx), QuotaSessions)
		f.wantQuota(s.Close(ctx), QuotaSessions)
		f.wantValues(s, "k", "3") // a refusal loses nothing
		f.equal("refusals", f.count(QuotaRefused), 2)
		f.wantUsage(2, 0)

		// Existing sessions can still be saved.
		l := f.open(first, ReadWrite)
		f.put(l, "more", strings.Repeat("x", 1000))
		f.ok(l.Commit(ctx))
		l = f.open(second, ReadWrite)
		moved, err := l.Regenerate(ctx, time.Minute) // an alias does not count
		f.ok(err)
		f.ok(l.Close(ctx))
		f.wantUsage(2, 0)
		f.wantQuota(s.Close(ctx), QuotaSessions)

		// Room is available as soon as a session is destroyed; its tombstone does not count.
		f.ok(f.open(moved, ReadWrite).Destroy(ctx))
		f.ok(s.Close(ctx))
		f.wantUsage(2, 0)

		// Under a lower quota nothing is evicted.
		f.settings(func(s *Settings) { s.MaxSessions = 1 })
		l = f.open(first, ReadWrite)
		f.put(l, "evenmore", "x")
		f.ok(l.Close(ctx))
		_, s = f.new()
		f.wantQuota(s.Close(ctx), QuotaSessions)
		f.ok(s.Abort())
		f.wantUsage(2, 0)

		// Without a quota there is room.
		f.settings(func(s *Settings) {})
		f.saved("k", "v")
		f.wantUsage(3, 0)
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		_, s = f.new()
		f.wantQuota(s.Close(ctx), QuotaSessions)
		f.ok(s.Abort())
	})
}

func TestQuotaOfBytes(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxTotalBytes = 2000 })
		big := f.saved("k", strings.Repeat("x", 900))
		other := f.saved("k", strings.Repeat("x", 900))
		s := f.open(big, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 1200))
		f.wantQuota(s.Close(ctx), QuotaBytes)
		f.wantSaved(big, "k", strings.Repeat("x", 900))
		f.wantRefused(big, ErrLockTimeout, ReadWrite) // the lock is still held, for another attempt
		f.put(s, "k", strings.Repeat("y", 950))
		f.ok(s.Close(ctx))
		f.wantSaved(big, "k", strings.Repeat("y", 950))
		_, n := f.new("k", strings.Repeat("z", 200))
		f.wantQuota(n.Close(ctx), QuotaBytes)
		f.ok(n.Abort())

		// Above the quota, a session may keep its size or shrink.
		f.settings(func(s *Settings) { s.MaxTotalBytes = 500 })
		s = f.open(other, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 900))
		f.ok(s.Close(ctx))
		s = f.open(other, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 901))
		f.wantQuota(s.Close(ctx), QuotaBytes)
		f.put(s, "k", strings.Repeat("y", 100))
		f.ok(s.Close(ctx))
		s = f.open(big, ReadWrite)
		_, err := s.Remove([]byte("k"))
		f.ok(err)
		f.ok(s.Close(ctx))
		_, n = f.new("k", strings.Repeat("z", 200)) // the smaller sessions left room
		f.ok(n.Close(ctx))
		u, err := f.m.Usage(ctx, "acme")
		f.ok(err)
		if u.Bytes > 500 || u.Bytes < 300 {
			f.Errorf("usage = %d bytes, want 300 to 500", u.Bytes)
		}
	})
}

// TestQuotaAfterFailure: a failed write releases its reservation, and what it left in the store counts.
func TestQuotaAfterFailure(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 1 })
		boom := errors.New("boom")
		f.store.Fail(storagetest.OpPut, boom)
		_, s := f.new("k", "v")
		f.wantErr(s.Close(ctx), ErrStore)
		f.store.Fail(storagetest.OpPut, nil)
		id := f.saved("k", "v") // the failed write takes no room
		f.wantQuota(s.Close(ctx), QuotaSessions)
		f.ok(f.open(id, ReadWrite).Destroy(ctx))
		f.store.Fail(storagetest.OpUsage, boom) // without a known usage the save is refused
		f.wantErr(s.Close(ctx), ErrStore)
		f.store.Fail(storagetest.OpUsage, nil)
		f.ok(s.Close(ctx))
	})
}

// TestQuotaIsExact: of many saves at once, exactly as many succeed as there is room for.
func TestQuotaIsExact(t *testing.T) {
	for _, failing := range []bool{false, true} {
		testManager(t, func(f *fixture) {
			const room, writers = 50, 200
			f.settings(func(s *Settings) { s.MaxSessions = room })
			var puts, failed atomic.Int64
			f.hook(func(op storagetest.Op) error {
				if op == storagetest.OpPut {
					n := puts.Add(1)
					time.Sleep(time.Duration(n%7) * time.Millisecond)
					if failing && n%5 == 0 {
						failed.Add(1)
						return errors.New("boom")
					}
				}
				return nil
			})
			// Create and destroy sessions first, so that the known bound is too high.
			var old []string
			for range room {
				id, s := f.new("k", "v")
				for s.Close(ctx) != nil {
				}
				old = append(old, id)
			}
			for _, id := range old {
				for s := f.open(id, ReadWrite); s.Destroy(ctx) != nil; {
				}
			}
			f.wantUsage(0, 0)
			var saved, refused atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					_, s := f.new("k", "v")
					err := s.Close(ctx)
					for errors.Is(err, ErrStore) {
						err = s.Close(ctx)
					}
					switch {
					case err == nil:
						saved.Add(1)
					case errors.Is(err, ErrQuota):
						refused.Add(1)
						f.ok(s.Abort())
					default:
						f.Error(err)
					}
				})
			}
			wg.Wait()
			if saved.Load() != room || refused.Load() != writers-room {
				f.Errorf("saved = %d, refused = %d, want %d and %d", saved.Load(), refused.Load(), room, writers-room)
			}
			f.wantUsage(room, 0)
		})
	}
}

// TestQuotaWaitsForWrites: a save whose outcome depends on the writes in progress waits for them until its context
// ends.
func TestQuotaWaitsForWrites(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 2 })
		f.saved("k", "v")
		done := make(chan struct{})
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				<-done // written and counted, but not acknowledged yet
			}
			return nil
		})
		first := f.saveAsync()
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		f.m.accounts.of("acme").known = false // as after a sweep: only the store has the usage
		closed := make(chan error, 2)
		_, s := f.new("k", "v")
		ended, stop := context.WithCancel(ctx)
		_, t := f.new("k", "v")
		go func() { closed <- t.Close(ended) }()
		synctest.Wait()
		stop()
		synctest.Wait()
		f.wantErr(<-closed, context.Canceled)
		f.ok(t.Abort())
		go func() { closed <- s.Close(ctx) }()
		synctest.Wait()
		select {
		case err := <-closed:
			f.Fatalf("close returned %v before the usage was exact", err)
		default:
		}
		close(done)
		f.ok(<-first)
		f.ok(<-closed)
		f.wantUsage(3, 0)
	})
}

// saveAsync starts to save a new session.
func (f *fixture) saveAsync() chan error {
	_, s := f.new("k", "v")
	closed := make(chan error, 1)
	go func() { closed <- s.Close(ctx) }()
	synctest.Wait()
	return closed
}

// TestQuotaAndSweep: an expired session counts until it is swept. A refusal hastens the sweep.
func TestQuotaAndSweep(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		sctx, stop := context.WithCancel(ctx)
		go f.m.Sweep(sctx, SweepOptions{Interval: time.Hour, Batch: 2})
		for range 3 {
			f.saved("k", "v")
		}
		sleep(25 * time.Minute)
		_, s := f.new("k", "v")
		f.wantQuota(s.Close(ctx), QuotaSessions)
		sleep(sweepGap)
		f.ok(s.Close(ctx))
		f.wantUsage(1, 0)

		// A session that expired and was swept while it was open counts as a new one.
		id := f.saved("k", "v")
		l := f.open(id, ReadWrite)
		f.saved("k", "v")
		sleep(25 * time.Minute)
		_, s = f.new("k", "v")
		f.wantQuota(s.Close(ctx), QuotaSessions)
		sleep(sweepGap)
		f.wantUsage(0, 0)
		f.ok(s.Close(ctx))
		f.saved("k", "v")
		f.saved("k", "v")
		f.put(l, "k", "w")
		f.wantQuota(l.Close(ctx), QuotaSessions)
		f.ok(l.Abort())
		stop()
		synctest.Wait()
	})
}

func TestQuotaOfWaiters(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxWaiters = 2 })
		one, two := f.saved("k", "v"), f.saved("k", "v")
		a, b := f.open(one, ReadWrite), f.open(two, ReadWrite)
		p, q := f.openAsync(one, ReadWrite, time.Minute), f.openAsync(two, Read, time.Second)
		f.wantUsage(2, 2)
		for _, id := range []string{one, two} {
			r := f.openAsync(id, ReadWrite, time.Minute)
			synctest.Wait()
			f.wantQuota(r.err, QuotaWaiters)
		}
		f.equal("refusals", f.count(QuotaRefused), 2)
		f.wantRefused(one, ErrLockTimeout, ReadWrite) // an open without a wait is not affected
		f.tenant = &Tenant{Name: "other", Settings: f.tenant.Settings}
		third := f.saved("k", "v")
		c := f.open(third, ReadWrite)
		r := f.openAsync(third, ReadWrite, time.Minute) // another tenant is not affected
		f.wantUsage(1, 1)
		f.tenant = &Tenant{Name: "acme", Settings: f.tenant.Settings}
		sleep(time.Second)
		q.wantErr(ErrLockTimeout)
		f.wantUsage(2, 1)
		cancelled, cancel := context.WithCancel(ctx)
		v := f.openAsyncWith(cancelled, two, OpenOptions{Mode: Update, Wait: time.Minute})
		f.wantUsage(2, 2)
		cancel()
		v.wantErr(context.Canceled)
		f.wantUsage(2, 1)
		f.ok(a.Close(ctx))
		f.wantUsage(2, 0)
		w := f.openAsync(two, Update, time.Minute)
		moved, err := b.Regenerate(ctx, time.Minute) // the waiters move as well
		f.ok(err)
		f.wantUsage(2, 1)
		f.ok(b.Close(ctx))
		f.equal("id", w.session().key.ID, Hash([]byte(moved)))
		f.wantUsage(2, 0)
		f.ok(w.session().Close(ctx))
		f.ok(p.session().Close(ctx))
		f.ok(c.Close(ctx))
		f.ok(r.session().Close(ctx))
	})
}

// TestQuotaWithoutMeter: with a store that is not a Meter, quotas refuse every new session.
func TestQuotaWithoutMeter(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.m = NewManager(storeOnly{memory.New(memory.Options{})}, Options{})
		id := f.saved("k", "v")
		u, err := f.m.Usage(ctx, "acme")
		f.wantErr(err, errors.ErrUnsupported)
		f.equal("waiters", u.Waiters, int64(0))
		f.settings(func(s *Settings) { s.MaxSessions = 100 })
		_, s := f.new("k", "v")
		f.wantErr(s.Close(ctx), ErrStore)
		f.ok(s.Abort())
		s = f.open(id, ReadWrite)
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		_, err = f.m.DropTenant(ctx, "acme")
		f.wantErr(err, errors.ErrUnsupported)
	})
}
