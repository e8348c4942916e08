package session

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// contendedLock is one session's lock, whatever key it has moved to, with a check of its exclusion and order.
type contendedLock struct {
	inside atomic.Int32 // holds that have pinned the lock: -1 is a writer, n are readers

	mu      sync.Mutex // serializes arrivals and guards the fields below
	key     storage.Key
	account account
	arrived []*hold
}

// arrive enqueues a hold, and returns its position in the order of arrival.
func (a *contendedLock) arrive(t *lockTable, exclusive bool, lease time.Duration) (h *hold, position int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h, err := t.enqueue(a.key, exclusive, lease, &a.account, 0)
	if err != nil {
		panic(err)
	}
	a.arrived = append(a.arrived, h)
	return h, len(a.arrived)
}

// overtaken returns the number of holds before position that still wait.
func (a *contendedLock) overtaken(position int) int {
	a.mu.Lock()
	before := a.arrived[:position-1]
	a.mu.Unlock()
	n := 0
	for _, h := range before {
		if h.state.Load() == waiting {
			n++
		}
	}
	return n
}

// enter counts h, which has pinned the lock, and fails the test if a hold is inside with which h cannot share.
func (a *contendedLock) enter(t *testing.T, h *hold) {
	if h.exclusive {
		if !a.inside.CompareAndSwap(0, -1) {
			t.Error("a writer entered beside another hold")
		}
	} else if a.inside.Add(1) <= 0 {
		t.Error("a reader entered beside a writer")
	}
}

func (a *contendedLock) leave(h *hold) {
	if h.exclusive {
		a.inside.Store(0)
	} else {
		a.inside.Add(-1)
	}
}

// TestLockUnderLoad has goroutines wait, give up, pin the lock, outlive their lease, and move locks to other keys,
// all at random.
func TestLockUnderLoad(t *testing.T) {
	const actors, rounds = 16, 400
	var lostLocks atomic.Int32
	table := newLockTable(func(storage.Key) { lostLocks.Add(1) })
	locks := make([]*contendedLock, 3)
	for i := range locks {
		locks[i] = &contendedLock{key: storage.Key{Tenant: "acme", ID: storage.ID{byte(i)}}}
	}
	var moves atomic.Uint32
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	var wg sync.WaitGroup
	for actor := range actors {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(actor)))
			for range rounds {
				a := locks[rnd.IntN(len(locks))]
				lease := time.Hour
				if rnd.IntN(4) == 0 {
					lease = time.Duration(rnd.IntN(50)) * time.Microsecond
				}
				h, position := a.arrive(table, rnd.IntN(3) > 0, lease)
				if h.granted != nil {
					if rnd.IntN(5) == 0 {
						time.Sleep(time.Duration(rnd.IntN(20)) * time.Microsecond)
						if !h.leave() {
							continue
						}
					}
					<-h.granted
				}
				if n := a.overtaken(position); n > 0 {
					t.Errorf("%d earlier holds still wait", n)
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
					// The steps of Regenerate. Arrivals are blocked, so that their order is known.
					to := storage.Key{Tenant: "acme", ID: storage.ID{255, byte(moves.Add(1)), byte(moves.Load() >> 8)}}
					a.mu.Lock()
					n := table.lockSuccessor(h, to)
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
	for i, a := range locks {
		if n := a.account.waiters.Load(); n != 0 {
			t.Errorf("lock %d: %d waiters are counted, want 0", i, n)
		}
	}
	for i := range table.shards {
		if n := len(table.shards[i].locks); n > 0 {
			t.Errorf("%d locks are left in shard %d", n, i)
		}
	}
	t.Logf("%d locks were lost, %d moved", lostLocks.Load(), moves.Load())
}
