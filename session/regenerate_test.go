package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

func (f *fixture) regenerate(s *Session, grace time.Duration) string {
	f.Helper()
	id, err := s.Regenerate(ctx, grace)
	f.ok(err)
	if len(id) != 32 {
		f.Errorf("id %q", id)
	}
	return id
}

func TestRegenerateMovesTheSession(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, 0)
		f.wantRefused(id, ErrLockTimeout, ReadWrite, Update, Read) // the lock has moved as well
		f.wantRefused(old, ErrNotFound)
		f.wantValues(s, "k", "v")
		f.put(s, "k", "w")
		f.wantSaved(id, "k", "v")
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "w")
		f.equal("regenerated", f.count(Regenerated), 1)
		sleep(24*time.Hour - time.Millisecond)
		f.wantRefused(old, ErrNotFound)
		sleep(time.Millisecond)
		f.ok(f.open(old, ReadWrite).Abort())
	})
}

func TestRegenerateLeavesUnsavedChangesUnsaved(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		f.put(s, "k", "changed")
		f.ok(s.SetLifetime(LifetimeMax))
		id := f.regenerate(s, time.Minute)
		f.wantValues(s, "k", "changed")
		f.wantSaved(id, "k", "v")
		f.ok(s.Abort())
		f.wantSaved(id, "k", "v")
		f.wantLifetime(id, 24*time.Minute) // the new lifetime was not saved either

		old = f.saved("k", "v")
		s = f.open(old, ReadWrite)
		f.put(s, "k", "changed")
		id = f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "changed")
	})
}

func TestGracePeriod(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, time.Minute)
		f.wantRefused(old, ErrLockTimeout, ReadWrite, Update, Read) // resolved before locking
		f.wantSaved(old, "k", "v")
		f.ok(s.Close(ctx))
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(old, mode)
			f.wantValues(s, "k", "v")
			if mode != Snapshot {
				f.wantRefused(id, ErrLockTimeout, ReadWrite) // the lock is that of the new id
			}
			f.ok(s.Close(ctx))
		}
		s = f.open(old, ReadWrite)
		f.put(s, "k", "w")
		sleep(time.Minute - time.Millisecond)
		f.wantSaved(old, "k", "v")
		sleep(time.Millisecond)
		f.wantRefused(old, ErrNotFound)
		f.ok(s.Close(ctx)) // a session that is open is not affected
		f.wantRefused(old, ErrNotFound)
		f.wantSaved(id, "k", "w")
	})
}

func TestGracePeriodsOutOfRange(t *testing.T) {
	testManager(t, func(f *fixture) {
		_, s := f.new()
		for _, grace := range []time.Duration{-1, f.tenant.Settings.GraceMax + 1} {
			_, err := s.Regenerate(ctx, grace)
			f.wantErr(err, ErrBadDuration)
		}
		f.regenerate(s, f.tenant.Settings.GraceMax)
		f.ok(s.Abort())
	})
}

func TestChainLeadsToTheNewestID(t *testing.T) {
	testManager(t, func(f *fixture) {
		ids := []string{f.saved("k", "v")}
		for i := range 5 {
			s := f.open(ids[0], ReadWrite) // by the oldest
			f.put(s, "k", string(rune('a'+i)))
			ids = append(ids, f.regenerate(s, time.Minute))
			f.ok(s.Close(ctx))
		}
		for _, id := range ids {
			f.wantSaved(id, "k", "e")
			f.ok(f.open(id, Read).Close(ctx))
		}
		// A session moves twice while it is open. The move without grace breaks the chain.
		s := f.open(ids[2], ReadWrite)
		last := f.regenerate(s, time.Minute)
		newest := f.regenerate(s, 0)
		f.ok(s.Close(ctx))
		for _, id := range append(ids, last) {
			f.wantRefused(id, ErrNotFound)
		}
		f.wantSaved(newest, "k", "e")
	})
}

// chain saves a session, moves it n times, and returns all its ids.
func (f *fixture) chain(n int) []string {
	f.Helper()
	ids := []string{f.saved("k", "v")}
	s := f.open(ids[0], ReadWrite)
	for range n {
		ids = append(ids, f.regenerate(s, time.Minute))
	}
	f.ok(s.Close(ctx))
	return ids
}

func TestChainLimit(t *testing.T) {
	testManager(t, func(f *fixture) {
		ids := f.chain(aliasesMax + 2)
		for _, id := range ids[:2] {
			f.wantRefused(id, ErrNotFound)
			for _, mode := range []Mode{ReadWrite, Update, Read} {
				f.openAsync(id, mode, time.Minute).wantErr(ErrNotFound)
			}
		}
		f.hook(nil)
		before := f.operations(storagetest.OpGet)
		f.wantRefused(ids[0], ErrNotFound, ReadWrite)
		f.equal("records read", f.operations(storagetest.OpGet)-before, aliasesMax+1)
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(ids[2], mode)
			f.wantValues(s, "k", "v")
			f.ok(s.Close(ctx))
		}
	})
}

func TestFollowingAChainTakesNoLongerThanTheWait(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.chain(200)[0]
		slow := func(storagetest.Op) error {
			time.Sleep(99 * time.Millisecond)
			return nil
		}
		for _, mode := range []Mode{ReadWrite, Update, Read} {
			for wait, limit := range map[time.Duration]time.Duration{
				0: followTime, time.Millisecond: followTime, 5 * time.Second: 5 * time.Second,
			} {
				f.hook(slow)
				start, timeouts := time.Now(), f.count(LockTimedOut)
				_, err := f.try(id, mode, wait)
				f.wantErr(err, ErrLockTimeout)
				if took := time.Since(start); took < limit || took > limit+200*time.Millisecond {
					f.Errorf("mode %v, wait %v: took %v, want about %v", mode, wait, took, limit)
				}
				f.equal("time-outs", f.count(LockTimedOut)-timeouts, 1)
			}
		}
		f.hook(nil)
		f.ok(f.open(id, ReadWrite).Close(ctx))
	})
}

func TestFollowingAChainEndsWithTheContext(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.chain(100)[0]
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			for _, wait := range []time.Duration{0, time.Minute} {
				cctx, cancel := context.WithCancelCause(ctx)
				gets, errPeerLeft := 0, errors.New("the peer left")
				f.hook(func(storagetest.Op) error {
					if gets++; gets == 10 {
						cancel(errPeerLeft)
					}
					return nil
				})
				_, err := f.m.Open(cctx, f.tenant, []byte(id), OpenOptions{Mode: mode, Wait: wait})
				f.wantErr(err, errPeerLeft)
				f.equal("records read", gets, 10)
			}
		}
	})
}

func TestDestroyThroughAnAlias(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.ok(f.open(old, ReadWrite).Destroy(ctx))
		f.wantRefused(id, ErrNotFound)
		f.wantRefused(old, ErrNotFound)
	})
}

func TestWaitersFollow(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		first := f.openAsync(old, ReadWrite, time.Minute)
		second := f.openAsync(old, Update, time.Minute)
		third := f.openAsync(old, Read, time.Minute)
		id := f.regenerate(s, time.Second)
		fourth := f.openAsync(id, ReadWrite, time.Minute)
		fifth := f.openAsync(old, ReadWrite, time.Minute)
		sleep(10 * time.Second) // the grace period is over, but the waiters have moved already
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		for _, p := range []*pending{first, second, third, fourth, fifth} {
			f.wantValues(p.session(), "k", "w")
			f.equal("id", p.s.key.ID, Hash([]byte(id)))
			f.ok(p.s.Close(ctx))
		}
	})
}

// TestWaitersFollowAChain: waiters of each id of a chain move to the newest id.
func TestWaitersFollowAChain(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		early := f.openAsync(old, ReadWrite, time.Minute)
		middle := f.regenerate(s, time.Minute)
		late := f.openAsync(middle, Update, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.wantValues(early.session(), "k", "v")
		late.wantWaiting()
		early.s.Close(ctx)
		f.wantValues(late.session(), "k", "v")
		f.equal("id", late.s.key.ID, Hash([]byte(id)))
		f.ok(late.s.Close(ctx))
	})
}

func TestWaitersWithoutGraceAreRefused(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		var waiters []*pending
		for _, mode := range []Mode{ReadWrite, Update, Read} {
			waiters = append(waiters, f.openAsync(old, mode, time.Minute))
		}
		id := f.regenerate(s, 0)
		for _, p := range waiters {
			p.wantErr(ErrNotFound)
		}
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "v")
	})
}

func TestMovedWaiterGivesUp(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		cctx, cancel := context.WithCancel(ctx)
		a := f.openAsyncWith(cctx, old, OpenOptions{Wait: time.Minute})
		b := f.openAsync(old, ReadWrite, 20*time.Second)
		c := f.openAsync(old, ReadWrite, time.Minute)
		f.regenerate(s, time.Minute)
		cancel()
		a.wantErr(context.Canceled)
		sleep(20 * time.Second)
		b.wantErr(ErrLockTimeout)
		f.ok(s.Close(ctx))
		f.ok(c.session().Close(ctx))
	})
}

func TestRegenerateDoesNotProlongTheLease(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		p := f.openAsync(old, ReadWrite, WaitMax)
		sleep(f.tenant.Settings.LockLease / 2)
		id := f.regenerate(s, time.Minute)
		sleep(f.tenant.Settings.LockLease / 2)
		f.wantValues(p.session(), "k", "v")
		f.wantErr(s.Put([]byte("k"), nil), ErrLockLost)
		f.ok(p.s.Close(ctx))
		f.wantSaved(id, "k", "v")
	})
}

func TestRegenerateBeforeTheFirstSave(t *testing.T) {
	testManager(t, func(f *fixture) {
		old, s := f.new("k", "v")
		p := f.openAsync(old, ReadWrite, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.wantRefused(old, ErrNotFound, Update, Read, Snapshot)
		f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
		f.wantRefused(old, ErrLockTimeout, ReadWrite)
		f.ok(s.Close(ctx))
		f.wantValues(p.session(), "k", "v")
		f.ok(p.s.Close(ctx))
		f.wantSaved(id, "k", "v")
		f.wantSaved(old, "k", "v")
	})
}

// TestAliasOfAnUnsavedSessionCreatesNothing: no client gets a new session under an id that it does not know.
func TestAliasOfAnUnsavedSessionCreatesNothing(t *testing.T) {
	testManager(t, func(f *fixture) {
		old, s := f.new("k", "v")
		p := f.openAsync(old, ReadWrite, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Abort())
		p.wantErr(ErrNotFound)
		f.wantRefused(old, ErrNotFound)
		f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
		f.ok(f.open(id, ReadWrite).Abort()) // a client that knows the id may use it
	})
}

func TestRegenerateDoesNotProlongTheAbsoluteLifetime(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
		id := f.saved("k", "v")
		for range 5 {
			sleep(10 * time.Minute)
			s := f.open(id, ReadWrite)
			id = f.regenerate(s, 0)
			f.ok(s.Close(ctx))
		}
		f.wantLifetime(id, 10*time.Minute)
	})
}

func TestRegenerateIsUse(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(20 * time.Minute)
		s := f.open(id, ReadWrite)
		id = f.regenerate(s, 0)
		f.ok(s.Abort())
		f.wantLifetime(id, 24*time.Minute)
	})
}

func TestFailedRegenerateChangesNothing(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		f.put(s, "k", "w")
		p := f.openAsync(old, ReadWrite, time.Minute)
		f.store.Fail(storagetest.OpPutAll, errors.New("broken"))
		for range 3 {
			_, err := s.Regenerate(ctx, time.Minute)
			f.wantErr(err, ErrStore)
		}
		f.store.Fail(storagetest.OpPutAll, nil)
		f.wantValues(s, "k", "w")
		p.wantWaiting()
		f.wantRefused(old, ErrLockTimeout, ReadWrite)
		f.wantSaved(old, "k", "v")
		f.ok(s.Close(ctx))
		f.wantValues(p.session(), "k", "w")
		f.ok(p.s.Close(ctx))
	})
}

// loseAcks makes PutAll return an error after it has done its work.
func (f *fixture) loseAcks(lost bool) {
	f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
		if op == storagetest.OpPutAll && lost {
			return errors.New("lost")
		}
		return nil
	})
}

// TestRegenerateWithoutAcknowledgement: the store reports a failure of a move that it has done. Still there must be
// one session, not two.
func TestRegenerateWithoutAcknowledgement(t *testing.T) {
	for _, end := range []string{"close", "commit", "retry", "destroy", "abort"} {
		t.Run(end, func(t *testing.T) {
			testManager(t, func(f *fixture) {
				old := f.saved("k", "v")
				s := f.open(old, ReadWrite)
				f.loseAcks(true)
				for range 2 {
					_, err := s.Regenerate(ctx, time.Minute)
					f.wantErr(err, ErrStore)
				}
				f.loseAcks(false)
				// Both ids are locked, although the old one already leads to the new one.
				f.wantRefused(old, ErrLockTimeout, ReadWrite, Update, Read)
				p := f.openAsync(old, Update, time.Second)
				p.wantWaiting()
				id := ""
				switch end {
				case "close":
					f.ok(s.Close(ctx))
				case "commit":
					f.ok(s.Commit(ctx))
					f.ok(s.Close(ctx))
				case "retry":
					id = f.regenerate(s, time.Minute)
					f.ok(s.Close(ctx))
				case "destroy":
					f.ok(s.Destroy(ctx))
				case "abort":
					f.ok(s.Abort()) // the session stays where the store has it
				}
				want := int64(1)
				if end == "destroy" {
					p.wantErr(ErrNotFound)
					f.wantRefused(old, ErrNotFound)
					want = 0
				} else {
					f.wantValues(p.session(), "k", "v")
					f.ok(p.s.Close(ctx))
				}
				switch end {
				case "close", "commit":
					sleep(time.Minute)
					f.wantSaved(old, "k", "v") // the old id is not an alias any more
				case "retry":
					f.wantSaved(id, "k", "v")
				}
				u, err := f.store.Usage(ctx, f.tenant.Name)
				f.ok(err)
				f.equal("sessions", u.Records, want)
			})
		})
	}
}

// storeOnly is a store without optional interfaces, which cannot write two records at once.
type storeOnly struct{ storage.Store }

func TestRegenerateWithoutBatches(t *testing.T) {
	testManager(t, func(f *fixture) {
		faulty := storagetest.NewFaulty(storeOnly{memory.New(memory.Options{})})
		f.m.store = faulty
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		// The session is copied, but no tombstone can be written under the old id.
		faulty.Before(func(_ context.Context, op storagetest.Op, key storage.Key) error {
			if op == storagetest.OpPut && key.ID == Hash([]byte(old)) {
				return errors.New("broken")
			}
			return nil
		})
		_, err := s.Regenerate(ctx, 0)
		f.wantErr(err, ErrStore)
		copied := s.next.id
		f.wantSaved(copied, "k", "v")
		f.wantSaved(old, "k", "v")
		faulty.Before(nil)
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		f.wantSaved(old, "k", "w")
		f.wantRefused(copied, ErrNotFound, Update, Read, Snapshot) // nothing is left behind

		s = f.open(old, ReadWrite)
		id := f.regenerate(s, 0)
		f.ok(s.Close(ctx))
		f.wantSaved(id, "k", "w")
		f.wantRefused(old, ErrNotFound)
	})
}

// TestRegenerateIsAtomic: at every moment of a move, the session is found under the old or the new id.
func TestRegenerateIsAtomic(t *testing.T) {
	testManager(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		look := func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPutAll {
				f.wantSaved(old, "k", "v")
			}
			return nil
		}
		f.store.Before(look)
		f.store.After(look)
		id := f.regenerate(s, time.Minute)
		f.wantSaved(id, "k", "v")
		f.ok(s.Close(ctx))
	})
}
