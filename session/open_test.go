package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func TestParseMode(t *testing.T) {
	for name, want := range map[string]Mode{"rw": ReadWrite, "w": ReadWrite, "u": Update, "r": Read, "s": Snapshot} {
		if got, err := ParseMode([]byte(name)); err != nil || got != want {
			t.Errorf("ParseMode(%q) = %v, %v, want %v", name, got, err, want)
		}
		if got, _ := ParseMode([]byte(want.String())); got != want {
			t.Errorf("ParseMode(%q) = %v, want %v", want, got, want)
		}
	}
	for _, name := range []string{"", "x", "RW", "rw "} {
		if _, err := ParseMode([]byte(name)); !errors.Is(err, ErrBadMode) {
			t.Errorf("ParseMode(%q): error = %v, want %v", name, err, ErrBadMode)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		id string
		ok bool
	}{
		{strings.Repeat("a", 15), false},
		{strings.Repeat("a", 16), true},
		{strings.Repeat("a", 256), true},
		{strings.Repeat("a", 257), false},
		{"", false},
		{"!" + strings.Repeat("~", 15), true},
		{"an id with spaces", false},
		{"an-id-with-DEL-\x7f", false},
		{"an-id-with-UTF-8-\u00e4", false},
		{"an-id-with-NUL-\x00", false},
	} {
		if err := CheckID([]byte(c.id)); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadID) {
			t.Errorf("CheckID(%q) = %v, want ok %t", c.id, err, c.ok)
		}
	}
	testManager(t, func(f *fixture) {
		f.wantRefused("short", ErrBadID)
		f.equal("reads", f.operations(storagetest.OpGet), 0)
	})
}

func TestNew(t *testing.T) {
	testManager(t, func(f *fixture) {
		ids := map[string]bool{}
		for range 100 {
			id, s := f.new()
			if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || CheckID([]byte(id)) != nil || ids[id] {
				t.Errorf("invalid or duplicate id %q", id)
			}
			ids[id] = true
			f.ok(s.Abort())
		}
		f.equal("writes", f.operations(storagetest.OpPut), 0)
	})
}

func TestNewSessionIsAbsentBeforeTheFirstSave(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
		f.wantRefused(id, ErrLockTimeout, ReadWrite)
		f.openAsync(id, Update, time.Second).wantErr(ErrNotFound) // without a wait
		f.openAsync(id, Read, time.Second).wantErr(ErrNotFound)
		waiter := f.openAsync(id, ReadWrite, time.Second)
		waiter.wantWaiting()
		f.ok(s.Close(ctx))
		f.wantValues(waiter.session(), "k", "v")
		f.ok(waiter.s.Close(ctx))
	})
}

func TestAbortedNewSessionLeavesNothing(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		waiter := f.openAsync(id, ReadWrite, time.Second)
		f.ok(s.Abort())
		f.wantValues(waiter.session())
		f.ok(waiter.s.Abort())
		f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
	})
}

func TestModes(t *testing.T) {
	testManager(t, func(f *fixture) {
		for _, mode := range []Mode{Update, Read, Snapshot} {
			f.wantRefused(unusedID, ErrNotFound, mode)
		}
		s := f.open(unusedID, ReadWrite)
		f.put(s, "k", "v")
		f.ok(s.Close(ctx))
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(unusedID, mode)
			f.equal("mode", s.Mode(), mode)
			f.wantValues(s, "k", "v")
			err := s.Put([]byte("k"), []byte("v"))
			if mode.Exclusive() {
				f.ok(err)
			} else {
				f.wantErr(err, ErrReadOnly)
				for name, err := range map[string]error{
					"commit": s.Commit(ctx), "destroy": s.Destroy(ctx), "expire": s.Expire([]byte("k"), 0),
					"lifetime": s.SetLifetime(time.Minute), "replace": s.Replace(nil), "put many": s.PutMany(nil),
				} {
					if !errors.Is(err, ErrReadOnly) {
						t.Errorf("%s in mode %v: error = %v, want %v", name, mode, err, ErrReadOnly)
					}
				}
				_, err = s.Remove([]byte("k"))
				f.wantErr(err, ErrReadOnly)
				_, err = s.Regenerate(ctx, 0)
				f.wantErr(err, ErrReadOnly)
			}
			f.ok(s.Close(ctx))
			f.equal("ended", s.Ended(), true)
			f.wantErr(s.Close(ctx), ErrClosed)
		}
	})
}

// TestModesSideBySide opens a session in each mode while it is open in each mode.
func TestModesSideBySide(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved()
		modes := []Mode{ReadWrite, Update, Read, Snapshot}
		for _, first := range modes {
			for _, second := range modes {
				s := f.open(id, first)
				other, err := f.try(id, second, 0)
				var want error
				if first != Snapshot && second != Snapshot && (first != Read || second != Read) {
					want = ErrLockTimeout
				}
				if !errors.Is(err, want) {
					t.Errorf("mode %v while open in mode %v: error = %v, want %v", second, first, err, want)
				}
				if other != nil {
					f.ok(other.Abort())
				}
				f.ok(s.Abort())
			}
		}
	})
}

func TestStrictTenantCreatesNothing(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.Strict = true })
		f.wantRefused(unusedID, ErrNotFound)
		id, s := f.new("k", "v") // only New creates a session
		first, second := f.openAsync(id, ReadWrite, time.Second), f.openAsync(id, ReadWrite, time.Second)
		f.ok(s.Close(ctx))
		f.wantValues(first.session(), "k", "v")
		f.ok(first.s.Destroy(ctx))
		second.wantErr(ErrNotFound)
	})
}

func TestTenantsAreIsolated(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		other := *f.tenant
		other.Name = "other"
		_, err := f.m.Open(ctx, &other, []byte(id), OpenOptions{Mode: Update})
		f.wantErr(err, ErrNotFound)
		s := f.open(id, ReadWrite)
		otherSession, err := f.m.Open(ctx, &other, []byte(id), OpenOptions{}) // no wait for the other tenant
		f.ok(err)
		f.wantValues(otherSession)
		f.ok(otherSession.Close(ctx))
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "v")
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	testManager(t, func(f *fixture) {
		// The reads of a waiting open take ever less time; the order is still that of arrival.
		delay := 50 * time.Millisecond
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				delay -= 10 * time.Millisecond
				time.Sleep(delay)
			}
			return nil
		})
		id := f.saved()
		s := f.open(id, ReadWrite)
		var waiters []*pending
		for range 3 {
			waiters = append(waiters, f.openAsync(id, Update, time.Minute))
		}
		last := f.openAsync(id, ReadWrite, time.Minute)
		f.ok(s.Close(ctx))
		for _, w := range append(waiters, last) {
			sleep(time.Second)
			f.ok(w.session().Close(ctx))
		}
	})
}

func TestWaitZeroNeverWaits(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		start := time.Now()
		f.wantRefused(id, ErrLockTimeout, ReadWrite, Update, Read)
		f.equal("wait", time.Since(start), time.Duration(0))
		f.equal("time-outs", f.count(LockTimedOut), 3)
		sleep(f.tenant.Settings.LockLease)
		f.ok(f.open(id, ReadWrite).Close(ctx)) // the lease is over, so no wait is needed
		f.wantErr(s.Close(ctx), ErrLockLost)
	})
}

// TestWaitZeroDelaysNoOtherClient: an open without a wait does not delay other clients while it reads the store.
func TestWaitZeroDelaysNoOtherClient(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		first := f.open(id, Read)
		var delay time.Duration
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				time.Sleep(delay)
			}
			return nil
		})
		delay = time.Second
		p := f.openAsync(id, ReadWrite, 0)
		delay = 0
		second := f.open(id, Read)
		sleep(time.Second)
		p.wantErr(ErrLockTimeout)
		f.ok(first.Close(ctx))
		f.ok(second.Close(ctx))
	})
}

// TestWaitZeroOnAnIDThatIsBeingFollowed: the lock of an alias or a tombstone is held for a moment by a client that
// reads the record. That must not be mistaken for a locked session.
func TestWaitZeroOnAnIDThatIsBeingFollowed(t *testing.T) {
	testManager(t, func(f *fixture) {
		old, destroyed := f.saved("k", "v"), f.saved("k", "v")
		f.ok(f.open(destroyed, ReadWrite).Destroy(ctx))
		s := f.open(old, ReadWrite)
		f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		var delay time.Duration
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				time.Sleep(delay)
			}
			return nil
		})
		delay = time.Second
		moved, absent := f.openAsync(old, ReadWrite, 0), f.openAsync(destroyed, ReadWrite, 0)
		delay = 0
		f.wantRefused(destroyed, ErrNotFound)
		s = f.open(old, ReadWrite)
		f.wantValues(s, "k", "v")
		f.ok(s.Close(ctx))
		sleep(2 * time.Second)
		absent.wantErr(ErrNotFound)
		f.ok(moved.session().Close(ctx))
	})
}

func TestWaitEndsInTime(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		p := f.openAsync(id, Read, 5*time.Second)
		next := f.openAsync(id, ReadWrite, time.Minute)
		sleep(5*time.Second - 1)
		p.wantWaiting()
		sleep(1)
		p.wantErr(ErrLockTimeout)
		f.equal("time-outs", f.count(LockTimedOut), 1)
		f.ok(s.Close(ctx))
		f.ok(next.session().Close(ctx)) // the waiter that timed out is skipped
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Waited != 5*time.Second && (e.Kind == LockTimedOut || e.Kind == LockGranted && e.Waited != 0) {
				t.Errorf("%v after %v", e.Kind, e.Waited)
			}
		}
	})
}

// TestLockGrantedAtTheDeadlineIsKept: the lock is granted in the instant in which the wait ends. If its holder has
// lost the lock, the waiter must have it.
func TestLockGrantedAtTheDeadlineIsKept(t *testing.T) {
	for range 20 {
		testManager(t, func(f *fixture) {
			id := f.saved()
			s := f.open(id, ReadWrite)
			p := f.openAsync(id, ReadWrite, f.tenant.Settings.LockLease)
			sleep(f.tenant.Settings.LockLease)
			_, err := s.Len()
			if p.waits() {
				t.Fatal("open still waits")
			}
			if (p.err == nil) != errors.Is(err, ErrLockLost) {
				t.Errorf("error of the waiter = %v, of the holder = %v; want exactly one", p.err, err)
			}
			if p.err == nil {
				f.ok(p.s.Abort())
			} else {
				f.ok(s.Abort())
			}
		})
	}
}

func TestCancelledWaiterLeavesTheQueue(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		errPeerLeft := errors.New("the peer left")
		cctx, cancel := context.WithCancelCause(ctx)
		p := f.openAsyncWith(cctx, id, OpenOptions{Wait: time.Minute})
		next := f.openAsync(id, ReadWrite, time.Minute)
		p.wantWaiting()
		cancel(errPeerLeft)
		p.wantErr(errPeerLeft)
		f.ok(s.Close(ctx))
		f.ok(next.session().Close(ctx))
	})
}

func TestOnWait(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved()
		errPeerLeft := errors.New("the peer left")
		calls, stops := 0, 0
		var cancel context.CancelCauseFunc
		opts := OpenOptions{Wait: time.Minute, OnWait: func(ctx context.Context) (context.Context, func()) {
			calls++
			ctx, cancel = context.WithCancelCause(ctx)
			return ctx, func() { stops++; cancel(nil) }
		}}
		s := f.openAsyncWith(ctx, id, opts).session()
		f.equal("calls without a wait", calls, 0)
		p := f.openAsyncWith(ctx, id, opts)
		p.wantWaiting()
		f.equal("calls", calls, 1)
		cancel(errPeerLeft)
		p.wantErr(errPeerLeft)
		f.equal("stops", stops, 1)
		p = f.openAsyncWith(ctx, id, opts)
		f.ok(s.Close(ctx))
		f.ok(p.session().Close(ctx)) // the context of OnWait ends only the wait
		f.equal("stops", stops, 2)
	})
}

func TestSnapshotReadsTheLastSavedState(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "old")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "new")
		snap := f.open(id, Snapshot)
		f.wantValues(snap, "k", "old")
		f.ok(s.Close(ctx))
		f.wantValues(snap, "k", "old") // a snapshot does not change
		f.ok(snap.Close(ctx))
		snap = f.open(id, Snapshot)
		f.wantValues(snap, "k", "new")
		f.ok(snap.Abort())
	})
}

func TestSnapshotFollowsAMovingSession(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(f.tenant.Settings.Lifetime / 2) // so that a touch is due
		f.afterGet(func() {
			f.regenerate(s, time.Minute)
			f.ok(s.Abort())
		})
		snap := f.open(id, Snapshot)
		f.wantValues(snap, "k", "v")
		f.ok(snap.Close(ctx))
	})
}

// TestDamagedRecord: a damaged record counts as absent. A client can create a new session under the same id where
// the tenant allows that, and destroy it.
func TestDamagedRecord(t *testing.T) {
	damage := fmt.Errorf("%w: torn", storage.ErrCorrupt)
	for _, strict := range []bool{false, true} {
		testManager(t, func(f *fixture) {
			f.settings(func(s *Settings) { s.Strict = strict })
			_, saved := f.new("k", "v")
			f.ok(saved.Close(ctx))
			id := f.saved("k", "v")
			f.store.Fail(storagetest.OpGet, damage)
			f.wantRefused(id, ErrNotFound, Read, Snapshot)
			f.equal("deletes by readers", f.operations(storagetest.OpDelete), 0)
			f.wantRefused(id, ErrNotFound, Update)
			f.equal("deletes", f.operations(storagetest.OpDelete), 1)
			f.equal("events", f.count(Damaged), 3)
			if strict {
				f.wantRefused(id, ErrNotFound, ReadWrite)
				return
			}
			s := f.open(id, ReadWrite)
			f.wantValues(s)
			f.store.Fail(storagetest.OpGet, nil)
			f.put(s, "k", "new")
			f.ok(s.Close(ctx))
			f.wantSaved(id, "k", "new")
			f.store.Fail(storagetest.OpGet, damage)
			s = f.open(id, ReadWrite)
			f.store.Fail(storagetest.OpGet, nil)
			f.ok(s.Destroy(ctx))
			f.wantRefused(id, ErrNotFound, ReadWrite, Update, Read, Snapshot)
		})
	}
}

// TestDamagedRecordThatCannotBeDeleted: a damaged record that cannot be deleted is a failure of the store.
func TestDamagedRecordThatCannotBeDeleted(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		broken := errors.New("broken")
		f.store.Fail(storagetest.OpGet, storage.ErrCorrupt)
		f.store.Fail(storagetest.OpDelete, broken)
		f.wantRefused(id, broken, ReadWrite, Update)
		f.wantRefused(id, ErrStore, ReadWrite, Update)
		f.wantRefused(id, ErrNotFound, Read)
	})
}

func TestFailingStoreLeavesNoLock(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		broken := errors.New("broken")
		s := f.open(id, ReadWrite)
		f.store.Fail(storagetest.OpGet, broken)
		for _, mode := range []Mode{Update, Read} {
			p := f.openAsync(id, mode, time.Minute)
			p.wantErr(broken)
			p.wantErr(ErrStore)
		}
		f.ok(s.Abort())
		f.wantRefused(id, broken)
		f.wantRefused(id, ErrStore)
		f.store.Fail(storagetest.OpGet, nil)
		sleep(f.tenant.Settings.Lifetime / 2)
		f.store.Fail(storagetest.OpTouch, broken)
		f.wantRefused(id, broken, Read, Snapshot)
		f.store.Fail(storagetest.OpTouch, nil)
		f.ok(f.open(id, Read).Close(ctx))
	})
}

func TestUndecodableRecordIsRefused(t *testing.T) {
	testManager(t, func(f *fixture) {
		key := storage.Key{Tenant: f.tenant.Name, ID: Hash([]byte(unusedID))}
		for _, marker := range []bool{false, true} {
			rec := storage.Record{Data: []byte("nonsense"), Expires: time.Now().Add(time.Hour), Marker: marker}
			f.ok(f.store.Put(ctx, key, rec))
			f.wantRefused(unusedID, errRecord)
		}
	})
}

func TestLeaseEndsBeforeTheSessionIsRead(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Update, Read} {
		t.Run(mode.String(), func(t *testing.T) {
			testManager(t, func(f *fixture) {
				id := f.saved("k", "v")
				sleep(f.tenant.Settings.Lifetime / 2)
				lease := f.tenant.Settings.LockLease
				f.hook(func(op storagetest.Op) error {
					if op == storagetest.OpGet {
						time.Sleep(lease + time.Second)
					}
					return nil
				})
				slow, next := f.openAsync(id, mode, time.Minute), f.openAsync(id, ReadWrite, 2*time.Minute)
				sleep(lease + time.Second)
				slow.wantErr(ErrLockLost)
				f.hook(nil)
				sleep(lease)
				f.wantValues(next.session(), "k", "v")
				f.ok(next.s.Close(ctx))
				f.equal("locks lost", f.count(LockLost), 1)
				f.equal("locks granted", f.count(LockGranted), 3) // to the new session, the slow open and the next one
			})
		})
	}
}
