package session

import (
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
)

// bout is a lock table in virtual time, and one key of it.
type bout struct {
	*fixture
	t   *lockTable
	key storage.Key
}

const testLease = time.Minute

func lockTest(t *testing.T, test func(*bout)) {
	play(t, func(f *fixture) {
		test(&bout{fixture: f, t: f.m.locks, key: storage.Key{Tenant: "acme", ID: Hash([]byte(unknown))}})
	})
}

// try takes the lock, or answers nil.
func (b *bout) try(exclusive bool) *hold {
	b.Helper()
	h, err := b.t.try(b.key, exclusive, testLease)
	b.ok(err)
	return h
}

// one makes somebody queue up.
func (b *bout) one(key storage.Key, exclusive bool) *hold {
	b.Helper()
	h, err := b.t.queue(key, exclusive, testLease, b.m.accounts.of(key.Tenant), 0)
	b.ok(err)
	return h
}

// queue makes each letter of who queue up: x exclusive, s shared.
func (b *bout) queue(who string) []*hold {
	var holds []*hold
	for _, c := range who {
		holds = append(holds, b.one(b.key, c == 'x'))
	}
	return holds
}

// states fails unless the holds are, in this order: h held, w waiting, l lost, r released.
func (b *bout) states(holds []*hold, want string) {
	b.Helper()
	synctest.Wait()
	got := ""
	for _, h := range holds {
		got += string("whlr"[h.state.Load()])
		select {
		case <-h.granted:
			if h.state.Load() == waiting {
				b.Error("a waiting hold was told that it is granted")
			}
		default:
			if h.granted != nil && h.state.Load() == held {
				b.Error("a granted hold was not told")
			}
		}
	}
	b.equal("the holds' state", got, want)
}

func (b *bout) release(holds ...*hold) {
	for _, h := range holds {
		h.release()
	}
}

func TestLockIsGrantedInOrderOfArrival(t *testing.T) {
	lockTest(t, func(b *bout) {
		first := b.one(b.key, true)
		const n = 100
		order := make(chan int, n)
		for i := range n {
			h := b.one(b.key, true)
			go func() {
				<-h.granted
				order <- i
				h.release()
			}()
		}
		first.release()
		for i := range n {
			b.equal("the next one", <-order, i)
		}
	})
}

func TestSharedBetweenTwoWritersShare(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xsssxssx")
		b.states(h, "hwwwwwww")
		h[0].release()
		b.states(h, "rhhhwwww")
		b.release(h[1], h[3])
		b.states(h, "rrhrwwww")
		h[2].release()
		b.states(h, "rrrrhwww")
		h[4].release()
		b.states(h, "rrrrrhhw")
		b.release(h[5:]...)
		b.states(h, "rrrrrrrr")
	})
}

func TestNobodyOvertakes(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("sx")
		if b.try(false) != nil {
			t.Error("a shared try overtook the writer that waits")
		}
		h = append(h, b.queue("s")...)
		b.states(h, "hww") // shared, but behind the writer
		b.release(h...)
	})
}

func TestTryLeavesNoTrace(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.try(true)
		if b.try(true) != nil || b.try(false) != nil {
			t.Error("two have the lock")
		}
		sleep(10 * testLease)
		if h.isLost() {
			t.Error("the lock was lost to somebody who did not wait")
		}
		h.release()
		a, c := b.try(false), b.try(false)
		if a == nil || c == nil {
			t.Fatal("two readers do not share")
		}
		b.release(a, c)
	})
}

func TestWhoLeavesTheQueueIsSkipped(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("xxxsxs")
		b.release(h[1], h[4])
		if h[2].leave() {
			t.Error("a waiting hold says that it was granted")
		}
		b.states(h, "hrrwrw")
		h[0].release()
		b.states(h, "rrrhrh")
		if !h[3].leave() {
			t.Error("a granted hold left the queue")
		}
		b.release(h...) // also twice
		b.states(h, "rrrrrr")
	})
}

func TestReadersEnterWhenTheWriterBetweenThemLeaves(t *testing.T) {
	lockTest(t, func(b *bout) {
		h := b.queue("sxss")
		b.states(h, "hwww")
		h[1].leave()
		b.states(h, "hrhh")
		b.release(h...)
	})
}

func TestMoveTakesTheQueueAlong(t *testing.T) {
	// Both orders of shards, and the same shard, come up among so many keys.
	lockTest(t, func(b *bout) {
		for i := range 500 {
			b.key.ID[0], b.key.ID[1] = byte(i), byte(i>>8)
			h := b.queue("xsx")
			to := b.key
			to.ID[31]++
			h[0].beginSave()
			n := b.t.follow(h[0], to)
			early := b.one(to, true) // comes to the new key by itself, but later than h
			b.t.move(h[0], n)
			all := []*hold{h[0], n, h[1], h[2], early}
			b.states(all, "rhwww")
			n.release()
			b.states(all, "rrhww")
			b.equal("the key of a moved hold", h[1].key(), to)
			h[1].release()
			b.states(all, "rrrhw")
			h[2].release()
			b.states(all, "rrrrh")
			early.release()
		}
	})
}
