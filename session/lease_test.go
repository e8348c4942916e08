package session

import (
	"testing"
	"time"
)

func TestWithoutAWaiterTheHolderKeepsTheLock(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("x")
		sleep(100 * testLease)
		b.states(h, "h")
		b.release(h...)
	})
}

func TestLeaseEndsExactly(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xxx")
		sleep(testLease - 1)
		b.states(h, "hww")
		sleep(1)
		b.states(h, "lhw")
		sleep(testLease - 1) // the next one's lease began when it got the lock
		b.states(h, "lhw")
		sleep(1)
		b.states(h, "llh")
		b.equal("locks lost", b.count(LockLost), 2)
		b.release(h...) // releasing a lost lock takes nothing from anybody
		b.states(h, "llr")
	})
}

func TestReleasingALostLockTakesNothingFromTheNext(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xx")
		sleep(testLease)
		h[0].release()
		b.states(h, "lh")
		b.release(h...)
	})
}

func TestWaiterThatComesAfterTheLeaseTakesTheLockAtOnce(t *testing.T) {
	for name, come := range map[string]func(*bout) *hold{
		"waiting":     func(b *bout) *hold { return b.one(b.key, true) },
		"not waiting": func(b *bout) *hold { return b.try(true) },
		"shared":      func(b *bout) *hold { return b.try(false) },
	} {
		t.Run(name, func(t *testing.T) {
			lockTest(t, func(b *bout) {
				h := b.queue("x")
				sleep(testLease)
				b.states(h, "h")
				h = append(h, come(b))
				b.states(h, "lh")
				b.release(h...)
			})
		})
	}
}

func TestSharedLeasesEndTogether(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("s")
		sleep(testLease / 2)
		h = append(h, b.queue("sx")...)
		sleep(testLease - 1)
		b.states(h, "hhw") // taking it from the first alone would help nobody
		sleep(1)
		b.states(h, "llh")
		b.release(h...)
	})
}

func TestSharedHolderThatLeavesShortensTheWait(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("s")
		sleep(testLease / 2)
		h = append(h, b.queue("sx")...)
		h[1].release()
		sleep(testLease/2 - 1)
		b.states(h, "hrw")
		sleep(1)
		b.states(h, "lrh")
		b.release(h...)
	})
}

func TestReadersKeepTheLockFromNoReader(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("s")
		sleep(2 * testLease)
		h = append(h, b.queue("s")...)
		b.states(h, "hh")
		b.release(h...)
	})
}

func TestSaveDefersTheLoss(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xx")
		if !h[0].beginSave() {
			t.Fatal("a held lock cannot be pinned")
		}
		sleep(3 * testLease)
		b.states(h, "hw")
		if b.try(true) != nil {
			t.Error("somebody took a pinned lock")
		}
		h[0].endSave()
		b.states(h, "lh")
		if h[0].beginSave() {
			t.Error("a lost lock can be pinned")
		}
		b.release(h...)
	})
}

func TestSaveWithinTheLeaseDoesNotProlongIt(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xx")
		h[0].beginSave()
		sleep(testLease / 2)
		h[0].endSave()
		sleep(testLease/2 - 1)
		b.states(h, "hw")
		sleep(1)
		b.states(h, "lh")
		b.release(h...)
	})
}

func TestWaiterThatLeavesSavesTheHolder(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xx")
		sleep(testLease / 2)
		h[1].leave()
		sleep(testLease)
		b.states(h, "hr")
		h = append(h, b.queue("x")...)
		b.states(h, "lrh")
		b.release(h...)
	})
}

func TestMoveKeepsTheRestOfTheLease(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xx")
		sleep(testLease / 3)
		h[0].beginSave()
		to := b.key
		to.ID[31]++
		n := b.t.follow(h[0], to)
		b.t.move(h[0], n)
		all := []*hold{h[0], n, h[1]}
		sleep(testLease - testLease/3 - 1)
		b.states(all, "rhw")
		sleep(1)
		b.states(all, "rlh")
		b.release(all...)
	})
}

func TestCommandsDoNotProlongTheLease(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		s := f.open(id, ReadWrite)
		p := f.later(id, ReadWrite, WaitMax)
		for range 59 {
			sleep(time.Second)
			f.put(s, "k", "w")
		}
		p.stillWaits()
		sleep(time.Second)
		f.is(s.Put([]byte("k"), nil), ErrLockLost)
		f.has(p.session(), "k", "v")
		f.ok(p.s.Close(ctx))
	})
}
