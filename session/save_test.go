package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func TestChangesAreInMemoryUntilTheyAreSaved(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v", "l", "w")
		s := f.open(id, ReadWrite)
		puts := f.did(storagetest.OpPut)
		f.put(s, "k", "changed", "m", "new")
		_, err := s.Remove([]byte("l"))
		f.ok(err)
		f.ok(s.Expire([]byte("k"), time.Second))
		f.ok(s.SetLifetime(time.Hour))
		f.has(s, "k", "changed", "m", "new")
		f.equal("what was written", f.did(storagetest.OpPut), puts)
		f.holds(id, "k", "v", "l", "w")
		f.ok(s.Abort()) // as when the connection breaks off: the lock is free at once
		s = f.open(id, ReadWrite)
		f.has(s, "k", "v", "l", "w")
		d, err := s.Lifetime()
		f.ok(err)
		f.equal("the lifetime", d, f.tenant.Settings.Lifetime)
		sleep(2 * time.Second)
		f.has(s, "k", "v", "l", "w")
		f.ok(s.Close(ctx))
	})
}

func TestCommitGoesOnReadOnly(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.ok(s.Commit(ctx))
		f.holds(id, "k", "v")
		f.has(s, "k", "v")
		f.is(s.Put([]byte("k"), nil), ErrReadOnly)
		f.is(s.Commit(ctx), ErrReadOnly)
		other := f.open(id, ReadWrite) // the lock is free
		f.put(other, "k", "w")
		f.ok(other.Close(ctx))
		f.has(s, "k", "v")
		sleep(2 * f.tenant.Settings.LockLease)
		f.has(s, "k", "v") // there is no lock to be lost
		f.ok(s.Close(ctx))
		f.holds(id, "k", "w")
	})
}

func TestClosingWithoutChangesWritesNothing(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		f.equal("saves", f.did(storagetest.OpPut), 1)
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			f.ok(f.open(id, mode).Close(ctx))
		}
		s := f.open(id, ReadWrite)
		if there, err := s.Remove([]byte("none")); there || err != nil {
			t.Errorf("removed %v, %v", there, err)
		}
		f.ok(s.Commit(ctx))
		f.ok(s.Close(ctx))
		f.equal("saves", f.did(storagetest.OpPut), 1)
		f.equal("events of saving", f.count(Created)+f.count(Saved), 1)
	})
}

func TestEmptySessionIsSavedToo(t *testing.T) {
	play(t, func(f *fixture) {
		s := f.open(unknown, ReadWrite)
		f.ok(s.Close(ctx))
		s = f.open(unknown, Update)
		f.has(s)
		f.ok(s.Close(ctx))
		f.equal("sessions created", f.count(Created), 1)
	})
}

func TestEndedSessionAnswersNothing(t *testing.T) {
	play(t, func(f *fixture) {
		for name, end := range map[string]func(*Session) error{
			"close":   func(s *Session) error { return s.Close(ctx) },
			"abort":   func(s *Session) error { return s.Abort() },
			"destroy": func(s *Session) error { return s.Destroy(ctx) },
		} {
			_, s := f.new("k", "v")
			f.ok(end(s))
			for what, err := range everyCommand(s) {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s after %s: %v", what, name, err)
				}
			}
		}
	})
}

// everyCommand is what each of them answers; those that could end the session come last.
func everyCommand(s *Session) map[string]error {
	errs := map[string]error{}
	fill := func(put func(key, value []byte) error) error { return put([]byte("k"), nil) }
	_, errs["get"] = s.Get([]byte("k"))
	_, errs["len"] = s.Len()
	errs["put"] = s.Put([]byte("k"), nil)
	errs["put many"] = s.PutMany(fill)
	errs["replace"] = s.Replace(fill)
	_, errs["remove"] = s.Remove([]byte("k"))
	errs["expire"] = s.Expire([]byte("k"), 0)
	_, errs["lifetime"] = s.Lifetime()
	errs["set lifetime"] = s.SetLifetime(time.Minute)
	_, errs["stat"] = s.Stat()
	_, errs["regenerate"] = s.Regenerate(ctx, 0)
	errs["commit"] = s.Commit(ctx)
	errs["destroy"] = s.Destroy(ctx)
	errs["close"] = s.Close(ctx)
	errs["abort"] = s.Abort()
	return errs
}

// Whichever command comes first after the lock was lost says so, and none after it.
func TestLockLostIsSaidOnce(t *testing.T) {
	play(t, func(f *fixture) {
		for first := range everyCommand(&Session{ended: true}) {
			id, s := f.new("k", "lost")
			sleep(f.tenant.Settings.LockLease)
			next := f.open(id, ReadWrite)
			f.put(next, "k", "v")

			var err error
			fill := func(put func(key, value []byte) error) error { return put([]byte("k"), nil) }
			switch first {
			case "get":
				_, err = s.Get([]byte("k"))
			case "len":
				_, err = s.Len()
			case "put":
				err = s.Put([]byte("k"), nil)
			case "put many":
				err = s.PutMany(fill)
			case "replace":
				err = s.Replace(fill)
			case "remove":
				_, err = s.Remove([]byte("k"))
			case "expire":
				err = s.Expire([]byte("k"), 0)
			case "lifetime":
				_, err = s.Lifetime()
			case "set lifetime":
				err = s.SetLifetime(time.Minute)
			case "stat":
				_, err = s.Stat()
			case "regenerate":
				_, err = s.Regenerate(ctx, time.Minute)
			case "commit":
				err = s.Commit(ctx)
			case "destroy":
				err = s.Destroy(ctx)
			case "close":
				err = s.Close(ctx)
			case "abort":
				err = s.Abort()
			default:
				t.Fatalf("nobody tests %s", first)
			}
			if !errors.Is(err, ErrLockLost) {
				t.Errorf("%s: %v", first, err)
			}
			f.equal("ended", s.Ended(), true)
			for what, err := range everyCommand(s) {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s after %s: %v", what, first, err)
				}
			}
			f.ok(next.Close(ctx))
			f.holds(id, "k", "v") // the next holder's data stays
		}
	})
}

func TestReaderLosesItsLockToo(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, Read)
		w := f.later(id, ReadWrite, WaitMax)
		sleep(f.tenant.Settings.LockLease)
		_, err := s.Get([]byte("k"))
		f.is(err, ErrLockLost)
		f.ok(w.session().Close(ctx))
		f.ok(f.open(id, Read).Close(ctx)) // and it may open again
	})
}

// The store takes so long that the lease ends in the midst of a save: it is finished first, and seen by the next
// holder.
func TestSlowSaveIsNotOvertaken(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		w := f.later(id, ReadWrite, WaitMax)
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				time.Sleep(3 * f.tenant.Settings.LockLease)
			}
			return nil
		})
		done := make(chan error)
		go func() { done <- s.Commit(ctx) }()
		sleep(2 * f.tenant.Settings.LockLease)
		w.stillWaits()
		f.ok(<-done)
		f.hook(nil)
		f.has(w.session(), "k", "v")
		f.ok(w.s.Close(ctx))
		f.has(s, "k", "v") // commit was acknowledged, and without a lock nothing is lost
		f.ok(s.Close(ctx))
	})
}

func TestLockLostWhileASaveFails(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "old")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "new")
		w := f.later(id, ReadWrite, WaitMax)
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				time.Sleep(2 * f.tenant.Settings.LockLease)
				return errors.New("broken")
			}
			return nil
		})
		f.is(s.Close(ctx), ErrStore)
		f.hook(nil)
		f.has(w.session(), "k", "old")
		f.is(s.Close(ctx), ErrLockLost)
		f.ok(w.s.Close(ctx))
		f.holds(id, "k", "old")
	})
}

func TestFailedSaveChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, save := range map[string]func(*Session) error{
		"close":   func(s *Session) error { return s.Close(ctx) },
		"commit":  func(s *Session) error { return s.Commit(ctx) },
		"destroy": func(s *Session) error { return s.Destroy(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(f *fixture) {
				id := f.saved("k", "old", "l", "m")
				s := f.open(id, ReadWrite)
				f.put(s, "k", "new")
				before, err := s.Stat()
				f.ok(err)
				f.store.Fail(storagetest.OpPut, broken)
				for range 3 {
					f.is(save(s), broken)
					f.is(save(s), ErrStore)
				}
				f.equal("ended", s.Ended(), false)
				f.has(s, "k", "new", "l", "m")
				after, err := s.Stat()
				f.ok(err)
				f.equal("stat", after, before)
				f.refused(id, ErrLockTimeout, ReadWrite)
				f.holds(id, "k", "old", "l", "m")
				f.put(s, "n", "o") // it can still be changed
				f.store.Fail(storagetest.OpPut, nil)
				f.ok(s.Close(ctx))
				f.holds(id, "k", "new", "l", "m", "n", "o")
				f.equal("saves seen", f.count(Saved), 1)
			})
		})
	}
}

func TestFailedTouchLeavesTheSessionOpen(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.LockLease = time.Hour })
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(f.tenant.Settings.Lifetime / 2)
		f.store.Fail(storagetest.OpTouch, errors.New("broken"))
		f.is(s.Close(ctx), ErrStore)
		f.refused(id, ErrLockTimeout, ReadWrite)
		f.store.Fail(storagetest.OpTouch, nil)
		f.ok(s.Close(ctx))
		f.ok(f.open(id, ReadWrite).Close(ctx))
	})
}

// The store said that a save failed although it was done: aborting cannot take that back, but a save in the same
// session writes what the session then is.
func TestSaveWhoseAcknowledgementWasLost(t *testing.T) {
	play(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				return errors.New("lost")
			}
			return nil
		})
		f.is(s.Close(ctx), ErrStore)
		f.is(s.Destroy(ctx), ErrStore)
		f.store.After(nil)
		f.ok(s.Close(ctx))
		f.holds(id, "k", "v")
	})
}

func TestDestroyWhoseAcknowledgementWasLost(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				return errors.New("lost")
			}
			return nil
		})
		f.is(s.Destroy(ctx), ErrStore)
		f.store.After(nil)
		f.ok(s.Close(ctx)) // nothing was changed, but who knows what is stored
		f.holds(id, "k", "v")
	})
}

func TestSessionThatExpiresWhileItIsOpenLivesOn(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.Lifetime = time.Minute })
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(time.Hour)
		f.refused(id, ErrNotFound, Snapshot)
		f.ok(s.Close(ctx))
		f.holds(id, "k", "v")
	})
}

func TestStoredBytesAreNobodysToChange(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("a", "1", "b", "2", "c", "3")
		s := f.open(id, ReadWrite)
		key, value := []byte("a"), []byte("x")
		f.ok(s.Put(key, value))
		key[0], value[0] = '!', '!'
		for i := range 3 {
			key, value := s.Pair(i) // "a" was put, the others were loaded
			_, _ = append(key, 0xFF), append(key, "!!!"...)
			_, _ = append(value, 0xFF), append(value, "!!!"...)
		}
		f.has(s, "a", "x", "b", "2", "c", "3")

		// Moving what is committed must not show what is not.
		fresh, err := s.Regenerate(ctx, 0)
		f.ok(err)
		f.ok(s.Abort())
		f.holds(fresh, "a", "1", "b", "2", "c", "3")
	})
}
