package session

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"sessionserver/storage"
)

// Session is one open session. Changes stay in memory until Commit or Close. A Session is not safe for concurrent
// use, and must be ended by Close, Abort or Destroy.
//
// After the lock is lost the next method call returns ErrLockLost, and every later one ErrClosed. All unsaved
// changes are dropped.
type Session struct {
	m      *Manager
	tenant *Tenant
	key    storage.Key
	mode   Mode
	hold   *hold // nil without a lock: in mode Snapshot or after Commit

	rec     record
	few     [2]value      // the first backing array of rec.values, as most sessions have few values
	loaded  []byte        // the record as it was loaded; a save ends its use, as the lock is given up after it
	size    int           // lower bound of the bytes of the stored record
	expires time.Time     // expiry of the stored record
	idle    time.Duration // idle lifetime of the stored record
	next    successor
	stored  bool // false until the first save
	dirty   bool
	counted bool // included in Manager.open
	ended   bool
}

func (s *Session) settings() *Settings { return &s.tenant.Settings }

// opened completes a session that was opened in the given mode, and counts it among the open ones.
func (s *Session) opened(mode Mode) *Session {
	s.mode, s.counted = mode, true
	s.m.open.Add(1)
	return s
}

// Mode returns the mode in which the session is open. New opens it in mode ReadWrite; Commit changes the mode to Read.
func (s *Session) Mode() Mode { return s.mode }

// Ended reports whether the session has ended: by Close, Abort or Destroy, or because the lock was lost or the
// absolute lifetime is over.
func (s *Session) Ended() bool { return s.ended }

// Err returns the error that every other method would return because the session cannot be used any more:
// ErrLockLost, which ends the session, or ErrClosed.
func (s *Session) Err() error { return s.ready() }

// ready returns an error if the session cannot be used: it has ended, or its lock is lost, which ends it.
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
		return fmt.Errorf("%w: all sessions of the tenant were removed, and nothing was saved; begin a new one",
			ErrLockLost)
	}
	return fmt.Errorf("%w: it was held for more than %v while others waited; nothing was saved, open the session again",
		ErrLockLost, s.tenant.Settings.LockLease)
}

// writable returns an error if the session cannot be changed.
func (s *Session) writable() error {
	if err := s.ready(); err != nil {
		return err
	}
	if s.hold == nil || !s.hold.exclusive {
		return fmt.Errorf("%w; close it and open it in mode rw", ErrReadOnly)
	}
	return nil
}

// end releases the lock and drops all unsaved changes.
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

// lookup returns the index of key, or ErrNoKey.
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

// Len returns the number of keys.
func (s *Session) Len() (int, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	s.rec.values.dropExpired(time.Now())
	return len(s.rec.values.list), nil
}

// Pair returns the key and value at index i, which is less than Len. Keys are in the order in which they were
// added. Both slices are valid until the next change.
func (s *Session) Pair(i int) (key, value []byte) {
	v := s.rec.values.list[i]
	return v.key, v.value
}

// Put sets the value of key and removes the lifetime that key had of its own. Both slices are copied. It returns
// ErrTooLarge if the session would grow beyond one of the tenant's limits.
func (s *Session) Put(key, value []byte) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.put(key, value, &s.rec.values)
}

// put is Put for a change that began with the values before. A session above a lowered limit may keep its size.
func (s *Session) put(key, value []byte, before *values) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if limit := s.settings().MaxValue; len(value) > limit {
		return fmt.Errorf("%w: a value of %d bytes (allowed: %d)", ErrTooLarge, len(value), limit)
	}
	i := s.rec.values.find(key)
	err := s.checkRoom(i, len(key)+len(value), before)
	if err != nil || i >= 0 && !s.rec.values.list[i].expires.IsZero() {
		// Expired values take no room and lose their position.
		if s.rec.values.dropExpired(time.Now()) {
			i = s.rec.values.find(key)
			err = s.checkRoom(i, len(key)+len(value), before)
		}
	}
	if err != nil {
		return err
	}
	s.rec.values.set(i, key, value)
	s.dirty = true
	return nil
}

// checkRoom returns ErrTooLarge if a key and value of size bytes would make the session larger than before and
// exceed a limit. The index i is -1 for a new key.
func (s *Session) checkRoom(i, size int, before *values) error {
	vs, limits := &s.rec.values, s.settings()
	keys, size := len(vs.list)+1, vs.bytes+size
	if i >= 0 {
		keys, size = keys-1, size-vs.list[i].size()
	}
	if limit := min(limits.MaxKeys, keysMax); keys > max(limit, len(before.list)) || keys > keysMax {
		return fmt.Errorf("%w: a session has at most %d keys; remove some first", ErrTooLarge, limit)
	}
	if size > max(limits.MaxBytes, before.bytes) {
		return fmt.Errorf("%w: the session would have %d bytes (allowed: %d)", ErrTooLarge, size, limits.MaxBytes)
	}
	return nil
}

// PutMany sets several values. It calls fill with a put function that copies its arguments. If fill returns an
// error, nothing changes.
func (s *Session) PutMany(fill func(put func(key, value []byte) error) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.change(s.rec.values.filter(func([]byte) bool { return true }), fill)
}

// Replace is PutMany after removing all values.
func (s *Session) Replace(fill func(put func(key, value []byte) error) error) error {
	return s.ReplaceWhere(func([]byte) bool { return true }, fill)
}

// ReplaceWhere is PutMany after removing the values of the keys that match. The other values stay unchanged,
// including their own lifetimes.
func (s *Session) ReplaceWhere(match func(key []byte) bool, fill func(put func(key, value []byte) error) error) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.change(s.rec.values.filter(func(key []byte) bool { return !match(key) }), fill)
}

// change calls fill with into as the session's values, and restores the previous values if fill returns an error.
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

// Remove removes key and reports whether it existed.
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

// Expire gives the value of key a lifetime of its own that begins now. A duration of 0 removes that lifetime.
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

// Lifetime returns the session's idle lifetime.
func (s *Session) Lifetime() (time.Duration, error) {
	if err := s.ready(); err != nil {
		return 0, err
	}
	if s.rec.lifetime > 0 {
		return s.rec.lifetime, nil
	}
	return s.tenant.Settings.Lifetime, nil
}

// SetLifetime gives the session an idle lifetime of its own, in whole seconds. The absolute lifetime does not
// change.
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
	limit := LifetimeMax
	if t.Settings.AbsoluteLifetime > 0 {
		limit = t.Settings.AbsoluteLifetime
	}
	if d < time.Second || d > limit {
		return fmt.Errorf("%w: a lifetime of %v (allowed: 1s to %v)", ErrBadDuration, d, limit)
	}
	return nil
}

// ID returns the hash of the session's present id.
func (s *Session) ID() storage.ID { return s.key.ID }

// Unsaved reports whether the session was never saved, so that no other client can have read it.
func (s *Session) Unsaved() bool { return !s.stored }

// Bytes returns the total size of all keys and values.
func (s *Session) Bytes() int { return s.rec.values.bytes }

// Pending returns the total size of all keys and values if the next Close or Commit saves them, and 0 if nothing
// changed.
func (s *Session) Pending() int {
	if !s.dirty && s.stored {
		return 0
	}
	return s.rec.values.bytes
}

// Held returns an upper bound of the memory that the session takes, in bytes. Parts of the loaded record may have
// been replaced since.
func (s *Session) Held() int {
	values := &s.rec.values
	held := cap(values.list)*int(unsafe.Sizeof(value{})) + values.bytes
	if s.dirty {
		held += len(s.loaded)
	}
	return held
}

// Created returns the time at which the session was created.
func (s *Session) Created() time.Time { return s.rec.created }

// Keys returns the number of keys, which may include some that expired since the last call of Len.
func (s *Session) Keys() int { return len(s.rec.values.list) }

// Stat describes a session.
type Stat struct {
	Created  time.Time
	LastUsed time.Time // to the precision of touching: a tenth of the idle lifetime
	Expires  time.Time // unless the session is used again
	Version  uint64    // number of saves
	Keys     int
	Bytes    int // total size of keys and values
}

// Stat returns the state of the session as its connection sees it, including unsaved changes.
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

// Commit saves the session, releases the lock, and leaves the session open in mode Read.
//
// On an error nothing has changed: the session is still open and locked, with all its changes. The exceptions are
// ErrLockLost, and ErrNotFound when the absolute lifetime is over, which both end the session. ErrQuota means that
// the tenant may not have that much more. Then the session can be made smaller and saved, saved later, or aborted;
// the stored session is unchanged.
func (s *Session) Commit(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	s.hold.release()
	s.hold, s.mode = nil, Read
	return nil
}

// Close saves the session if it is open for writing, and ends it. On an error nothing has changed, as with Commit.
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

// Abort drops all unsaved changes and ends the session.
func (s *Session) Abort() error {
	if err := s.ready(); err != nil {
		return err
	}
	s.end()
	return nil
}

// Destroy removes the session and leaves a tombstone under its id. On an error the session is still open.
func (s *Session) Destroy(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	if !s.hold.beginSave() {
		return s.lockLost()
	}
	err := s.m.store.Put(ctx, s.key, tombstone(s.tenant, marker{}))
	s.hold.endSave()
	if err != nil {
		s.dirty = true // the store may hold the tombstone
		return storeError("destroy", err)
	}
	s.deleteNext(ctx)
	s.end()
	s.m.observe(Event{Kind: Destroyed, Tenant: s.key.Tenant, ID: s.key.ID})
	return nil
}

// tombstone returns the record that replaces a session under its former id.
func tombstone(t *Tenant, mk marker) storage.Record {
	expires := time.Now().Add(t.Settings.tombstoneLifetime())
	return storage.Record{Data: appendMarker(nil, mk), Expires: expires, Marker: true}
}

// save writes the session under the fence if there is anything to write.
func (s *Session) save(ctx context.Context) error {
	now := time.Now()
	if s.rec.outlived(s.settings(), now) {
		return s.endOutlived()
	}
	s.rec.values.dropExpired(now)
	if !s.dirty && s.stored {
		if err := s.touch(ctx); !errors.Is(err, ErrNotFound) {
			return err
		}
		// The record expired while the session was open, and no other client can have written it. A session in
		// use lives on, so it is saved again.
	}
	rec := s.rec
	rec.saved = now
	rec.version++
	idle := rec.idle(s.settings())
	expires := rec.end(s.settings(), idle, now)
	buf := encode(&rec)
	size := len(*buf)
	reserved, err := s.m.reserve(ctx, s.tenant, s.settings(), s.key.ID, s.growth(size, now))
	if err != nil {
		recycle(buf)
		return err
	}
	defer reserved.release()
	if !s.hold.beginSave() {
		recycle(buf)
		return s.lockLost()
	}
	err = s.m.store.Put(ctx, s.key, storage.Record{Data: *buf, Expires: expires})
	s.hold.endSave()
	if err != nil {
		s.size = min(s.size, size) // the store may hold either record
		return storeError("save", err)
	}
	recycle(buf)
	kind := Saved
	if !s.stored {
		kind = Created
	}
	s.rec, s.loaded, s.size, s.stored, s.expires, s.idle, s.dirty = rec, nil, size, true, expires, idle, false
	s.deleteNext(ctx)
	s.m.observe(Event{Kind: kind, Tenant: s.key.Tenant, ID: s.key.ID})
	return nil
}

// growth returns what writing a record of size bytes adds at most to the tenant's usage. An expired record may have
// been swept, and other sessions may have taken its room.
func (s *Session) growth(size int, now time.Time) storage.Usage {
	if !s.stored || !now.Before(s.expires) {
		return storage.Usage{Records: 1, Bytes: int64(size)}
	}
	return storage.Usage{Bytes: int64(max(size-s.size, 0))}
}

// endOutlived ends a session whose absolute lifetime is over.
func (s *Session) endOutlived() error {
	s.end()
	return fmt.Errorf("%w: it has reached its absolute lifetime; begin a new one", ErrNotFound)
}

// touchDue returns the idle lifetime, the expiry if the session is used now, and whether to write that expiry. It
// is written if it moves by a tenth of the idle lifetime or more.
func (s *Session) touchDue() (idle time.Duration, end time.Time, due bool) {
	idle = s.rec.idle(s.settings())
	end = s.rec.end(s.settings(), idle, time.Now())
	return idle, end, end.Sub(s.expires) >= idle/10
}

// touch writes the new expiry under the fence, if it is due. Without a lock, the caller must have called
// beginTouch.
func (s *Session) touch(ctx context.Context) error {
	idle, end, due := s.touchDue()
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
