package session

import (
	"testing"
	"time"
)

func TestDestroySticks(t *testing.T) {
	for name, c := range map[string]struct {
		absolute, burnt time.Duration
	}{
		"without an absolute lifetime": {0, 24 * time.Hour},
		"with one":                     {time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.AbsoluteLifetime = c.absolute })
				id := f.saved("k", "v")
				s := f.open(id, ReadWrite)
				var late []*pending
				for _, mode := range []Mode{ReadWrite, Update, Read} {
					late = append(late, f.later(id, mode, time.Minute))
				}
				f.ok(s.Destroy(ctx))
				for _, p := range late {
					p.refused(ErrNotFound)
				}
				f.refused(id, ErrNotFound)
				sleep(c.burnt - time.Millisecond)
				f.refused(id, ErrNotFound)
				f.later(id, ReadWrite, time.Minute).refused(ErrNotFound)
				sleep(time.Millisecond)
				s = f.open(id, ReadWrite) // free again
				f.has(s)
				f.ok(s.Close(ctx))
				f.equal("destroyed", f.count(Destroyed), 1)
			})
		})
	}
}

// A former holder, that lost the lock to the one who destroyed the session, cannot bring it back.
func TestLateSaveDoesNotUndoDestroy(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "w")
		sleep(f.tenant.Settings.LockLease)
		f.ok(f.open(id, ReadWrite).Destroy(ctx))
		f.is(s.Close(ctx), ErrLockLost)
		f.refused(id, ErrNotFound)
	})
}

// A session that is destroyed between a snapshot's reading and touching it is touched no more.
func TestTouchDoesNotUndoDestroy(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(f.tenant.Settings.Lifetime / 2)
		f.afterGet(func() { f.ok(f.open(id, ReadWrite).Destroy(ctx)) })
		f.refused(id, ErrNotFound, Snapshot)
		f.refused(id, ErrNotFound)
	})
}

func TestDestroyBeforeTheFirstSave(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.ok(s.Destroy(ctx))
		f.refused(id, ErrNotFound)
	})
}

func TestMarkersCountInNoQuota(t *testing.T) {
	play(t, func(f *fixture) {
		id, moved := f.saved("k", "v"), f.saved("k", "v")
		f.ok(f.open(id, ReadWrite).Destroy(ctx))
		s := f.open(moved, ReadWrite)
		_, err := s.Regenerate(ctx, time.Minute)
		f.ok(err)
		f.ok(s.Close(ctx))
		u, err := f.store.Usage(ctx, f.tenant.Name)
		f.ok(err)
		f.equal("sessions", u.Records, int64(1))
	})
}
