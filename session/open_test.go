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
			t.Errorf("%s is %v, %v", name, got, err)
		}
		if got, _ := ParseMode([]byte(want.String())); got != want {
			t.Errorf("%v is not named as it is read", want)
		}
	}
	for _, name := range []string{"", "x", "RW", "rw "} {
		if _, err := ParseMode([]byte(name)); !errors.Is(err, ErrBadMode) {
			t.Errorf("%q: the error is %v", name, err)
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
		{"a space is no id", false},
		{"nor is a DEL \x7f...", false},
		{"nor is UTF-8 \u00e4...", false},
		{"nor is NUL \x00.....", false},
	} {
		if err := CheckID([]byte(c.id)); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadID) {
			t.Errorf("%q: %v", c.id, err)
		}
	}
	play(t, func(f *fixture) {
		f.refused("short", ErrBadID)
		f.equal("what the store was asked", f.did(storagetest.OpGet), 0)
	})
}

func TestNew(t *testing.T) {
	play(t, func(f *fixture) {
		seen := map[string]bool{}
		for range 100 {
			id, s := f.new()
			if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || CheckID([]byte(id)) != nil || seen[id] {
				t.Errorf("id %q", id)
			}
			seen[id] = true
			f.ok(s.Abort())
		}
		f.equal("what was written", f.did(storagetest.OpPut), 0)
	})
}

func TestNewIsNotThereBeforeTheFirstSave(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.refused(id, ErrNotFound, Update, Read, Snapshot)
		f.refused(id, ErrLockTimeout, ReadWrite)
		f.later(id, Update, time.Second).refused(ErrNotFound) // at once
		f.later(id, Read, time.Second).refused(ErrNotFound)
		waits := f.later(id, ReadWrite, time.Second)
		waits.stillWaits()
		f.ok(s.Close(ctx))
		f.has(waits.session(), "k", "v")
		f.ok(waits.s.Close(ctx))
	})
}

func TestAbortedNewWasNeverThere(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		waits := f.later(id, ReadWrite, time.Second)
		f.ok(s.Abort())
		f.has(waits.session())
		f.ok(waits.s.Abort())
		f.refused(id, ErrNotFound, Update, Read, Snapshot)
	})
}

func TestModes(t *testing.T) {
	play(t, func(f *fixture) {
		for _, mode := range []Mode{Update, Read, Snapshot} {
			f.refused(unknown, ErrNotFound, mode)
		}
		s := f.open(unknown, ReadWrite)
		f.put(s, "k", "v")
		f.ok(s.Close(ctx))
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(unknown, mode)
			f.has(s, "k", "v")
			err := s.Put([]byte("k"), []byte("v"))
			if mode.exclusive() {
				f.ok(err)
			} else {
				f.is(err, ErrReadOnly)
				for what, err := range map[string]error{
					"commit": s.Commit(ctx), "destroy": s.Destroy(ctx), "expire": s.Expire([]byte("k"), 0),
					"lifetime": s.SetLifetime(time.Minute), "replace": s.Replace(nil), "put many": s.PutMany(nil),
				} {
					if !errors.Is(err, ErrReadOnly) {
						t.Errorf("%s in mode %v: %v", what, mode, err)
					}
				}
				_, err = s.Remove([]byte("k"))
				f.is(err, ErrReadOnly)
				_, err = s.Regenerate(ctx, 0)
				f.is(err, ErrReadOnly)
			}
			f.ok(s.Close(ctx))
			f.equal("ended", s.Ended(), true)
			f.is(s.Close(ctx), ErrClosed)
		}
	})
}

// Who may be in a session together: the rows have it open already, the columns come.
func TestModesTogether(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved()
		modes := []Mode{ReadWrite, Update, Read, Snapshot}
		for _, first := range modes {
			for _, second := range modes {
				s := f.open(id, first)
				other, err := f.try(id, second, 0)
				if together := first == Snapshot || second == Snapshot || first == Read && second == Read; together {
					if err != nil {
						t.Errorf("%v beside %v: %v", second, first, err)
					}
				} else if !errors.Is(err, ErrLockTimeout) {
					t.Errorf("%v beside %v: %v", second, first, err)
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
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.Strict = true })
		f.refused(unknown, ErrNotFound)
		id, s := f.new("k", "v") // new does
		waits, aborted := f.later(id, ReadWrite, time.Second), f.later(id, ReadWrite, time.Second)
		f.ok(s.Close(ctx))
		f.has(waits.session(), "k", "v")
		f.ok(waits.s.Destroy(ctx))
		aborted.refused(ErrNotFound)
	})
}

func TestTenantsAreApart(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		other := *f.tenant
		other.Name = "other"
		_, err := f.m.Open(ctx, &other, []byte(id), OpenOptions{Mode: Update})
		f.is(err, ErrNotFound)
		s := f.open(id, ReadWrite)
		theirs, err := f.m.Open(ctx, &other, []byte(id), OpenOptions{}) // nor do they wait for each other
		f.ok(err)
		f.has(theirs)
		f.ok(theirs.Close(ctx))
		f.ok(s.Close(ctx))
		f.holds(id, "k", "v")
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	play(t, func(f *fixture) {
		// What the store is asked while one waits takes time; the order is that of arrival all the same.
		slow := 50 * time.Millisecond
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				slow -= 10 * time.Millisecond
				time.Sleep(slow)
			}
			return nil
		})
		id := f.saved()
		s := f.open(id, ReadWrite)
		var waits []*pending
		for range 3 {
			waits = append(waits, f.later(id, Update, time.Minute))
		}
		last := f.later(id, ReadWrite, time.Minute)
		f.ok(s.Close(ctx))
		for _, w := range append(waits, last) {
			sleep(time.Second)
			f.ok(w.session().Close(ctx))
		}
	})
}

func TestWaitZeroNeverWaits(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		began := time.Now()
		f.refused(id, ErrLockTimeout, ReadWrite, Update, Read)
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
		f.equal("time-outs seen", f.count(LockTimedOut), 3)
		sleep(f.tenant.Settings.LockLease)
		f.ok(f.open(id, ReadWrite).Close(ctx)) // the lease is over, so there is nothing to wait for
		f.is(s.Close(ctx), ErrLockLost)
	})
}

// Who does not wait stands in nobody's way while the store is asked what the id leads to.
func TestWaitZeroDelaysNobody(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		first := f.open(id, Read)
		var slow time.Duration
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				time.Sleep(slow)
			}
			return nil
		})
		slow = time.Second
		p := f.later(id, ReadWrite, 0)
		slow = 0
		second := f.open(id, Read)
		sleep(time.Second)
		p.refused(ErrLockTimeout)
		f.ok(first.Close(ctx))
		f.ok(second.Close(ctx))
	})
}

// The lock of an id that leads elsewhere, or to nothing, is held for the moment in which somebody finds that out.
// That must not be taken for a session that is locked.
func TestWaitZeroOnAnIDThatIsBeingFollowed(t *testing.T) {
	play(t, func(f *fixture) {
		old, burnt := f.saved("k", "v"), f.saved("k", "v")
		f.ok(f.open(burnt, ReadWrite).Destroy(ctx))
		s := f.open(old, ReadWrite)
		f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		var slow time.Duration
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpGet {
				time.Sleep(slow)
			}
			return nil
		})
		slow = time.Second
		follows, finds := f.later(old, ReadWrite, 0), f.later(burnt, ReadWrite, 0)
		slow = 0
		f.refused(burnt, ErrNotFound)
		s = f.open(old, ReadWrite)
		f.has(s, "k", "v")
		f.ok(s.Close(ctx))
		sleep(2 * time.Second)
		finds.refused(ErrNotFound)
		f.ok(follows.session().Close(ctx))
	})
}

func TestWaitEndsInTime(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		p := f.later(id, Read, 5*time.Second)
		next := f.later(id, ReadWrite, time.Minute)
		sleep(5*time.Second - 1)
		p.stillWaits()
		sleep(1)
		p.refused(ErrLockTimeout)
		f.equal("time-outs seen", f.count(LockTimedOut), 1)
		f.ok(s.Close(ctx))
		f.ok(next.session().Close(ctx)) // who gave up is skipped
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Waited != 5*time.Second && (e.Kind == LockTimedOut || e.Kind == LockGranted && e.Waited != 0) {
				t.Errorf("%v after %v", e.Kind, e.Waited)
			}
		}
	})
}

// The lock is got and the time is up in the same instant: whoever took the lock from its holder must use it.
func TestLockGotInTheLastInstantIsKept(t *testing.T) {
	for range 20 {
		play(t, func(f *fixture) {
			id := f.saved()
			s := f.open(id, ReadWrite)
			p := f.later(id, ReadWrite, f.tenant.Settings.LockLease)
			sleep(f.tenant.Settings.LockLease)
			_, err := s.Len()
			if p.waits() {
				t.Fatal("it waits still")
			}
			if (p.err == nil) != errors.Is(err, ErrLockLost) {
				t.Errorf("the waiter got %v, but the holder %v", p.err, err)
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
	play(t, func(f *fixture) {
		id := f.saved()
		s := f.open(id, ReadWrite)
		gone := errors.New("the peer left")
		cctx, cancel := context.WithCancelCause(ctx)
		p := f.laterWith(cctx, id, OpenOptions{Wait: time.Minute})
		next := f.later(id, ReadWrite, time.Minute)
		p.stillWaits()
		cancel(gone)
		p.refused(gone)
		f.ok(s.Close(ctx))
		f.ok(next.session().Close(ctx))
	})
}

func TestOnWait(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved()
		gone := errors.New("the peer left")
		calls, stops := 0, 0
		var cancel context.CancelCauseFunc
		opts := OpenOptions{Wait: time.Minute, OnWait: func(ctx context.Context) (context.Context, func()) {
			calls++
			ctx, cancel = context.WithCancelCause(ctx)
			return ctx, func() { stops++; cancel(nil) }
		}}
		s := f.laterWith(ctx, id, opts).session()
		f.equal("calls without a wait", calls, 0)
		p := f.laterWith(ctx, id, opts)
		p.stillWaits()
		f.equal("calls", calls, 1)
		cancel(gone)
		p.refused(gone)
		f.equal("stops", stops, 1)
		p = f.laterWith(ctx, id, opts)
		f.ok(s.Close(ctx))
		f.ok(p.session().Close(ctx)) // the context that OnWait gave is for the wait only
		f.equal("stops", stops, 2)
	})
}

func TestSnapshotReadsWhatWasSavedLast(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "old")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "new")
		snap := f.open(id, Snapshot)
		f.has(snap, "k", "old")
		f.ok(s.Close(ctx))
		f.has(snap, "k", "old") // it stays what it was
		f.ok(snap.Close(ctx))
		snap = f.open(id, Snapshot)
		f.has(snap, "k", "new")
		f.ok(snap.Abort())
	})
}

func TestSnapshotFollowsASessionThatMovesMeanwhile(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(f.tenant.Settings.Lifetime / 2) // so that touching is due
		f.afterGet(func() {
			f.regenerate(s, time.Minute)
			f.ok(s.Abort())
		})
		snap := f.open(id, Snapshot)
		f.has(snap, "k", "v")
		f.ok(snap.Close(ctx))
	})
}

// A record that is damaged is as good as absent: its visitor can begin anew under the same id where the tenant allows that, and destroy what is there.
func TestDamagedRecord(t *testing.T) {
	damage := fmt.Errorf("%w: torn", storage.ErrCorrupt)
	for _, strict := range []bool{false, true} {
		play(t, func(f *fixture) {
			f.settings(func(s *Settings) { s.Strict = strict })
			_, saved := f.new("k", "v")
			f.ok(saved.Close(ctx))
			id := f.saved("k", "v")
			f.store.Fail(storagetest.OpGet, damage)
			f.refused(id, ErrNotFound, Read, Snapshot)
			f.equal("what is deleted by readers", f.did(storagetest.OpDelete), 0)
			f.refused(id, ErrNotFound, Update)
			f.equal("what is deleted", f.did(storagetest.OpDelete), 1)
			f.equal("events", f.count(Damaged), 3)
			if strict {
				f.refused(id, ErrNotFound, ReadWrite)
				return
			}
			s := f.open(id, ReadWrite)
			f.has(s)
			f.store.Fail(storagetest.OpGet, nil)
			f.put(s, "k", "new")
			f.ok(s.Close(ctx))
			f.holds(id, "k", "new")
			f.store.Fail(storagetest.OpGet, damage)
			s = f.open(id, ReadWrite)
			f.store.Fail(storagetest.OpGet, nil)
			f.ok(s.Destroy(ctx))
			f.refused(id, ErrNotFound, ReadWrite, Update, Read, Snapshot)
		})
	}
}

// A damaged record that cannot be removed is a failure of the store.
func TestDamagedRecordThatStays(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		broken := errors.New("broken")
		f.store.Fail(storagetest.OpGet, storage.ErrCorrupt)
		f.store.Fail(storagetest.OpDelete, broken)
		f.refused(id, broken, ReadWrite, Update)
		f.refused(id, ErrStore, ReadWrite, Update)
		f.refused(id, ErrNotFound, Read)
	})
}

func TestStoreThatFailsLeavesNoLock(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		broken := errors.New("broken")
		s := f.open(id, ReadWrite)
		f.store.Fail(storagetest.OpGet, broken)
		for _, mode := range []Mode{Update, Read} {
			p := f.later(id, mode, time.Minute)
			p.refused(broken)
			p.refused(ErrStore)
		}
		f.ok(s.Abort())
		f.refused(id, broken)
		f.refused(id, ErrStore)
		f.store.Fail(storagetest.OpGet, nil)
		sleep(f.tenant.Settings.Lifetime / 2)
		f.store.Fail(storagetest.OpTouch, broken)
		f.refused(id, broken, Read, Snapshot)
		f.store.Fail(storagetest.OpTouch, nil)
		f.ok(f.open(id, Read).Close(ctx))
	})
}

func TestUndecodableRecordIsRefused(t *testing.T) {
	play(t, func(f *fixture) {
		key := storage.Key{Tenant: f.tenant.Name, ID: Hash([]byte(unknown))}
		for _, marker := range []bool{false, true} {
			rec := storage.Record{Data: []byte("nonsense"), Expires: time.Now().Add(time.Hour), Marker: marker}
			f.ok(f.store.Put(ctx, key, rec))
			f.refused(unknown, errRecord)
		}
	})
}

func TestLeaseThatIsOverBeforeTheSessionIsRead(t *testing.T) {
	for _, mode := range []Mode{ReadWrite, Update, Read} {
		t.Run(mode.String(), func(t *testing.T) {
			play(t, func(f *fixture) {
				id := f.saved("k", "v")
				sleep(f.tenant.Settings.Lifetime / 2)
				lease := f.tenant.Settings.LockLease
				f.hook(func(op storagetest.Op) error {
					if op == storagetest.OpGet {
						time.Sleep(lease + time.Second)
					}
					return nil
				})
				slow, next := f.later(id, mode, time.Minute), f.later(id, ReadWrite, 2*time.Minute)
				sleep(lease + time.Second)
				slow.refused(ErrLockLost)
				f.hook(nil)
				sleep(lease)
				f.has(next.session(), "k", "v")
				f.ok(next.s.Close(ctx))
				f.equal("locks lost", f.count(LockLost), 1)
				f.equal("locks granted", f.count(LockGranted), 3) // that of the new session, the one that was lost, and the next
			})
		})
	}
}
