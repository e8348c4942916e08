package session

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// lockTable holds the locks that are held or waited for. A session without a holder or waiter has no entry.
type lockTable struct {
	seed   maphash.Seed
	shards [64]lockShard
	onLost func(storage.Key) // called for every lock taken from its holder, under the shard's mutex; may be nil
}

type lockShard struct {
	mu    sync.Mutex // guards the map and every lock and hold in it
	index int
	locks map[storage.Key]*lock
	drops map[string]int // tenants being dropped, and how many calls drop each; no lock of theirs is granted
}

// lock is one session's lock: one exclusive holder or any number of shared ones, and the waiters in order of
// arrival.
type lock struct {
	table      *lockTable
	shard      *lockShard
	key        storage.Key
	holders    []*hold
	queue      []*hold
	holderBuf  [1]*hold      // backing array for a single holder
	first      hold          // the first hold, most often the only one; see newHold
	touchDone  chan struct{} // not nil during a touch without the lock; closed at its end
	saveDone   chan struct{} // not nil while a goroutine waits for the end of a save; closed then
	leaseTimer *time.Timer   // runs while the queue is not empty, until the last holder's lease ends
}

// hold is a place in the queue, and later the possession of the lock.
type hold struct {
	lock      atomic.Pointer[lock] // changes when Regenerate moves the queue; see enterShard
	state     atomic.Int32         // written under the shard's mutex
	exclusive bool
	saving    bool // a save is in progress, until whose end the lease cannot be taken away
	lease     time.Duration
	leaseEnd  time.Time     // set when the lock is granted
	granted   chan struct{} // closed when a waiting hold is granted or dropped
	account   *account      // of the tenant, which counts waiters; nil for a hold that never waited
}

const (
	waiting int32 = iota
	held
	lost     // the lease was over and another hold took the lock
	released // given up by the holder or waiter
	dropped  // the tenant was dropped
)

// errDropping refuses a lock of a tenant that is being dropped.
var errDropping = fmt.Errorf("%w: all sessions of the tenant are being removed; try again later", ErrNotFound)

func newLockTable(onLost func(storage.Key)) *lockTable {
	t := &lockTable{seed: maphash.MakeSeed(), onLost: onLost}
	for i := range t.shards {
		t.shards[i].index = i
		t.shards[i].locks = make(map[storage.Key]*lock)
		t.shards[i].drops = make(map[string]int)
	}
	return t
}

func (t *lockTable) shard(key storage.Key) *lockShard {
	return &t.shards[maphash.Comparable(t.seed, key)%uint64(len(t.shards))]
}

// ensure returns the lock of key and creates it if there is none. The shard's mutex must be held, and a hold must
// be added to a new lock before the mutex is unlocked.
func (t *lockTable) ensure(s *lockShard, key storage.Key) *lock {
	l := s.locks[key]
	if l == nil {
		l = &lock{table: t, shard: s, key: key}
		l.holders = l.holderBuf[:0]
		s.locks[key] = l
	}
	return l
}

// newHold returns a hold that is to be granted or to wait.
func (l *lock) newHold(exclusive bool, lease time.Duration) *hold {
	h := &l.first
	if h.lock.Load() != nil {
		h = new(hold)
	}
	h.exclusive, h.lease = exclusive, lease
	return h
}

// try takes the lock of key if it is available at once without overtaking a waiter. Otherwise it returns nil and
// leaves no trace, so that it delays no other client.
func (t *lockTable) try(key storage.Key, exclusive bool, lease time.Duration) (*hold, error) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops[key.Tenant] > 0 {
		return nil, errDropping
	}
	l := t.ensure(s, key)
	h := l.newHold(exclusive, lease)
	if !l.take(h) {
		return nil, nil
	}
	return h, nil
}

// enqueue takes the lock of key, or joins the end of its queue: then granted is not nil. It returns ErrQuota if the
// account already has maxWaiters waiters.
func (t *lockTable) enqueue(key storage.Key, exclusive bool, lease time.Duration, a *account, maxWaiters int) (
	*hold, error,
) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops[key.Tenant] > 0 {
		return nil, errDropping
	}
	l := t.ensure(s, key)
	h := l.newHold(exclusive, lease)
	if l.take(h) {
		return h, nil
	}
	if err := a.addWaiter(maxWaiters); err != nil {
		return nil, err
	}
	h.account, h.granted = a, make(chan struct{})
	h.lock.Store(l)
	l.queue = append(l.queue, h)
	l.advance()
	return h, nil
}

// take grants the lock to h if the queue is empty and the present holders share it, or their leases are over.
func (l *lock) take(h *hold) bool {
	if len(l.queue) > 0 {
		return false
	}
	if !l.admits(h.exclusive) {
		l.expire()
		if !l.admits(h.exclusive) {
			return false
		}
	}
	l.grant(h)
	return true
}

// admits reports whether the present holders leave room for one more.
func (l *lock) admits(exclusive bool) bool {
	return len(l.holders) == 0 || !exclusive && !l.holders[0].exclusive
}

func (l *lock) grant(h *hold) {
	h.lock.Store(l)
	h.leaseEnd = time.Now().Add(h.lease)
	h.state.Store(held)
	l.holders = append(l.holders, h)
	if h.granted != nil {
		h.wake()
	}
}

// wake ends the wait of h, which has left the queue.
func (h *hold) wake() {
	h.account.waiters.Add(-1)
	close(h.granted)
}

// advance takes the lock from holders whose lease is over, and grants it to the holds at the head of the queue that
// share it. It is called after every change, and sets the timer for the next change that time alone causes.
func (l *lock) advance() {
	if len(l.queue) > 0 {
		l.expire()
	}
	for len(l.queue) > 0 && l.admits(l.queue[0].exclusive) {
		h := l.queue[0]
		l.queue = l.queue[1:]
		l.grant(h)
	}
	switch {
	case len(l.queue) > 0:
		l.awaitExpiry()
	case l.leaseTimer != nil:
		l.leaseTimer.Stop()
	}
	if len(l.holders) == 0 && len(l.queue) == 0 && l.touchDone == nil {
		delete(l.shard.locks, l.key)
	}
}

// expire takes the lock from its holders if all of their leases are over. While one lease is not over, taking the
// lock from the other holders would not make room.
func (l *lock) expire() {
	now := time.Now()
	for _, h := range l.holders {
		if h.saving || now.Before(h.leaseEnd) {
			return
		}
	}
	for _, h := range l.holders {
		h.state.Store(lost)
		if l.table.onLost != nil {
			l.table.onLost(l.key)
		}
	}
	clear(l.holders)
	l.holders = l.holders[:0]
}

func (l *lock) awaitExpiry() {
	var last time.Time
	for _, h := range l.holders {
		if h.saving {
			return // endSave calls advance
		}
		if h.leaseEnd.After(last) {
			last = h.leaseEnd
		}
	}
	if l.leaseTimer == nil {
		l.leaseTimer = time.AfterFunc(time.Until(last), l.onExpiry)
	} else {
		l.leaseTimer.Reset(time.Until(last))
	}
}

func (l *lock) onExpiry() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if len(l.queue) > 0 { // else the timer fired before it was stopped, and the lock may have left the table
		l.advance()
	}
}

// enterShard locks the shard that guards h, and returns the lock that h belongs to. Regenerate may move h to
// another lock until the mutex is held.
func (h *hold) enterShard() *lock {
	for {
		l := h.lock.Load()
		l.shard.mu.Lock()
		if h.lock.Load() == l {
			return l
		}
		l.shard.mu.Unlock()
	}
}

// key returns the key of the lock that h belongs to now.
func (h *hold) key() storage.Key { return h.lock.Load().key }

// isLost reports whether the lock was taken away.
func (h *hold) isLost() bool {
	state := h.state.Load()
	return state == lost || state == dropped
}

// isDropped reports whether the lock was taken away because the tenant was dropped.
func (h *hold) isDropped() bool { return h.state.Load() == dropped }

// release gives up the lock, or the place in the queue, and grants the lock to the next holds. Releasing a hold
// that is not held any more is harmless.
func (h *hold) release() {
	l := h.enterShard()
	defer l.shard.mu.Unlock()
	switch h.state.Load() {
	case held:
		l.holders = without(l.holders, h)
	case waiting:
		l.queue = without(l.queue, h)
		h.account.waiters.Add(-1)
	default:
		return
	}
	h.state.Store(released)
	l.advance()
}

// leave gives up the place in the queue, or reports that the wait is already over.
func (h *hold) leave() (over bool) {
	l := h.enterShard()
	defer l.shard.mu.Unlock()
	if h.state.Load() != waiting {
		return true
	}
	l.queue = without(l.queue, h)
	h.account.waiters.Add(-1)
	h.state.Store(released)
	l.advance()
	return false
}

func without(holds []*hold, h *hold) []*hold {
	if i := slices.Index(holds, h); i >= 0 {
		return slices.Delete(holds, i, i+1)
	}
	return holds
}

// beginSave pins the lock for the time of a save, or reports that it is not held any more. This is the fence: a
// write that began under the lock ends before another client gets the lock.
//
// beginSave waits for a touch in progress that has no lock.
func (h *hold) beginSave() bool {
	l := h.enterShard()
	for l.touchDone != nil {
		touchDone := l.touchDone
		l.shard.mu.Unlock()
		<-touchDone
		l = h.enterShard()
	}
	defer l.shard.mu.Unlock()
	if h.state.Load() != held {
		return false
	}
	h.saving = true
	return true
}

func (h *hold) endSave() {
	l := h.enterShard()
	defer l.shard.mu.Unlock()
	h.saving = false
	l.afterSave()
	l.advance()
}

// afterSave is called at the end of a save, before advance.
func (l *lock) afterSave() {
	if l.saveDone != nil {
		close(l.saveDone)
		l.saveDone = nil
	}
	if l.shard.drops[l.key.Tenant] > 0 {
		l.drop()
	}
}

// beginTouch blocks all saves under key until endTouch, without taking the lock, so that no client that opens the
// session is delayed. It returns false during another save or touch, which marks the session as used as well.
func (t *lockTable) beginTouch(key storage.Key) bool {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := t.ensure(s, key)
	if l.touchDone != nil || slices.ContainsFunc(l.holders, func(h *hold) bool { return h.saving }) {
		return false
	}
	l.touchDone = make(chan struct{})
	return true
}

func (t *lockTable) endTouch(key storage.Key) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.locks[key]
	close(l.touchDone)
	l.touchDone = nil
	l.advance()
}

// lockSuccessor takes the lock of a new key, which no client can know yet, for the holder of h. The new hold has
// the rest of the lease of h, and is pinned as by beginSave.
func (t *lockTable) lockSuccessor(h *hold, key storage.Key) *hold {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := t.ensure(s, key)
	n := l.newHold(true, h.lease)
	n.saving = true
	l.grant(n)
	n.leaseEnd = h.leaseEnd
	return n
}

// move ends h, whose session now lives under the key that n holds. The waiters for h's lock now wait for n's, ahead
// of the waiters that came to that one by themselves: they were first.
func (t *lockTable) move(h, n *hold) {
	from, to := h.lock.Load(), n.lock.Load() // both are pinned, so neither moves or is removed
	first, second := from.shard, to.shard
	if first.index > second.index {
		first, second = second, first
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	if second != first {
		second.mu.Lock()
		defer second.mu.Unlock()
	}
	h.saving, n.saving = false, false
	h.state.Store(released)
	from.holders = without(from.holders, h)
	moved := from.queue
	from.queue = nil
	for _, w := range moved {
		w.lock.Store(to)
	}
	to.queue = append(moved, to.queue...)
	from.afterSave()
	to.afterSave()
	from.advance()
	to.advance()
}

// drop takes the lock from all holders and waiters, except a holder whose save is in progress.
func (l *lock) drop() {
	kept := l.holders[:0]
	for _, h := range l.holders {
		if h.saving {
			kept = append(kept, h)
			continue
		}
		h.state.Store(dropped)
		if l.table.onLost != nil {
			l.table.onLost(l.key)
		}
	}
	clear(l.holders[len(kept):])
	l.holders = kept
	for _, h := range l.queue {
		h.state.Store(dropped)
		h.wake()
	}
	l.queue = nil
}

// beginDrop takes all locks of a tenant from their holders and waiters, and no lock is granted until endDrop. When
// it has returned nil, no session of the tenant is being saved any more.
func (t *lockTable) beginDrop(ctx context.Context, tenant string) error {
	for i := range t.shards {
		t.shards[i].beginDrop(tenant)
	}
	// A holder whose save is in progress loses its lock at the end of the save. A save under a new key, which
	// Regenerate took in the meantime, ends no later than the one under the old key.
	for i := range t.shards {
		for {
			saving := t.shards[i].pendingSave(tenant)
			if saving == nil {
				break
			}
			select {
			case <-saving:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (s *lockShard) beginDrop(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops[tenant]++
	for key, l := range s.locks {
		if key.Tenant == tenant {
			l.drop()
			l.advance() // which may remove it from the table
		}
	}
}

// pendingSave returns a channel that is closed at the end of one of the tenant's saves in progress, or nil if there
// is none.
func (s *lockShard) pendingSave(tenant string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.locks {
		if key.Tenant == tenant && slices.ContainsFunc(l.holders, func(h *hold) bool { return h.saving }) {
			if l.saveDone == nil {
				l.saveDone = make(chan struct{})
			}
			return l.saveDone
		}
	}
	return nil
}

func (t *lockTable) endDrop(tenant string) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if s.drops[tenant]--; s.drops[tenant] == 0 {
			delete(s.drops, tenant)
		}
		s.mu.Unlock()
	}
}
