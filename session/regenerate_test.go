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
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, 0)
		f.refused(id, ErrLockTimeout, ReadWrite, Update, Read) // with its lock
		f.refused(old, ErrNotFound)
		f.has(s, "k", "v")
		f.put(s, "k", "w")
		f.holds(id, "k", "v")
		f.ok(s.Close(ctx))
		f.holds(id, "k", "w")
		f.equal("regenerated", f.count(Regenerated), 1)
		sleep(24*time.Hour - time.Millisecond)
		f.refused(old, ErrNotFound)
		sleep(time.Millisecond)
		f.ok(f.open(old, ReadWrite).Abort())
	})
}

func TestRegenerateLeavesUnsavedChangesUnsaved(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		f.put(s, "k", "changed")
		f.ok(s.SetLifetime(LifetimeMax))
		id := f.regenerate(s, time.Minute)
		f.has(s, "k", "changed")
		f.holds(id, "k", "v")
		f.ok(s.Abort())
		f.holds(id, "k", "v")
		f.lives(id, 24*time.Minute) // nor did the new lifetime slip in

		old = f.saved("k", "v")
		s = f.open(old, ReadWrite)
		f.put(s, "k", "changed")
		id = f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.holds(id, "k", "changed")
	})
}

func TestGracePeriod(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, time.Minute)
		f.refused(old, ErrLockTimeout, ReadWrite, Update, Read) // resolved before locking
		f.holds(old, "k", "v")
		f.ok(s.Close(ctx))
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(old, mode)
			f.has(s, "k", "v")
			if mode != Snapshot {
				f.refused(id, ErrLockTimeout, ReadWrite) // it is the same session
			}
			f.ok(s.Close(ctx))
		}
		s = f.open(old, ReadWrite)
		f.put(s, "k", "w")
		sleep(time.Minute - time.Millisecond)
		f.holds(old, "k", "v")
		sleep(time.Millisecond)
		f.refused(old, ErrNotFound)
		f.ok(s.Close(ctx)) // who has it open already keeps it
		f.refused(old, ErrNotFound)
		f.holds(id, "k", "w")
	})
}

func TestGracePeriodsOutOfRange(t *testing.T) {
	play(t, func(f *fixture) {
		_, s := f.new()
		for _, grace := range []time.Duration{-1, f.tenant.Settings.GraceMax + 1} {
			_, err := s.Regenerate(ctx, grace)
			f.is(err, ErrBadDuration)
		}
		f.regenerate(s, f.tenant.Settings.GraceMax)
		f.ok(s.Abort())
	})
}

func TestChainsLeadToTheNewest(t *testing.T) {
	play(t, func(f *fixture) {
		ids := []string{f.saved("k", "v")}
		for i := range 5 {
			s := f.open(ids[0], ReadWrite) // by the oldest
			f.put(s, "k", string(rune('a'+i)))
			ids = append(ids, f.regenerate(s, time.Minute))
			f.ok(s.Close(ctx))
		}
		for _, id := range ids {
			f.holds(id, "k", "e")
			f.ok(f.open(id, Read).Close(ctx))
		}
		// Two in one session, and a link without grace breaks the chain.
		s := f.open(ids[2], ReadWrite)
		last := f.regenerate(s, time.Minute)
		newest := f.regenerate(s, 0)
		f.ok(s.Close(ctx))
		for _, id := range append(ids, last) {
			f.refused(id, ErrNotFound)
		}
		f.holds(newest, "k", "e")
	})
}

// chain makes a session and moves it n times, and returns all its ids.
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

func TestChainsAreFollowedSoFar(t *testing.T) {
	play(t, func(f *fixture) {
		ids := f.chain(aliasesMax + 2)
		for _, id := range ids[:2] {
			f.refused(id, ErrNotFound)
			for _, mode := range []Mode{ReadWrite, Update, Read} {
				f.later(id, mode, time.Minute).refused(ErrNotFound)
			}
		}
		f.hook(nil)
		before := f.did(storagetest.OpGet)
		f.refused(ids[0], ErrNotFound, ReadWrite)
		f.equal("records read", f.did(storagetest.OpGet)-before, aliasesMax+1)
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			s := f.open(ids[2], mode)
			f.has(s, "k", "v")
			f.ok(s.Close(ctx))
		}
	})
}

func TestFollowingAChainTakesNoLongerThanTheWait(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.chain(200)[0]
		slow := func(storagetest.Op) error {
			time.Sleep(99 * time.Millisecond)
			return nil
		}
		for _, mode := range []Mode{ReadWrite, Update, Read} {
			for wait, most := range map[time.Duration]time.Duration{
				0: followTime, time.Millisecond: followTime, 5 * time.Second: 5 * time.Second,
			} {
				f.hook(slow)
				began, timeouts := time.Now(), f.count(LockTimedOut)
				_, err := f.try(id, mode, wait)
				f.is(err, ErrLockTimeout)
				if took := time.Since(began); took < most || took > most+200*time.Millisecond {
					f.Errorf("mode %v, wait %v: it took %v", mode, wait, took)
				}
				f.equal("time-outs", f.count(LockTimedOut)-timeouts, 1)
			}
		}
		f.hook(nil)
		f.ok(f.open(id, ReadWrite).Close(ctx))
	})
}

func TestFollowingAChainEndsWithTheContext(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.chain(100)[0]
		for _, mode := range []Mode{ReadWrite, Update, Read, Snapshot} {
			for _, wait := range []time.Duration{0, time.Minute} {
				cctx, cancel := context.WithCancelCause(ctx)
				gets, gone := 0, errors.New("gone")
				f.hook(func(storagetest.Op) error {
					if gets++; gets == 10 {
						cancel(gone)
					}
					return nil
				})
				_, err := f.m.Open(cctx, f.tenant, []byte(id), OpenOptions{Mode: mode, Wait: wait})
				f.is(err, gone)
				f.equal("records read", gets, 10)
			}
		}
	})
}

func TestDestroyedAtTheEndOfAChain(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.ok(f.open(old, ReadWrite).Destroy(ctx))
		f.refused(id, ErrNotFound)
		f.refused(old, ErrNotFound)
	})
}

func TestWaitersFollow(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		first := f.later(old, ReadWrite, time.Minute)
		second := f.later(old, Update, time.Minute)
		third := f.later(old, Read, time.Minute)
		id := f.regenerate(s, time.Second)
		fourth := f.later(id, ReadWrite, time.Minute)
		fifth := f.later(old, ReadWrite, time.Minute)
		sleep(10 * time.Second) // they found their way while the grace lasted
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		for _, p := range []*pending{first, second, third, fourth, fifth} {
			f.has(p.session(), "k", "w")
			f.equal("the key", p.s.key.ID, Hash([]byte(id)))
			f.ok(p.s.Close(ctx))
		}
	})
}

// Those who were waiting in turn are led from id to id.
func TestWaitersFollowAChain(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		early := f.later(old, ReadWrite, time.Minute)
		middle := f.regenerate(s, time.Minute)
		late := f.later(middle, Update, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Close(ctx))
		f.has(early.session(), "k", "v")
		late.stillWaits()
		early.s.Close(ctx)
		f.has(late.session(), "k", "v")
		f.equal("the key", late.s.key.ID, Hash([]byte(id)))
		f.ok(late.s.Close(ctx))
	})
}

func TestWaitersWithoutGraceAreRefused(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		var waits []*pending
		for _, mode := range []Mode{ReadWrite, Update, Read} {
			waits = append(waits, f.later(old, mode, time.Minute))
		}
		id := f.regenerate(s, 0)
		for _, p := range waits {
			p.refused(ErrNotFound)
		}
		f.ok(s.Close(ctx))
		f.holds(id, "k", "v")
	})
}

func TestWaiterThatWasMovedGivesUp(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		cctx, cancel := context.WithCancel(ctx)
		a := f.laterWith(cctx, old, OpenOptions{Wait: time.Minute})
		b := f.later(old, ReadWrite, 20*time.Second)
		c := f.later(old, ReadWrite, time.Minute)
		f.regenerate(s, time.Minute)
		cancel()
		a.refused(context.Canceled)
		sleep(20 * time.Second)
		b.refused(ErrLockTimeout)
		f.ok(s.Close(ctx))
		f.ok(c.session().Close(ctx))
	})
}

func TestRegenerateDoesNotProlongTheLease(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		p := f.later(old, ReadWrite, WaitMax)
		sleep(f.tenant.Settings.LockLease / 2)
		id := f.regenerate(s, time.Minute)
		sleep(f.tenant.Settings.LockLease / 2)
		f.has(p.session(), "k", "v")
		f.is(s.Put([]byte("k"), nil), ErrLockLost)
		f.ok(p.s.Close(ctx))
		f.holds(id, "k", "v")
	})
}

func TestRegenerateBeforeTheFirstSave(t *testing.T) {
	play(t, func(f *fixture) {
		old, s := f.new("k", "v")
		p := f.later(old, ReadWrite, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.refused(old, ErrNotFound, Update, Read, Snapshot)
		f.refused(id, ErrNotFound, Update, Read, Snapshot)
		f.refused(old, ErrLockTimeout, ReadWrite)
		f.ok(s.Close(ctx))
		f.has(p.session(), "k", "v")
		f.ok(p.s.Close(ctx))
		f.holds(id, "k", "v")
		f.holds(old, "k", "v")
	})
}

// Nobody gets a new session under an id that he never heard of.
func TestAliasOfNothingCreatesNothing(t *testing.T) {
	play(t, func(f *fixture) {
		old, s := f.new("k", "v")
		p := f.later(old, ReadWrite, time.Minute)
		id := f.regenerate(s, time.Minute)
		f.ok(s.Abort())
		p.refused(ErrNotFound)
		f.refused(old, ErrNotFound)
		f.refused(id, ErrNotFound, Update, Read, Snapshot)
		f.ok(f.open(id, ReadWrite).Abort()) // but who knows it may
	})
}

func TestRegenerateDoesNotProlongTheAbsoluteLifetime(t *testing.T) {
	play(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
		id := f.saved("k", "v")
		for range 5 {
			sleep(10 * time.Minute)
			s := f.open(id, ReadWrite)
			id = f.regenerate(s, 0)
			f.ok(s.Close(ctx))
		}
		f.lives(id, 10*time.Minute)
	})
}

func TestRegenerateIsUse(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		sleep(20 * time.Minute)
		s := f.open(id, ReadWrite)
		id = f.regenerate(s, 0)
		f.ok(s.Abort())
		f.lives(id, 24*time.Minute)
	})
}

func TestFailedRegenerateChangesNothing(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		f.put(s, "k", "w")
		p := f.later(old, ReadWrite, time.Minute)
		f.store.Fail(storagetest.OpPutAll, errors.New("broken"))
		for range 3 {
			_, err := s.Regenerate(ctx, time.Minute)
			f.is(err, ErrStore)
		}
		f.store.Fail(storagetest.OpPutAll, nil)
		f.has(s, "k", "w")
		p.stillWaits()
		f.refused(old, ErrLockTimeout, ReadWrite)
		f.holds(old, "k", "v")
		f.ok(s.Close(ctx))
		f.has(p.session(), "k", "w")
		f.ok(p.s.Close(ctx))
	})
}

// lostAcks makes PutAll answer an error after it has done its work.
func (f *fixture) lostAcks(lost bool) {
	f.store.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
		if op == storagetest.OpPutAll && lost {
			return errors.New("lost")
		}
		return nil
	})
}

// The store says that moving failed although it was done. The session must not come apart into two.
func TestRegenerateWhoseAcknowledgementWasLost(t *testing.T) {
	for _, end := range []string{"close", "commit", "retry", "destroy", "abort"} {
		t.Run(end, func(t *testing.T) {
			play(t, func(f *fixture) {
				old := f.saved("k", "v")
				s := f.open(old, ReadWrite)
				f.lostAcks(true)
				for range 2 {
					_, err := s.Regenerate(ctx, time.Minute)
					f.is(err, ErrStore)
				}
				f.lostAcks(false)
				f.refused(old, ErrLockTimeout, ReadWrite, Update, Read) // although the old id leads to the new one
				p := f.later(old, Update, time.Second)
				p.stillWaits()
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
					f.ok(s.Abort()) // then it is where the store has it
				}
				want := int64(1)
				if end == "destroy" {
					p.refused(ErrNotFound)
					f.refused(old, ErrNotFound)
					want = 0
				} else {
					f.has(p.session(), "k", "v")
					f.ok(p.s.Close(ctx))
				}
				switch end {
				case "close", "commit":
					sleep(time.Minute)
					f.holds(old, "k", "v") // it is no alias any more
				case "retry":
					f.holds(id, "k", "v")
				}
				u, err := f.store.Usage(ctx, f.tenant.Name)
				f.ok(err)
				f.equal("sessions", u.Records, want)
			})
		})
	}
}

// A store that cannot write two records at once.
type plain struct{ storage.Store }

func TestRegenerateWithoutBatches(t *testing.T) {
	play(t, func(f *fixture) {
		faulty := storagetest.NewFaulty(plain{memory.New(memory.Options{})})
		f.m.store = faulty
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		// The session is copied, but the old id cannot be burnt.
		faulty.Before(func(_ context.Context, op storagetest.Op, key storage.Key) error {
			if op == storagetest.OpPut && key.ID == Hash([]byte(old)) {
				return errors.New("broken")
			}
			return nil
		})
		_, err := s.Regenerate(ctx, 0)
		f.is(err, ErrStore)
		copied := s.next.id
		f.holds(copied, "k", "v")
		f.holds(old, "k", "v")
		faulty.Before(nil)
		f.put(s, "k", "w")
		f.ok(s.Close(ctx))
		f.holds(old, "k", "w")
		f.refused(copied, ErrNotFound, Update, Read, Snapshot) // nothing is left behind

		s = f.open(old, ReadWrite)
		id := f.regenerate(s, 0)
		f.ok(s.Close(ctx))
		f.holds(id, "k", "w")
		f.refused(old, ErrNotFound)
	})
}

// Every reader finds the session at every moment, by one id or the other, while it moves.
func TestRegenerateIsAtomic(t *testing.T) {
	play(t, func(f *fixture) {
		old := f.saved("k", "v")
		s := f.open(old, ReadWrite)
		look := func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpPutAll {
				f.holds(old, "k", "v")
			}
			return nil
		}
		f.store.Before(look)
		f.store.After(look)
		id := f.regenerate(s, time.Minute)
		f.holds(id, "k", "v")
		f.ok(s.Close(ctx))
	})
}
