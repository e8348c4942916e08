package session

import (
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
)

// lockFixture is a lock table in virtual time, and one of its keys.
type lockFixture struct {
	*fixture
	table *lockTable
	key   storage.Key
}

const testLease = time.Minute

func lockTest(t *testing.T, test func(*lockFixture)) {
	testManager(t, func(f *fixture) {
		test(&lockFixture{fixture: f, table: f.m.locks, key: storage.Key{Tenant: "acme", ID: Hash([]byte(unusedID))}})
	})
}

// tryLock takes the lock, or returns nil.
func (f *lockFixture) tryLock(exclusive bool) *hold {
	f.Helper()
	h, err := f.table.try(f.key, exclusive, testLease)
	f.ok(err)
	return h
}

// enqueue takes the lock of key or joins its queue.
func (f *lockFixture) enqueue(key storage.Key, exclusive bool) *hold {
	f.Helper()
	h, err := f.table.enqueue(key, exclusive, testLease, f.m.accounts.of(key.Tenant), 0)
	f.ok(err)
	return h
}

// enqueueAll enqueues a hold for each letter of kinds: x exclusive, s shared.
func (f *lockFixture) enqueueAll(kinds string) []*hold {
	var holds []*hold
	for _, c := range kinds {
		holds = append(holds, f.enqueue(f.key, c == 'x'))
	}
	return holds
}

// wantStates fails the test unless the holds have these states, in this order: h held, w waiting, l lost, r
// released.
func (f *lockFixture) wantStates(holds []*hold, want string) {
	f.Helper()
	synctest.Wait()
	got := ""
	for _, h := range holds {
		got += string("whlr"[h.state.Load()])
		select {
		case <-h.granted:
			if h.state.Load() == waiting {
				f.Error("granted is closed for a waiting hold")
			}
		default:
			if h.granted != nil && h.state.Load() == held {
				f.Error("granted is not closed for a hold that was granted the lock")
			}
		}
	}
	f.equal("states of the holds", got, want)
}

func (f *lockFixture) releaseAll(holds ...*hold) {
	for _, h := range holds {
		h.release()
	}
}

func TestLockIsGrantedInOrderOfArrival(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		first := f.enqueue(f.key, true)
		const n = 100
		order := make(chan int, n)
		for i := range n {
			h := f.enqueue(f.key, true)
			go func() {
				<-h.granted
				order <- i
				h.release()
			}()
		}
		first.release()
		for i := range n {
			f.equal("next hold", <-order, i)
		}
	})
}

func TestReadersBetweenWritersShareTheLock(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xsssxssx")
		f.wantStates(h, "hwwwwwww")
		h[0].release()
		f.wantStates(h, "rhhhwwww")
		f.releaseAll(h[1], h[3])
		f.wantStates(h, "rrhrwwww")
		h[2].release()
		f.wantStates(h, "rrrrhwww")
		h[4].release()
		f.wantStates(h, "rrrrrhhw")
		f.releaseAll(h[5:]...)
		f.wantStates(h, "rrrrrrrr")
	})
}

func TestReaderDoesNotOvertakeWaitingWriter(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("sx")
		if f.tryLock(false) != nil {
			t.Error("a shared try overtook the waiting writer")
		}
		h = append(h, f.enqueueAll("s")...)
		f.wantStates(h, "hww") // shared, but behind the writer
		f.releaseAll(h...)
	})
}

func TestTryLeavesNoTrace(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.tryLock(true)
		if f.tryLock(true) != nil || f.tryLock(false) != nil {
			t.Error("a second hold has the exclusive lock")
		}
		sleep(10 * testLease)
		if h.isLost() {
			t.Error("the lock was lost to a try, which does not wait")
		}
		h.release()
		a, c := f.tryLock(false), f.tryLock(false)
		if a == nil || c == nil {
			t.Fatal("two readers do not share the lock")
		}
		f.releaseAll(a, c)
	})
}

func TestHoldThatLeavesTheQueueIsSkipped(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("xxxsxs")
		f.releaseAll(h[1], h[4])
		if h[2].leave() {
			t.Error("leave reports true for a waiting hold")
		}
		f.wantStates(h, "hrrwrw")
		h[0].release()
		f.wantStates(h, "rrrhrh")
		if !h[3].leave() {
			t.Error("leave reports false for a granted hold")
		}
		f.releaseAll(h...) // some for the second time
		f.wantStates(h, "rrrrrr")
	})
}

func TestReadersEnterWhenTheWriterBetweenThemLeaves(t *testing.T) {
	lockTest(t, func(f *lockFixture) {
		h := f.enqueueAll("sxss")
		f.wantStates(h, "hwww")
		h[1].leave()
		f.wantStates(h, "hrhh")
		f.releaseAll(h...)
	})
}

func TestMoveTakesTheQueueAlong(t *testing.T) {
	// With so many keys, both orders of the two shards and one shard for both occur.
	lockTest(t, func(f *lockFixture) {
		for i := range 500 {
			f.key.ID[0], f.key.ID[1] = byte(i), byte(i>>8)
			h := f.enqueueAll("xsx")
			to := f.key
			to.ID[31]++
			h[0].beginSave()
			n := f.table.lockSuccessor(h[0], to)
			early := f.enqueue(to, true) // waits for the new key by itself, but comes later than h
			f.table.move(h[0], n)
			all := []*hold{h[0], n, h[1], h[2], early}
			f.wantStates(all, "rhwww")
			n.release()
			f.wantStates(all, "rrhww")
			f.equal("key of a moved hold", h[1].key(), to)
			h[1].release()
			f.wantStates(all, "rrrhw")
			h[2].release()
			f.wantStates(all, "rrrrh")
			early.release()
		}
	})
}
