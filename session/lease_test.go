package session

import (
	"testing"
	"time"
)

func TestHolderWithoutWaitersKeepsTheLock(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("x")
		sleep(100 * testLease)
		f.wantStates(h, "h")
		f.releaseAll(h...)
	})
}

func TestLeaseEndsExactly(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xxx")
		sleep(testLease - 1)
		f.wantStates(h, "hww")
		sleep(1)
		f.wantStates(h, "lhw")
		sleep(testLease - 1) // the next holder's lease began when the lock was granted
		f.wantStates(h, "lhw")
		sleep(1)
		f.wantStates(h, "llh")
		f.equal("locks lost", f.count(LockLost), 2)
		f.releaseAll(h...) // releasing a lost lock does not affect the present holder
		f.wantStates(h, "llr")
	})
}

func TestReleasingALostLockDoesNotAffectTheNextHolder(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xx")
		sleep(testLease)
		h[0].release()
		f.wantStates(h, "lh")
		f.releaseAll(h...)
	})
}

func TestWaiterAfterTheLeaseTakesTheLockAtOnce(t *testing.T) {
	for name, arrive := range map[string]func(*lockFixture) *hold{
		"waiting":     func(f *lockFixture) *hold { return f.enqueue(f.key, true) },
		"not waiting": func(f *lockFixture) *hold { return f.tryLock(true) },
		"shared":      func(f *lockFixture) *hold { return f.tryLock(false) },
	} {
		t.Run(name, func(t *testing.T) {
			lockTest(t, func(f *lockFixture) {
				h := f.enqueueAll("x")
				sleep(testLease)
				f.wantStates(h, "h")
				h = append(h, arrive(f))
				f.wantStates(h, "lh")
				f.releaseAll(h...)
			})
		})
	}
}

func TestSharedLeasesEndWithTheLast(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("s")
		sleep(testLease / 2)
		h = append(h, f.enqueueAll("sx")...)
		sleep(testLease - 1)
		f.wantStates(h, "hhw") // taking the lock from the first holder alone would not make room
		sleep(1)
		f.wantStates(h, "llh")
		f.releaseAll(h...)
	})
}

func TestReleaseOfASharedHolderShortensTheWait(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("s")
		sleep(testLease / 2)
		h = append(h, f.enqueueAll("sx")...)
		h[1].release()
		sleep(testLease/2 - 1)
		f.wantStates(h, "hrw")
		sleep(1)
		f.wantStates(h, "lrh")
		f.releaseAll(h...)
	})
}

func TestReaderAfterTheLeaseShares(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("s")
		sleep(2 * testLease)
		h = append(h, f.enqueueAll("s")...)
		f.wantStates(h, "hh")
		f.releaseAll(h...)
	})
}

func TestSaveDefersTheLossOfTheLock(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xx")
		if !h[0].beginSave() {
			t.Fatal("a held lock cannot be pinned")
		}
		sleep(3 * testLease)
		f.wantStates(h, "hw")
		if f.tryLock(true) != nil {
			t.Error("a pinned lock was taken")
		}
		h[0].endSave()
		f.wantStates(h, "lh")
		if h[0].beginSave() {
			t.Error("a lost lock can be pinned")
		}
		f.releaseAll(h...)
	})
}

func TestSaveWithinTheLeaseDoesNotProlongIt(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xx")
		h[0].beginSave()
		sleep(testLease / 2)
		h[0].endSave()
		sleep(testLease/2 - 1)
		f.wantStates(h, "hw")
		sleep(1)
		f.wantStates(h, "lh")
		f.releaseAll(h...)
	})
}

func TestHolderKeepsTheLockWhenTheOnlyWaiterLeaves(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xx")
		sleep(testLease / 2)
		h[1].leave()
		sleep(testLease)
		f.wantStates(h, "hr")
		h = append(h, f.enqueueAll("x")...)
		f.wantStates(h, "lrh")
		f.releaseAll(h...)
	})
}

func TestMoveKeepsTheRestOfTheLease(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xx")
		sleep(testLease / 3)
		h[0].beginSave()
		to := f.key
		to.ID[31]++
		n := f.table.lockSuccessor(h[0], to)
		f.table.move(h[0], n)
		all := []*hold{h[0], n, h[1]}
		sleep(testLease - testLease/3 - 1)
		f.wantStates(all, "rhw")
		sleep(1)
		f.wantStates(all, "rlh")
		f.releaseAll(all...)
	})
}

func TestCommandsDoNotProlongTheLease(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		p := f.openAsync(id, ReadWrite, WaitMax)
		for range 59 {
			sleep(time.Second)
			f.put(s, "k", "w")
		}
		p.wantWaiting()
		sleep(time.Second)
		f.wantErr(s.Put([]byte("k"), nil), ErrLockLost)
		f.wantValues(p.session(), "k", "v")
		f.ok(p.s.Close(ctx))
	})
}
