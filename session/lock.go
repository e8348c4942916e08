package session

import (
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
	granted   chan struct{} // closed when a waiting hold is granted
}

const (
	waiting int32 = iota
	held
	lost     // the lease was over and somebody else took the lock
	released // its own doing
)

func newLockTable(onLost func(storage.Key)) *lockTable {
	t := &lockTable{seed: maphash.MakeSeed(), lost: onLost}
	for i := range t.shards {
		t.shards[i].index = i
		t.shards[i].locks = make(map[storage.Key]*lock)
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
func (t *lockTable) try(key storage.Key, exclusive bool, lease time.Duration) *hold {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &hold{exclusive: exclusive, lease: lease}
	if l := t.enter(s, key); !l.take(h) {
		return nil
	}
	return h
}

// queue takes the lock of key, or a place at the end of its queue: then granted is not nil.
func (t *lockTable) queue(key storage.Key, exclusive bool, lease time.Duration) *hold {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &hold{exclusive: exclusive, lease: lease}
	if l := t.enter(s, key); !l.take(h) {
		h.granted = make(chan struct{})
		h.lock.Store(l)
		l.queue = append(l.queue, h)
		l.advance()
	}
	return h
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
		close(h.granted)
	}
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
func (h *hold) isLost() bool { return h.state.Load() == lost }

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
	default:
		return
	}
	h.state.Store(released)
	l.advance()
}

// leave gives up the place in the queue, or reports that the lock was granted in the meantime.
func (h *hold) leave() (granted bool) {
	l := h.own()
	defer l.shard.mu.Unlock()
	if h.state.Load() != waiting {
		return true
	}
	l.queue = without(l.queue, h)
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
	l.advance()
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
	from.advance()
	to.advance()
}
