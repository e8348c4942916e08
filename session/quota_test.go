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

// over fails unless err is of this quota, and fit for a client.
func (f *fixture) over(err error, quota Quota) {
	f.Helper()
	var q *QuotaError
	if !errors.Is(err, ErrQuota) || !errors.As(err, &q) || q.Quota != quota {
		f.Fatalf("the error is %v, should be of the quota %s", err, quota)
	}
	if text := err.Error(); !strings.Contains(text, fmt.Sprint(q.Limit)) || strings.Contains(text, f.tenant.Name) {
		f.Errorf("the error is %q", text)
	}
}

// uses fails unless the tenant has so many sessions and, in all, those that wait.
func (f *fixture) uses(sessions, waiters int64) {
	f.Helper()
	u, err := f.m.Usage(ctx, f.tenant.Name)
	f.ok(err)
	if u.Sessions != sessions || u.Waiters != waiters {
		f.Fatalf("the tenant uses %+v, should have %d sessions and %d waiters", u, sessions, waiters)
	}
}

func TestQuotaOfSessions(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 2 })
		first, second := f.saved("k", "1"), f.saved("k", "2")
		_, s := f.new("k", "3") // counts for nothing until it is saved
		f.uses(2, 0)
		f.over(s.Commit(ctx), QuotaSessions)
		f.over(s.Close(ctx), QuotaSessions)
		f.has(s, "k", "3") // nothing is lost but time
		f.equal("refusals", f.count(QuotaRefused), 2)
		f.uses(2, 0)

		// Live sessions go on.
		l := f.open(first, ReadWrite)
		f.put(l, "more", strings.Repeat("x", 1000))
		f.ok(l.Commit(ctx))
		l = f.open(second, ReadWrite)
		moved, err := l.Regenerate(ctx, time.Minute) // an alias counts for nothing
		f.ok(err)
		f.ok(l.Close(ctx))
		f.uses(2, 0)
		f.over(s.Close(ctx), QuotaSessions)

		// A slot that is free is found at once; the id that is burnt takes none.
		f.ok(f.open(moved, ReadWrite).Destroy(ctx))
		f.ok(s.Close(ctx))
		f.uses(2, 0)

		// Under a lower quota nothing is evicted.
		f.settings(func(s *Settings) { s.MaxSessions = 1 })
		l = f.open(first, ReadWrite)
		f.put(l, "evenmore", "x")
		f.ok(l.Close(ctx))
		_, s = f.new()
		f.over(s.Close(ctx), QuotaSessions)
		f.ok(s.Abort())
		f.uses(2, 0)

		// And without one there is room.
		f.settings(func(s *Settings) {})
		f.saved("k", "v")
		f.uses(3, 0)
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		_, s = f.new()
		f.over(s.Close(ctx), QuotaSessions)
		f.ok(s.Abort())
	})
}

func TestQuotaOfBytes(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxTotalBytes = 2000 })
		big := f.saved("k", strings.Repeat("x", 900))
		other := f.saved("k", strings.Repeat("x", 900))
		s := f.open(big, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 1200))
		f.over(s.Close(ctx), QuotaBytes)
		f.holds(big, "k", strings.Repeat("x", 900))
		f.refused(big, ErrLockTimeout, ReadWrite) // the lock is still there, for another attempt
		f.put(s, "k", strings.Repeat("y", 950))
		f.ok(s.Close(ctx))
		f.holds(big, "k", strings.Repeat("y", 950))
		_, n := f.new("k", strings.Repeat("z", 200))
		f.over(n.Close(ctx), QuotaBytes)
		f.ok(n.Abort())

		// Over the quota, a session may stay as it is or shrink.
		f.settings(func(s *Settings) { s.MaxTotalBytes = 500 })
		s = f.open(other, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 900))
		f.ok(s.Close(ctx))
		s = f.open(other, ReadWrite)
		f.put(s, "k", strings.Repeat("y", 901))
		f.over(s.Close(ctx), QuotaBytes)
		f.put(s, "k", strings.Repeat("y", 100))
		f.ok(s.Close(ctx))
		s = f.open(big, ReadWrite)
		_, err := s.Remove([]byte("k"))
		f.ok(err)
		f.ok(s.Close(ctx))
		_, n = f.new("k", strings.Repeat("z", 200)) // what shrunk has made room
		f.ok(n.Close(ctx))
		u, err := f.m.Usage(ctx, "acme")
		f.ok(err)
		if u.Bytes > 500 || u.Bytes < 300 {
			f.Errorf("the tenant uses %d bytes", u.Bytes)
		}
	})
}

// A write that failed gives back what it had booked, and what it left counts.
func TestQuotaAfterFailure(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 1 })
		boom := errors.New("boom")
		f.store.Fail(storagetest.OpPut, boom)
		_, s := f.new("k", "v")
		f.is(s.Close(ctx), ErrStore)
		f.store.Fail(storagetest.OpPut, nil)
		id := f.saved("k", "v") // so it is free
		f.over(s.Close(ctx), QuotaSessions)
		f.ok(f.open(id, ReadWrite).Destroy(ctx))
		f.store.Fail(storagetest.OpUsage, boom) // who cannot know says no
		f.is(s.Close(ctx), ErrStore)
		f.store.Fail(storagetest.OpUsage, nil)
		f.ok(s.Close(ctx))
	})
}

// However many save at once, as many succeed as there is room for, and not one fewer.
func TestQuotaIsExact(t *testing.T) {
	for _, failing := range []bool{false, true} {
		play(t, func(f *fixture) {
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
			// What is known before is not true any more.
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
			f.uses(0, 0)
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
				f.Errorf("%d were saved and %d refused; there is room for %d", saved.Load(), refused.Load(), room)
			}
			f.uses(room, 0)
		})
	}
}

// One who cannot be told yet waits for those who are writing, as long as its context lets it.
func TestQuotaWaitsForWrites(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 2 })
		f.saved("k", "v")
		done := make(chan struct{})
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				<-done // written and counted, and not answered yet
			}
			return nil
		})
		gone := f.saved0()
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		f.m.accounts.of("acme").known = false // as after a sweep: all that can be known is what the store says
		closed := make(chan error, 2)
		_, s := f.new("k", "v")
		ended, stop := context.WithCancel(ctx)
		_, t := f.new("k", "v")
		go func() { closed <- t.Close(ended) }()
		synctest.Wait()
		stop()
		synctest.Wait()
		f.is(<-closed, context.Canceled)
		f.ok(t.Abort())
		go func() { closed <- s.Close(ctx) }()
		synctest.Wait()
		select {
		case err := <-closed:
			f.Fatalf("the answer is %v while it cannot be known", err)
		default:
		}
		close(done)
		f.ok(<-gone)
		f.ok(<-closed)
		f.uses(3, 0)
	})
}

// saved0 begins to save a new session.
func (f *fixture) saved0() chan error {
	_, s := f.new("k", "v")
	closed := make(chan error, 1)
	go func() { closed <- s.Close(ctx) }()
	synctest.Wait()
	return closed
}

// A session that has expired counts until it is swept, which a refusal hastens.
func TestQuotaAndSweep(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxSessions = 3 })
		sctx, stop := context.WithCancel(ctx)
		go f.m.Sweep(sctx, SweepOptions{Interval: time.Hour, Batch: 2})
		for range 3 {
			f.saved("k", "v")
		}
		sleep(25 * time.Minute)
		_, s := f.new("k", "v")
		f.over(s.Close(ctx), QuotaSessions)
		sleep(sweepGap)
		f.ok(s.Close(ctx))
		f.uses(1, 0)

		// One that expires while it is open, and is swept, has lost its place.
		id := f.saved("k", "v")
		l := f.open(id, ReadWrite)
		f.saved("k", "v")
		sleep(25 * time.Minute)
		_, s = f.new("k", "v")
		f.over(s.Close(ctx), QuotaSessions)
		sleep(sweepGap)
		f.uses(0, 0)
		f.ok(s.Close(ctx))
		f.saved("k", "v")
		f.saved("k", "v")
		f.put(l, "k", "w")
		f.over(l.Close(ctx), QuotaSessions)
		f.ok(l.Abort())
		stop()
		synctest.Wait()
	})
}

func TestQuotaOfWaiters(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.MaxWaiters = 2 })
		one, two := f.saved("k", "v"), f.saved("k", "v")
		a, b := f.open(one, ReadWrite), f.open(two, ReadWrite)
		p, q := f.later(one, ReadWrite, time.Minute), f.later(two, Read, time.Second)
		f.uses(2, 2)
		for _, id := range []string{one, two} {
			r := f.later(id, ReadWrite, time.Minute)
			synctest.Wait()
			f.over(r.err, QuotaWaiters)
		}
		f.equal("refusals", f.count(QuotaRefused), 2)
		f.refused(one, ErrLockTimeout, ReadWrite) // who does not wait is not concerned
		f.tenant = &Tenant{Name: "other", Settings: f.tenant.Settings}
		third := f.saved("k", "v")
		c := f.open(third, ReadWrite)
		r := f.later(third, ReadWrite, time.Minute) // nor are others
		f.uses(1, 1)
		f.tenant = &Tenant{Name: "acme", Settings: f.tenant.Settings}
		sleep(time.Second)
		q.refused(ErrLockTimeout)
		f.uses(2, 1)
		gone, leave := context.WithCancel(ctx)
		v := f.laterWith(gone, two, OpenOptions{Mode: Update, Wait: time.Minute})
		f.uses(2, 2)
		leave()
		v.refused(context.Canceled)
		f.uses(2, 1)
		f.ok(a.Close(ctx))
		f.uses(2, 0)
		w := f.later(two, Update, time.Minute)
		moved, err := b.Regenerate(ctx, time.Minute) // who waits goes along
		f.ok(err)
		f.uses(2, 1)
		f.ok(b.Close(ctx))
		f.equal("the place", w.session().key.ID, Hash([]byte(moved)))
		f.uses(2, 0)
		f.ok(w.session().Close(ctx))
		f.ok(p.session().Close(ctx))
		f.ok(c.Close(ctx))
		f.ok(r.session().Close(ctx))
	})
}

// A store that does not count keeps no quotas: they refuse.
func TestQuotaWithoutMeter(t *testing.T) {
	play(t, func(f *fixture) {
		f.m = NewManager(plain{memory.New(memory.Options{})}, Options{})
		id := f.saved("k", "v")
		u, err := f.m.Usage(ctx, "acme")
		f.is(err, errors.ErrUnsupported)
		f.equal("waiters", u.Waiters, int64(0))
		f.settings(func(s *Settings) { s.MaxSessions = 100 })
		_, s := f.new("k", "v")
		f.is(s.Close(ctx), ErrStore)
		f.ok(s.Abort())
		s = f.open(id, ReadWrite)
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		_, err = f.m.DropTenant(ctx, "acme")
		f.is(err, errors.ErrUnsupported)
	})
}
