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

// lockTable holds the locks that somebody has or waits for; a session without either has no entry.
type lockTable struct {
	seed   maphash.Seed
	shards [64]lockShard
	lost   func(storage.Key) // told of every lease that was taken away, under the shard's mutex; may be nil
}

type lockShard struct {
	mu    sync.Mutex // guards the map and every lock and hold in it
	index int
	locks map[storage.Key]*lock
	drops map[string]int // tenants being dropped, and by how many at once; nobody gets a lock of theirs
}

// lock is one session's lock: either one exclusive holder, or any number of shared ones, and those who wait in order
// of arrival.
type lock struct {
	table   *lockTable
	shard   *lockShard
	key     storage.Key
	holders []*hold
	queue   []*hold
	one     [1]*hold      // room for a single holder
	touched chan struct{} // not nil while somebody without the lock touches the session; closed when that is over
	saved   chan struct{} // not nil while somebody waits for a save to be over; closed then
	expiry  *time.Timer   // runs while somebody waits: fires when the last holder's lease is over
}

// hold is one party's place in the queue and then its possession of the lock.
type hold struct {
	lock      atomic.Pointer[lock] // changes when Regenerate moves the queue; see own
	state     atomic.Int32         // written under the shard's mutex
	exclusive bool
	saving    bool // a save is under way: the lease cannot be taken away until it is over
	lease     time.Duration
	until     time.Time     // end of the lease, once held
	granted   chan struct{} // closed when a waiting hold is granted or dropped
	account   *account      // of the tenant, which counts those that wait; nil: this one never waited
}

const (
	waiting int32 = iota
	held
	lost     // the lease was over and somebody else took the lock
	released // its own doing
	dropped  // the tenant was dropped
)

// errDropping is the answer to whoever wants a lock of a tenant that is being dropped.
var errDropping = fmt.Errorf("%w: all sessions of the tenant are being removed; try again later", ErrNotFound)

func newLockTable(onLost func(storage.Key)) *lockTable {
	t := &lockTable{seed: maphash.MakeSeed(), lost: onLost}
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

// enter returns the lock of key, made if there is none: then somebody must be put in it before the shard's mutex,
// which must be held, is let go.
func (t *lockTable) enter(s *lockShard, key storage.Key) *lock {
	l := s.locks[key]
	if l == nil {
		l = &lock{table: t, shard: s, key: key}
		l.holders = l.one[:0]
		s.locks[key] = l
	}
	return l
}

// try takes the lock of key if it can be had at once without overtaking anybody; otherwise it returns nil and leaves no
// trace, so that it delays nobody.
func (t *lockTable) try(key storage.Key, exclusive bool, lease time.Duration) (*hold, error) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops[key.Tenant] > 0 {
		return nil, errDropping
	}
	h := &hold{exclusive: exclusive, lease: lease}
	if l := t.enter(s, key); !l.take(h) {
		return nil, nil
	}
	return h, nil
}

// queue takes the lock of key, or a place at the end of its queue: then granted is not nil. It answers ErrQuota if as
// many wait on the account as may.
func (t *lockTable) queue(key storage.Key, exclusive bool, lease time.Duration, a *account, mostWaiters int) (*hold, error) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops[key.Tenant] > 0 {
		return nil, errDropping
	}
	h := &hold{exclusive: exclusive, lease: lease}
	l := t.enter(s, key)
	if l.take(h) {
		return h, nil
	}
	if err := a.wait(mostWaiters); err != nil {
		return nil, err
	}
	h.account, h.granted = a, make(chan struct{})
	h.lock.Store(l)
	l.queue = append(l.queue, h)
	l.advance()
	return h, nil
}

// take grants the lock to h if nobody stands before it and what holders there are make room or have had their time.
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

// admits reports whether the holders leave room for one more.
func (l *lock) admits(exclusive bool) bool {
	return len(l.holders) == 0 || !exclusive && !l.holders[0].exclusive
}

func (l *lock) grant(h *hold) {
	h.lock.Store(l)
	h.until = time.Now().Add(h.lease)
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

// advance grants the lock to as many at the head of the queue as it admits, taking it from holders whose lease is
// over, and sees to it that somebody comes back when there is more to do. It is called after every change.
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
	case l.expiry != nil:
		l.expiry.Stop()
	}
	if len(l.holders) == 0 && len(l.queue) == 0 && l.touched == nil {
		delete(l.shard.locks, l.key)
	}
}

// expire takes the lock from its holders if every one of their leases is over. As long as one is not, taking it from
// the others would help nobody.
func (l *lock) expire() {
	now := time.Now()
	for _, h := range l.holders {
		if h.saving || now.Before(h.until) {
			return
		}
	}
	for _, h := range l.holders {
		h.state.Store(lost)
		if l.table.lost != nil {
			l.table.lost(l.key)
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
		if h.until.After(last) {
			last = h.until
		}
	}
	if l.expiry == nil {
		l.expiry = time.AfterFunc(time.Until(last), l.onExpiry)
	} else {
		l.expiry.Reset(time.Until(last))
	}
}

func (l *lock) onExpiry() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if len(l.queue) > 0 { // otherwise it fired before it could be stopped, and the lock may be out of the table
		l.advance()
	}
}

// own locks the shard that guards h, and returns the lock that h is in. Regenerate may move h to another lock until
// the mutex is held.
func (h *hold) own() *lock {
	for {
		l := h.lock.Load()
		l.shard.mu.Lock()
		if h.lock.Load() == l {
			return l
		}
		l.shard.mu.Unlock()
	}
}

// key is that of the lock that h is in now.
func (h *hold) key() storage.Key { return h.lock.Load().key }

// isLost reports whether the lock was taken away.
func (h *hold) isLost() bool {
	state := h.state.Load()
	return state == lost || state == dropped
}

// isDropped reports whether it was because the tenant was dropped.
func (h *hold) isDropped() bool { return h.state.Load() == dropped }

// release gives up the lock, or the place in the queue, and lets the next ones in. Releasing what is not held any
// more is harmless.
func (h *hold) release() {
	l := h.own()
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

// leave gives up the place in the queue, or reports that the wait was over in the meantime.
func (h *hold) leave() (over bool) {
	l := h.own()
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

// beginSave pins the lock for the time of a save, or reports that it is not held any more. This is the fence: what
// has begun under the lock ends before anybody else gets it. It waits for a touch that is under way without the lock.
func (h *hold) beginSave() bool {
	l := h.own()
	for l.touched != nil {
		touched := l.touched
		l.shard.mu.Unlock()
		<-touched
		l = h.own()
	}
	defer l.shard.mu.Unlock()
	if h.state.Load() != held {
		return false
	}
	h.saving = true
	return true
}

func (h *hold) endSave() {
	l := h.own()
	defer l.shard.mu.Unlock()
	h.saving = false
	l.unpinned()
	l.advance()
}

// unpinned is called after a save, before advance.
func (l *lock) unpinned() {
	if l.saved != nil {
		close(l.saved)
		l.saved = nil
	}
	if l.shard.drops[l.key.Tenant] > 0 {
		l.drop()
	}
}

// beginTouch keeps everybody from saving what is under key until endTouch, without taking the lock, so that nobody who
// opens the session notices. It refuses if somebody is just saving or touching it: who does uses the session as well.
func (t *lockTable) beginTouch(key storage.Key) bool {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := t.enter(s, key)
	if l.touched != nil || slices.ContainsFunc(l.holders, func(h *hold) bool { return h.saving }) {
		return false
	}
	l.touched = make(chan struct{})
	return true
}

func (t *lockTable) endTouch(key storage.Key) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.locks[key]
	close(l.touched)
	l.touched = nil
	l.advance()
}

// follow takes the lock of a key that nobody knows yet for the holder of h, with what is left of the lease, and pins
// it like beginSave.
func (t *lockTable) follow(h *hold, key storage.Key) *hold {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &hold{exclusive: true, lease: h.lease, saving: true}
	t.enter(s, key).grant(n)
	n.until = h.until
	return n
}

// move ends h, whose session now lives under the key that n holds. Those who wait for h's lock go on waiting for n's,
// ahead of whoever has come to that one by itself: they were there first.
func (t *lockTable) move(h, n *hold) {
	from, to := h.lock.Load(), n.lock.Load() // both pinned, so neither moves or goes away
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
	from.unpinned()
	to.unpinned()
	from.advance()
	to.advance()
}

// drop takes the lock from all who have it or wait for it, but for those who are just saving.
func (l *lock) drop() {
	kept := l.holders[:0]
	for _, h := range l.holders {
		if h.saving {
			kept = append(kept, h)
			continue
		}
		h.state.Store(dropped)
		if l.table.lost != nil {
			l.table.lost(l.key)
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

// beginDrop takes all locks of a tenant from those who have them or wait for them, and keeps everybody from getting one
// until endDrop. When it has returned nil nobody saves a session of the tenant any more.
func (t *lockTable) beginDrop(ctx context.Context, tenant string) error {
	for i := range t.shards {
		t.shards[i].beginDrop(tenant)
	}
	// Those who were just saving lose their locks when they have finished. A save under a new key that Regenerate has taken
	// in the meantime is over no later than the one under the old key.
	for i := range t.shards {
		for {
			saved := t.shards[i].saving(tenant)
			if saved == nil {
				break
			}
			select {
			case <-saved:
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
			l.advance() // which may take it out of the table
		}
	}
}

// saving answers a channel that is closed when one of those who are saving a session of the tenant has finished, or nil
// if nobody is.
func (s *lockShard) saving(tenant string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.locks {
		if key.Tenant == tenant && slices.ContainsFunc(l.holders, func(h *hold) bool { return h.saving }) {
			if l.saved == nil {
				l.saved = make(chan struct{})
			}
			return l.saved
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
