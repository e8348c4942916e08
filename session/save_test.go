package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func TestChangesStayInMemoryUntilASave(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v", "l", "w")
		s := f.open(id, ReadWrite)
		puts := f.operations(storagetest.OpPut)
		f.put(s, "k", "changed", "m", "new")
		_, err := s.Remove([]byte("l"))
		f.ok(err)
		f.ok(s.Expire([]byte("k"), time.Second))
		f.ok(s.SetLifetime(time.Hour))
		f.wantValues(s, "k", "changed", "m", "new")
		f.equal("saves", f.operations(storagetest.OpPut), puts)
		f.wantSaved(id, "k", "v", "l", "w")
		f.ok(s.Abort()) // as after a broken connection: the lock is free at once
		s = f.open(id, ReadWrite)
		f.wantValues(s, "k", "v", "l", "w")
		d, err := s.Lifetime()
		f.ok(err)
		f.equal("lifetime", d, f.tenant.Settings.Lifetime)
		sleep(2 * time.Second)
		f.wantValues(s, "k", "v", "l", "w")
		f.ok(s.Close(ctx))
	})
}

func TestSessionIsReadOnlyAfterCommit(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.ok(s.Commit(ctx))
		f.equal("mode", s.Mode(), Read)
		f.wantSaved(id, "k", "v")
		f.wantValues(s, "k", "v")
		f.wantErr(s.Put([]byte("k"), nil), ErrReadOnly)
		f.wantErr(s.Commit(ctx), ErrReadOnly)
		other := f.open(id, ReadWrite) // the lock is free
		f.put(other, "k", "w")
		f.ok(other.Close(ctx))
		f.wantValues(s, "k", "v")
		sleep(2 * f.tenant.Settings.LockLease)
		f.wantValues(s, "k", "v") // without a lock there is none to lose
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "w")
	})
}

func TestClosingWithoutChangesWritesNothing(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		f.equal("saves", f.operations(storagetest.OpPut), 1)
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			f.ok(f.open(id, mode).Close(ctx))
		}
		s := f.open(id, ReadWrite)
		if there, err := s.Remove([]byte("none")); there || err != nil {
			t.Errorf("Remove = %v, %v, want false, nil", there, err)
		}
		f.ok(s.Commit(ctx))
		f.ok(s.Close(ctx))
		f.equal("saves", f.operations(storagetest.OpPut), 1)
		f.equal("save events", f.count(Created)+f.count(Saved), 1)
	})
}

func TestEmptySessionIsSavedToo(t *testing.T) {
	testManager(t, func(f *fixture) {
		s := f.open(unusedID, ReadWrite)
		f.ok(s.Close(ctx))
		s = f.open(unusedID, Update)
		f.wantValues(s)
		f.ok(s.Close(ctx))
		f.equal("sessions created", f.count(Created), 1)
	})
}

func TestEndedSessionReturnsErrClosed(t *testing.T) {
	testManager(t, func(f *fixture) {
		for name, end := range map[string]func(*Session) error{
			"close":   func(s *Session) error { return s.Close(ctx) },
			"abort":   func(s *Session) error { return s.Abort() },
			"destroy": func(s *Session) error { return s.Destroy(ctx) },
		} {
			_, s := f.new("k", "v")
			f.ok(end(s))
			for command, err := range callAll(s) {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s after %s: error = %v, want %v", command, name, err, ErrClosed)
				}
			}
		}
	})
}

// callAll calls every method of s and returns the errors. The methods that could end the session come last.
func callAll(s *Session) map[string]error {
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

// TestErrLockLostIsReturnedOnce: after the loss of the lock, the first call returns ErrLockLost, whichever it is,
// and every later one ErrClosed.
func TestErrLockLostIsReturnedOnce(t *testing.T) {
	testManager(t, func(f *fixture) {
		for first := range callAll(&Session{ended: true}) {
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
				t.Fatalf("%s is not tested", first)
			}
			if !errors.Is(err, ErrLockLost) {
				t.Errorf("%s: error = %v, want %v", first, err, ErrLockLost)
			}
			f.equal("ended", s.Ended(), true)
			for command, err := range callAll(s) {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s after %s: error = %v, want %v", command, first, err, ErrClosed)
				}
			}
			f.ok(next.Close(ctx))
			f.wantSaved(id, "k", "v") // the next holder's data is not overwritten
		}
	})
}

func TestReaderLosesItsLock(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, Read)
		w := f.openAsync(id, ReadWrite, WaitMax)
		sleep(f.tenant.Settings.LockLease)
		_, err := s.Get([]byte("k"))
		f.wantErr(err, ErrLockLost)
		f.ok(w.session().Close(ctx))
		f.ok(f.open(id, Read).Close(ctx)) // it may open the session again
	})
}

// TestSlowSaveIsNotOvertaken: the lease ends during a slow save. The save ends first, and the next holder reads
// what was saved.
func TestSlowSaveIsNotOvertaken(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		w := f.openAsync(id, ReadWrite, WaitMax)
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				time.Sleep(3 * f.tenant.Settings.LockLease)
			}
			return nil
		})
		done := make(chan error)
		go func() { done <- s.Commit(ctx) }()
		sleep(2 * f.tenant.Settings.LockLease)
		w.wantWaiting()
		f.ok(<-done)
		f.hook(nil)
		f.wantValues(w.session(), "k", "v")
		f.ok(w.s.Close(ctx))
		f.wantValues(s, "k", "v") // Commit was acknowledged, and released the lock
		f.ok(s.Close(ctx))
	})
}

func TestLockLostWhileASaveFails(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "old")
		s := f.open(id, ReadWrite)
		f.put(s, "k", "new")
		w := f.openAsync(id, ReadWrite, WaitMax)
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				time.Sleep(2 * f.tenant.Settings.LockLease)
				return errors.New("broken")
			}
			return nil
		})
		f.wantErr(s.Close(ctx), ErrStore)
		f.hook(nil)
		f.wantValues(w.session(), "k", "old")
		f.wantErr(s.Close(ctx), ErrLockLost)
		f.ok(w.s.Close(ctx))
		f.wantSaved(id, "k", "old")
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
			testManager(t, func(f *fixture) {
				id := f.saved("k", "old", "l", "m")
				s := f.open(id, ReadWrite)
				f.put(s, "k", "new")
				before, err := s.Stat()
				f.ok(err)
				f.store.Fail(storagetest.OpPut, broken)
				for range 3 {
					f.wantErr(save(s), broken)
					f.wantErr(save(s), ErrStore)
				}
				f.equal("ended", s.Ended(), false)
				f.wantValues(s, "k", "new", "l", "m")
				after, err := s.Stat()
				f.ok(err)
				f.equal("stat", after, before)
				f.wantRefused(id, ErrLockTimeout, ReadWrite)
				f.wantSaved(id, "k", "old", "l", "m")
				f.put(s, "n", "o") // the session can still be changed
				f.store.Fail(storagetest.OpPut, nil)
				f.ok(s.Close(ctx))
				f.wantSaved(id, "k", "new", "l", "m", "n", "o")
				f.equal("saves", f.count(Saved), 1)
			})
		})
	}
}

func TestFailedTouchLeavesTheSessionOpen(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.LockLease = time.Hour })
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(f.tenant.Settings.Lifetime / 2)
		f.store.Fail(storagetest.OpTouch, errors.New("broken"))
		f.wantErr(s.Close(ctx), ErrStore)
		f.wantRefused(id, ErrLockTimeout, ReadWrite)
		f.store.Fail(storagetest.OpTouch, nil)
		f.ok(s.Close(ctx))
		f.ok(f.open(id, ReadWrite).Close(ctx))
	})
}

// TestSaveWithoutAcknowledgement: the store reports a failure of a save that it has done. Abort cannot undo the
// save. A later save in the same session writes the session's present values.
func TestSaveWithoutAcknowledgement(t *testing.T) {
	testManager(t, func(f *fixture) {
		id, s := f.new("k", "v")
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				return errors.New("lost")
			}
			return nil
		})
		f.wantErr(s.Close(ctx), ErrStore)
		f.wantErr(s.Destroy(ctx), ErrStore)
		f.store.After(nil)
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "v")
	})
}

func TestDestroyWithoutAcknowledgement(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPut {
				return errors.New("lost")
			}
			return nil
		})
		f.wantErr(s.Destroy(ctx), ErrStore)
		f.store.After(nil)
		f.ok(s.Close(ctx)) // saves although nothing has changed, as the store may hold the tombstone
		f.wantSaved(id, "k", "v")
	})
}

func TestSessionThatExpiresWhileOpenIsSaved(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.Lifetime = time.Minute })
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		sleep(time.Hour)
		f.wantRefused(id, ErrNotFound, Snapshot)
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "v")
	})
}

func TestSlicesAreNotShared(t *testing.T) {
	testManager(t, func(f *fixture) {
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
		f.wantValues(s, "a", "x", "b", "2", "c", "3")

		// Regenerate moves the saved state, without the unsaved changes.
		fresh, err := s.Regenerate(ctx, 0)
		f.ok(err)
		f.ok(s.Abort())
		f.wantSaved(fresh, "a", "1", "b", "2", "c", "3")
	})
}
