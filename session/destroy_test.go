package session

import (
	"testing"
	"time"
)

func TestDestroySticks(t *testing.T) {
	for name, c := range map[string]struct {
		absolute, tombstone time.Duration
	}{
		"without an absolute lifetime": {0, 24 * time.Hour},
		"with one":                     {time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			testManager(t, func(f *fixture) {
				f.settings(func(s *Settings) { s.AbsoluteLifetime = c.absolute })
				id := f.saved("k", "v")
				s := f.open(id, ReadWrite)
				var late []*pending
				for _, mode := range []Mode{ReadWrite, Update, Read} {
					late = append(late, f.openAsync(id, mode, time.Minute))
				}
				f.ok(s.Destroy(ctx))
				for _, p := range late {
					p.wantErr(ErrNotFound)
				}
				f.wantRefused(id, ErrNotFound)
				sleep(c.tombstone - time.Millisecond)
				f.wantRefused(id, ErrNotFound)
				f.openAsync(id, ReadWrite, time.Minute).wantErr(ErrNotFound)
				sleep(time.Millisecond)
				s = f.open(id, ReadWrite) // the tombstone has expired
				f.wantValues(s)
				f.ok(s.Close(ctx))
				f.equal("destroyed", f.count(Destroyed), 1)
			})
		})
	}
}

// TestStrictTombstone checks that a strict tenant keeps a tombstone for as long as a client may still use its id.
func TestStrictTombstone(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.Strict = true })
		id := f.saved("k", "v")
		waiter := f.open(id, ReadWrite)
		late := f.openAsync(id, ReadWrite, WaitMax)
		f.ok(waiter.Destroy(ctx))
		late.wantErr(ErrNotFound)
		f.equal("kept", f.tenant.Settings.tombstoneLifetime(), 5*time.Minute+time.Minute+WaitMax)
		sleep(f.tenant.Settings.tombstoneLifetime())
		f.wantRefused(id, ErrNotFound, ReadWrite, Update, Read)
	})
}

// TestLateSaveDoesNotUndoDestroy: a former holder cannot bring back a session that the next holder destroyed.
func TestLateSaveDoesNotUndoDestroy(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "w")
		sleep(f.tenant.Settings.LockLease)
		f.ok(f.open(id, ReadWrite).Destroy(ctx))
		f.wantErr(s.Close(ctx), ErrLockLost)
		f.wantRefused(id, ErrNotFound)
	})
}

// TestTouchDoesNotUndoDestroy: a session that is destroyed between the reading and the touching of a snapshot is
// not touched.
func TestTouchDoesNotUndoDestroy(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(f.tenant.Settings.Lifetime / 2)
		f.afterGet(func() { f.ok(f.open(id, ReadWrite).Destroy(ctx)) })
		f.wantRefused(id, ErrNotFound, Snapshot)
		f.wantRefused(id, ErrNotFound)
	})
}

func TestDestroyBeforeTheFirstSave(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.ok(s.Destroy(ctx))
		f.wantRefused(id, ErrNotFound)
	})
}

func TestMarkersCountInNoQuota(t *testing.T) {
	testManager(t, func(f *fixture) {
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
