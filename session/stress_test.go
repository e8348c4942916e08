package session

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// arena is one session's lock as the stress test sees it from outside, whatever key it has moved to.
type arena struct {
	inside atomic.Int32 // -1: a writer, n: readers; only those who have pinned the lock count

	mu      sync.Mutex // serializes arrivals and guards what follows
	key     storage.Key
	account account
	arrived []*hold
}

// arrive queues up, and remembers the order.
func (a *arena) arrive(t *lockTable, exclusive bool, lease time.Duration) (h *hold, place int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h, err := t.queue(a.key, exclusive, lease, &a.account, 0)
	if err != nil {
		panic(err)
	}
	a.arrived = append(a.arrived, h)
	return h, len(a.arrived)
}

// overtaken returns how many of those who arrived before place wait still.
func (a *arena) overtaken(place int) int {
	a.mu.Lock()
	before := a.arrived[:place-1]
	a.mu.Unlock()
	n := 0
	for _, h := range before {
		if h.state.Load() == waiting {
			n++
		}
	}
	return n
}

// enter counts h in, which has pinned the lock, and fails if somebody is inside with whom it cannot share.
func (a *arena) enter(t *testing.T, h *hold) {
	if h.exclusive {
		if !a.inside.CompareAndSwap(0, -1) {
			t.Error("a writer found somebody inside")
		}
	} else if a.inside.Add(1) <= 0 {
		t.Error("a reader found a writer inside")
	}
}

func (a *arena) leave(h *hold) {
	if h.exclusive {
		a.inside.Store(0)
	} else {
		a.inside.Add(-1)
	}
}

// TestLockUnderLoad has goroutines queue up, give up, pin, outstay their lease, and move locks to other keys, all at
// random.
func TestLockUnderLoad(t *testing.T) {
	const actors, rounds = 16, 400
	var lostLocks atomic.Int32
	table := newLockTable(func(storage.Key) { lostLocks.Add(1) })
	arenas := make([]*arena, 3)
	for i := range arenas {
		arenas[i] = &arena{key: storage.Key{Tenant: "acme", ID: storage.ID{byte(i)}}}
	}
	var fresh atomic.Uint32
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	var wg sync.WaitGroup
	for actor := range actors {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(actor)))
			for range rounds {
				a := arenas[rnd.IntN(len(arenas))]
				lease := time.Hour
				if rnd.IntN(4) == 0 {
					lease = time.Duration(rnd.IntN(50)) * time.Microsecond
				}
				h, place := a.arrive(table, rnd.IntN(3) > 0, lease)
				if h.granted != nil {
					if rnd.IntN(5) == 0 {
						time.Sleep(time.Duration(rnd.IntN(20)) * time.Microsecond)
						if !h.leave() {
							continue
						}
					}
					<-h.granted
				}
				if n := a.overtaken(place); n > 0 {
					t.Errorf("%d that came earlier wait still", n)
				}
				for rnd.IntN(3) > 0 && h.beginSave() {
					a.enter(t, h)
					if rnd.IntN(4) == 0 {
						time.Sleep(time.Duration(rnd.IntN(50)) * time.Microsecond)
					}
					a.leave(h)
					h.endSave()
				}
				if h.exclusive && rnd.IntN(10) == 0 && h.beginSave() {
					// What Regenerate does. Arrivals wait, so that order is known.
					to := storage.Key{Tenant: "acme", ID: storage.ID{255, byte(fresh.Add(1)), byte(fresh.Load() >> 8)}}
					a.mu.Lock()
					n := table.follow(h, to)
					table.move(h, n)
					a.key = to
					a.mu.Unlock()
					h = n
				}
				h.release()
			}
		})
	}
	wg.Wait()
	for i, a := range arenas {
		if n := a.account.waiters.Load(); n != 0 {
			t.Errorf("%d are counted as waiting in arena %d, where nobody does", n, i)
		}
	}
	for i := range table.shards {
		if n := len(table.shards[i].locks); n > 0 {
			t.Errorf("%d locks are left in shard %d", n, i)
		}
	}
	t.Logf("%d locks were lost, %d moved", lostLocks.Load(), fresh.Load())
}
