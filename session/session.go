package session

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"sessionserver/storage"
)

// Session is one open session. Changes live in memory until Commit or Close. It is not for concurrent use, and must
// be ended by Close, Abort or Destroy.
//
// Once the lock has been lost every method answers ErrLockLost, once, and ErrClosed from then on; nothing that was
// not saved is left.
type Session struct {
	m      *Manager
	tenant *Tenant
	key    storage.Key
	hold   *hold // nil: without a lock, by Snapshot or after Commit

	rec     record
	loaded  []byte        // the record as it was loaded; nobody needs what is saved, as the lock is given up after that
	size    int           // bytes of the record as it is stored, or fewer
	expires time.Time     // as it is stored
	idle    time.Duration // how long what is stored lives unused
	next    successor
	stored  bool // false until the first save
	dirty   bool
	counted bool // in Manager.open
	ended   bool
}

func (s *Session) settings() *Settings { return &s.tenant.Settings }

// opened counts the session among those that are open.
func (s *Session) opened() *Session {
	s.counted = true
	s.m.open.Add(1)
	return s
}

// Ended reports whether the session is over: closed, aborted or destroyed, or ended because its lock or its lifetime
// was.
func (s *Session) Ended() bool { return s.ended }

// Err answers why the session cannot be used any more, as every other method would: ErrLockLost, which ends it, or ErrClosed.
func (s *Session) Err() error { return s.ready() }

// ready answers why the session cannot be used: it has ended, or its lock is lost, which ends it.
func (s *Session) ready() error {
	if s.ended {
		return ErrClosed
	}
	if s.hold != nil && s.hold.isLost() {
		return s.lockLost()
	}
	return nil
}

func (s *Session) lockLost() error {
	s.end()
	if s.hold.isDropped() {
		return fmt.Errorf("%w: all sessions of the tenant were removed, and nothing was saved", ErrLockLost)
	}
	return fmt.Errorf("%w: it was held for more than %v while others waited; nothing was saved, open the session again",
		ErrLockLost, s.tenant.Settings.LockLease)
}

// writable answers why the session cannot be changed.
func (s *Session) writable() error {
	if err := s.ready(); err != nil {
		return err
	}
	if s.hold == nil || !s.hold.exclusive {
		return fmt.Errorf("%w; close it and open it in mode rw", ErrReadOnly)
	}
	return nil
}

// end lets go of the lock and of all that was not saved.
func (s *Session) end() {
	s.ended = true
	if s.counted {
		s.counted = false
		s.m.open.Add(-1)
	}
	if s.hold != nil {
		s.hold.release()
	}
	s.next.release()
}

// Get returns the value of key, which is valid until the next change, or ErrNoKey.
func (s *Session) Get(key []byte) ([]byte, error) {
	i, err := s.lookup(key)
	if err != nil {
		return nil, err
	}
	return s.rec.values.list[i].value, nil
}

// lookup finds the value of key, or answers ErrNoKey.
func (s *Session) lookup(key []byte) (int, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	i := s.rec.values.find(key)
	if i < 0 || s.rec.values.list[i].expired(time.Now()) {
		return 0, ErrNoKey
	}
	return i, nil
}

// Len is the number of keys, and Pair the key and value at a place from 0 on, in the order in which the keys came.
// Both slices are valid until the next change.
func (s *Session) Len() (int, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	s.rec.values.dropExpired(time.Now())
	return len(s.rec.values.list), nil
}

// Pair is the key and value at place i, less than Len.
func (s *Session) Pair(i int) (key, value []byte) {
	v := s.rec.values.list[i]
	return v.key, v.value
}

// Put sets the value of key, without a lifetime of its own. Both slices are copied. It answers ErrTooLarge if the
// session would pass one of the tenant's limits and grow by it.
func (s *Session) Put(key, value []byte) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.put(key, value, &s.rec.values)
}

// put is Put for a session that had the values before when the change began: what it already had, it may keep.
func (s *Session) put(key, value []byte, before *values) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if most := s.settings().MaxValue; len(value) > most {
		return fmt.Errorf("%w: a value of %d bytes (allowed: %d)", ErrTooLarge, len(value), most)
	}
	i := s.rec.values.find(key)
	err := s.room(i, len(key)+len(value), before)
	if err != nil || i >= 0 && !s.rec.values.list[i].expires.IsZero() {
		// What has expired takes no room and keeps no place.
		if s.rec.values.dropExpired(time.Now()) {
			i = s.rec.values.find(key)
			err = s.room(i, len(key)+len(value), before)
		}
	}
	if err != nil {
		return err
	}
	s.rec.values.set(i, key, value)
	s.dirty = true
	return nil
}

// room answers ErrTooLarge if a key and value of size bytes at place i, or -1 for a new one, would make the session
// pass a limit and larger than before.
func (s *Session) room(i, size int, before *values) error {
	vs, limits := &s.rec.values, s.settings()
	keys, size := len(vs.list)+1, vs.bytes+size
	if i >= 0 {
		keys, size = keys-1, size-vs.list[i].size()
	}
	if most := min(limits.MaxKeys, keysMax); keys > max(most, len(before.list)) || keys > keysMax {
		return fmt.Errorf("%w: a session has at most %d keys; remove some first", ErrTooLarge, most)
	}
	if size > max(limits.MaxBytes, before.bytes) {
		return fmt.Errorf("%w: the session would have %d bytes (allowed: %d)", ErrTooLarge, size, limits.MaxBytes)
	}
	return nil
}

// PutMany sets several values: fill is called to hand them to put, which copies them. If any is refused, nothing
// changes.
func (s *Session) PutMany(fill func(put func(key, value []byte) error) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.change(s.rec.values.only(func([]byte) bool { return true }), fill)
}

// Replace is PutMany after removing all values: what is handed over is all there is then.
func (s *Session) Replace(fill func(put func(key, value []byte) error) error) error {
	return s.ReplaceWhere(func([]byte) bool { return true }, fill)
}

// ReplaceWhere is PutMany after removing the values of the keys for which mine is true. The others stay as they are,
// with the lifetimes that they have of their own.
func (s *Session) ReplaceWhere(mine func(key []byte) bool, fill func(put func(key, value []byte) error) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.change(s.rec.values.only(func(key []byte) bool { return !mine(key) }), fill)
}

// change lets fill put into into, which takes the place of the values if all goes well.
func (s *Session) change(into values, fill func(put func(key, value []byte) error) error) error {
	before, wasDirty := s.rec.values, s.dirty
	s.rec.values = into
	err := fill(func(key, value []byte) error { return s.put(key, value, &before) })
	if err != nil {
		s.rec.values, s.dirty = before, wasDirty
		return err
	}
	s.dirty = true
	return nil
}

// Remove removes key and reports whether it was there.
func (s *Session) Remove(key []byte) (bool, error) {
	if err := s.writable(); err != nil {
		return false, err
	}
	i, err := s.lookup(key)
	if errors.Is(err, ErrNoKey) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.rec.values.remove(i)
	s.dirty = true
	return true, nil
}

// Expire gives the value of key a lifetime of its own from now on, or takes it away again if d is 0.
func (s *Session) Expire(key []byte, d time.Duration) error {
	if err := s.writable(); err != nil {
		return err
	}
	if d < 0 || d > LifetimeMax {
		return fmt.Errorf("%w: %v (allowed: 0 to %v)", ErrBadDuration, d, LifetimeMax)
	}
	i, err := s.lookup(key)
	if err != nil {
		return err
	}
	s.rec.values.list[i].expires = time.Time{}
	if d > 0 {
		s.rec.values.list[i].expires = time.Now().Add(d)
	}
	s.dirty = true
	return nil
}

// Lifetime is how long the session lives unused.
func (s *Session) Lifetime() (time.Duration, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	if s.rec.lifetime > 0 {
		return s.rec.lifetime, nil
	}
	return s.tenant.Settings.Lifetime, nil
}

// SetLifetime gives the session an idle lifetime of its own, in whole seconds; the absolute lifetime stays what it is.
func (s *Session) SetLifetime(d time.Duration) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := checkLifetime(s.tenant, d); err != nil {
		return err
	}
	s.rec.lifetime = d.Truncate(time.Second)
	s.dirty = true
	return nil
}

func checkLifetime(t *Tenant, d time.Duration) error {
	most := LifetimeMax
	if t.Settings.AbsoluteLifetime > 0 {
		most = t.Settings.AbsoluteLifetime
	}
	if d < time.Second || d > most {
		return fmt.Errorf("%w: a lifetime of %v (allowed: 1s to %v)", ErrBadDuration, d, most)
	}
	return nil
}

// ID is the hash of the id that the session has now.
func (s *Session) ID() storage.ID { return s.key.ID }

// Unsaved reports whether the session was never saved: nobody else can have seen it.
func (s *Session) Unsaved() bool { return !s.stored }

// Bytes is how much the session holds: the size of all its keys and values.
func (s *Session) Bytes() int { return s.rec.values.bytes }

// Held is how many bytes of memory the session takes, or some more: of what was loaded, parts may have been replaced since.
func (s *Session) Held() int {
	values := &s.rec.values
	held := cap(values.list)*int(unsafe.Sizeof(value{})) + values.bytes
	if s.dirty {
		held += len(s.loaded)
	}
	return held
}

// Created is when the session was made.
func (s *Session) Created() time.Time { return s.rec.created }

// Keys is how many keys the session holds. Some may have expired since they were last looked at; Len knows.
func (s *Session) Keys() int { return len(s.rec.values.list) }

// Stat describes a session.
type Stat struct {
	Created  time.Time
	LastUsed time.Time // to the precision of touching: a tenth of the lifetime
	Expires  time.Time // if it is not used again
	Version  uint64    // counts the saves
	Keys     int
	Bytes    int // of all keys and values
}

// Stat describes the session as its connection sees it: with what is not saved yet.
func (s *Session) Stat() (Stat, error) {
	n, err := s.Len()
	if err != nil {
		return Stat{}, err
	}
	st := Stat{
		Created: s.rec.created, LastUsed: s.rec.saved, Expires: s.expires,
		Version: s.rec.version, Keys: n, Bytes: s.rec.values.bytes,
	}
	if !s.stored {
		st.LastUsed, st.Expires = st.Created, s.rec.end(s.settings(), s.rec.idle(s.settings()), time.Now())
	} else if used := s.expires.Add(-s.idle); used.After(st.LastUsed) {
		st.LastUsed = used
	}
	return st, nil
}

// Commit saves, lets go of the lock, and leaves the session open for reading. On an error nothing has changed: the
// session is still open, locked, and has all its changes, unless the error is ErrLockLost or, when its absolute
// lifetime is over, ErrNotFound. It is ErrQuota if the tenant may not have that much more: then the session can be made
// smaller and saved, saved later, or aborted; what is stored is what it was.
func (s *Session) Commit(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	s.hold.release()
	s.hold = nil
	return nil
}

// Close saves if the session was open for writing, and ends it. On an error nothing has changed, as with Commit.
func (s *Session) Close(ctx context.Context) error {
	if err := s.ready(); err != nil {
		return err
	}
	if s.hold != nil && s.hold.exclusive {
		if err := s.save(ctx); err != nil {
			return err
		}
	}
	s.end()
	return nil
}

// Abort drops what was not saved and ends the session.
func (s *Session) Abort() error {
	if err := s.ready(); err != nil {
		return err
	}
	s.end()
	return nil
}

// Destroy removes the session and burns its id. On an error the session is still open.
func (s *Session) Destroy(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	if !s.hold.beginSave() {
		return s.lockLost()
	}
	err := s.m.store.Put(ctx, s.key, burnt(s.tenant, marker{}))
	s.hold.endSave()
	if err != nil {
		s.dirty = true // who knows what is stored now
		return storeError("destroy", err)
	}
	s.forgetNext(ctx)
	s.end()
	s.m.observe(Event{Kind: Destroyed, Tenant: s.key.Tenant, ID: s.key.ID})
	return nil
}

func burnt(t *Tenant, mk marker) storage.Record {
	return storage.Record{Data: appendMarker(nil, mk), Expires: time.Now().Add(t.Settings.burn()), Marker: true}
}

// save writes the session down if there is anything to write, under the fence.
func (s *Session) save(ctx context.Context) error {
	now := time.Now()
	if s.rec.outlived(s.settings(), now) {
		return s.outlived()
	}
	s.rec.values.dropExpired(now)
	if !s.dirty && s.stored {
		if err := s.touch(ctx); !errors.Is(err, ErrNotFound) {
			return err
		}
		// It has expired while it was open, and nobody else can have written: it is in use, so it lives on.
	}
	rec := s.rec
	rec.saved = now
	rec.version++
	idle := rec.idle(s.settings())
	expires := rec.end(s.settings(), idle, now)
	buf := encode(&rec)
	size := len(*buf)
	booked, err := s.m.book(ctx, s.tenant, s.settings(), s.key.ID, s.growth(size, now))
	if err != nil {
		recycle(buf)
		return err
	}
	defer booked.settle()
	if !s.hold.beginSave() {
		recycle(buf)
		return s.lockLost()
	}
	err = s.m.store.Put(ctx, s.key, storage.Record{Data: *buf, Expires: expires})
	s.hold.endSave()
	if err != nil {
		s.size = min(s.size, size) // who knows which of them is stored now
		return storeError("save", err)
	}
	recycle(buf)
	kind := Saved
	if !s.stored {
		kind = Created
	}
	s.rec, s.loaded, s.size, s.stored, s.expires, s.idle, s.dirty = rec, nil, size, true, expires, idle, false
	s.forgetNext(ctx)
	s.m.observe(Event{Kind: kind, Tenant: s.key.Tenant, ID: s.key.ID})
	return nil
}

// growth is what writing size bytes adds at most to what the tenant has. What has expired may have been swept, and its room
// taken by others.
func (s *Session) growth(size int, now time.Time) storage.Usage {
	if !s.stored || !now.Before(s.expires) {
		return storage.Usage{Records: 1, Bytes: int64(size)}
	}
	return storage.Usage{Bytes: int64(max(size-s.size, 0))}
}

// outlived ends a session whose absolute lifetime is over.
func (s *Session) outlived() error {
	s.end()
	return fmt.Errorf("%w: it has reached its absolute lifetime", ErrNotFound)
}

// used tells how long the session lives unused, when it expires if it is used now, and whether that is worth writing
// down: when the expiry moves by a tenth of the lifetime or more.
func (s *Session) used() (idle time.Duration, end time.Time, due bool) {
	idle = s.rec.idle(s.settings())
	end = s.rec.end(s.settings(), idle, time.Now())
	return idle, end, end.Sub(s.expires) >= idle/10
}

// touch writes down that the session is used, if it is worth it, under the fence. Without a lock the caller has seen to
// that by beginTouch.
func (s *Session) touch(ctx context.Context) error {
	idle, end, due := s.used()
	if !due {
		return nil
	}
	if s.hold != nil && !s.hold.beginSave() {
		return s.lockLost()
	}
	err := s.m.store.Touch(ctx, s.key, end)
	if s.hold != nil {
		s.hold.endSave()
	}
	if err != nil {
		return storeError("touch", err)
	}
	s.expires, s.idle = end, idle
	return nil
}
