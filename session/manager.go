package session

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// Options configure a Manager.
type Options struct {
	// Observe is called with every Event, by many goroutines at once and sometimes under a lock. It must return
	// quickly and must not call the Manager. It may be nil.
	Observe func(Event)
}

// Manager opens the sessions in a store. Its locks are in this process, so it must be the only writer to that
// store.
type Manager struct {
	store          storage.Store
	locks          *lockTable
	accounts       accounts
	observe        func(Event)
	open           atomic.Int64  // sessions that were opened and have not ended
	sweepRequested chan struct{} // buffered; holds a value when Sweep should not wait for its interval
}

// NewManager returns a manager of the sessions in store. The caller closes the store.
func NewManager(store storage.Store, opts Options) *Manager {
	m := &Manager{store: store, observe: opts.Observe, sweepRequested: make(chan struct{}, 1)}
	m.accounts.seed = maphash.MakeSeed()
	if m.observe == nil {
		m.observe = func(Event) {}
	}
	m.locks = newLockTable(func(key storage.Key) {
		m.observe(Event{Kind: LockLost, Tenant: key.Tenant, ID: key.ID})
	})
	return m
}

// Mode determines the lock of an open session, and whether opening creates the session.
type Mode uint8

const (
	ReadWrite Mode = iota // exclusive lock; creates the session unless the tenant is strict
	Update                // exclusive lock; existing sessions only
	Read                  // shared lock; existing sessions only
	Snapshot              // the last saved state, without any lock
)

// ParseMode parses a mode as it is written in the protocol: rw or w, u, r, s.
func ParseMode(name []byte) (Mode, error) {
	switch string(name) {
	case "rw", "w":
		return ReadWrite, nil
	case "u":
		return Update, nil
	case "r":
		return Read, nil
	case "s":
		return Snapshot, nil
	}
	return 0, fmt.Errorf("%w (allowed: rw, w, u, r, s)", ErrBadMode)
}

func (m Mode) String() string { return [...]string{"rw", "u", "r", "s"}[m] }

// Exclusive reports whether the mode takes an exclusive lock.
func (m Mode) Exclusive() bool { return m <= Update }

// OpenOptions configure Open.
type OpenOptions struct {
	Mode Mode
	Wait time.Duration // longest wait for the lock; 0 does not wait

	// OnWait, if not nil, is called before Open waits for a lock. The wait ends with the context that OnWait
	// returns. Open calls stop at the end of the wait.
	OnWait func(context.Context) (waiting context.Context, stop func())
}

// New opens a session under a new id and with an exclusive lock. Nothing is stored, and nothing counts in a quota,
// before the first save. A lifetime of 0 is the tenant's lifetime. New returns ErrNotFound while the tenant is
// being dropped.
func (m *Manager) New(ctx context.Context, t *Tenant, lifetime time.Duration) (string, *Session, error) {
	if lifetime != 0 {
		if err := checkLifetime(t, lifetime); err != nil {
			return "", nil, err
		}
	}
	id := newID()
	key := storage.Key{Tenant: t.Name, ID: Hash([]byte(id))}
	h, err := m.locks.try(key, true, t.Settings.LockLease)
	if err != nil {
		return "", nil, err
	}
	s := m.create(t, h)
	s.rec.lifetime = lifetime.Truncate(time.Second)
	m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID})
	return id, s.opened(ReadWrite), nil
}

// Open opens the session under id, or the session that id leads to during a grace period.
//
// It returns ErrNotFound, ErrLockTimeout, ErrBadID, ErrStore or the context's error. It returns ErrQuota if it would
// have to wait and the tenant has too many waiters. It returns ErrLockLost if the lease was over before the session
// was read.
func (m *Manager) Open(ctx context.Context, t *Tenant, id []byte, opts OpenOptions) (*Session, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	requested := storage.Key{Tenant: t.Name, ID: Hash(id)}
	if opts.Mode == Snapshot {
		s, err := m.snapshot(ctx, t, requested)
		if err != nil {
			return nil, err
		}
		return s.opened(opts.Mode), nil
	}
	key, start, waited := requested, time.Now(), time.Duration(0)
	for aliases := 0; ; aliases++ {
		if err := checkAliases(ctx, aliases); err != nil {
			return nil, err
		}
		if aliases > 0 && time.Since(start) > max(opts.Wait, followTime) {
			return nil, m.lockTimeout(key, opts, start)
		}
		h, next, err := m.lock(ctx, t, key, opts, start)
		if err != nil {
			return nil, err
		}
		if h == nil {
			key = next
			continue
		}
		if h.granted != nil {
			waited = time.Since(start)
		}
		mode := opts.Mode
		if key = h.key(); key != requested && mode == ReadWrite {
			mode = Update // the client cannot know the new id, so nothing is created under it
		}
		s, next, err := m.load(ctx, t, key, h, mode)
		if s != nil && s.stored {
			// Opening is use, however the session ends. If a save follows, this is a second small write, but at
			// most once in a tenth of the lifetime.
			if err = s.touch(ctx); err != nil {
				s = nil
			}
			if errors.Is(err, ErrNotFound) {
				err = nil // the session has ended since it was read: read it again
			}
		}
		if s != nil || errors.Is(err, ErrLockLost) { // a lock that was lost was granted before
			m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID, Waited: waited})
		}
		if s != nil {
			return s.opened(opts.Mode), nil
		}
		h.release()
		if err != nil {
			return nil, err
		}
		key = next
	}
}

// lock takes the lock of key, at once or after a wait. If it returns neither a lock nor an error, the id under key
// only leads to the id under next. After a wait, h may hold the lock of another id, to which the session moved
// meanwhile.
func (m *Manager) lock(ctx context.Context, t *Tenant, key storage.Key, opts OpenOptions, start time.Time) (
	h *hold, next storage.Key, err error,
) {
	h, err = m.locks.try(key, opts.Mode.Exclusive(), t.Settings.LockLease)
	if h != nil || err != nil {
		return h, key, err
	}
	if opts.Wait <= 0 {
		// Perhaps the present holder is only reading that this id leads to another one, or to nothing.
		next, err = m.follow(ctx, key, opts.Mode)
		if err == nil && next == key {
			err = m.lockTimeout(key, opts, start)
		}
		return nil, next, err
	}
	// The queue comes first: reading the store takes time, in which no other client may overtake.
	account, lease := m.accounts.of(t.Name), t.Settings.LockLease
	h, err = m.locks.enqueue(key, opts.Mode.Exclusive(), lease, account, t.Settings.MaxWaiters)
	if err != nil {
		m.observeRefusal(t.Name, key.ID, err)
		return nil, key, err
	}
	if h.granted == nil {
		return h, key, nil
	}
	if opts.Mode != ReadWrite {
		// A session that does not exist yet is not worth a wait. An alias is worth one. The holder of its lock is
		// moving the session, and takes the queue along, or will release the lock in a moment.
		if _, err := m.follow(ctx, key, opts.Mode); err != nil && !h.leave() {
			return nil, key, err
		}
	}
	err = m.await(ctx, h, opts, start)
	if err == nil && h.isDropped() {
		err = errDropping
	}
	return h, key, err
}

// follow returns the key to which the id under key leads, without taking its lock. That is key itself, or the key
// of the id to which the session has moved. It returns ErrNotFound if opening in this mode could not succeed.
func (m *Manager) follow(ctx context.Context, key storage.Key, mode Mode) (storage.Key, error) {
	rec, _, err := m.get(ctx, key)
	if errors.Is(err, ErrNotFound) && mode == ReadWrite {
		return key, nil // the holder of the lock may save it for the first time
	}
	if err != nil {
		return key, err
	}
	if !rec.Marker {
		return key, nil
	}
	mk, err := decode(rec.Data, new(record))
	if err != nil {
		return key, err
	}
	return mk.follow(key)
}

// get reads the record under key. A damaged record counts as absent, so that the client can continue; the observer is
// notified of the damage.
func (m *Manager) get(ctx context.Context, key storage.Key) (rec storage.Record, damaged bool, err error) {
	rec, err = m.store.Get(ctx, key)
	if errors.Is(err, storage.ErrCorrupt) {
		m.observe(Event{Kind: Damaged, Tenant: key.Tenant, ID: key.ID, Err: err})
		return rec, true, ErrNotFound
	}
	if err != nil {
		err = storeError("load", err)
	}
	return rec, false, err
}

// follow returns the key to which the marker under key leads now.
func (mk *marker) follow(key storage.Key) (storage.Key, error) {
	if mk == nil || !time.Now().Before(mk.followUntil) {
		return key, ErrNotFound
	}
	return storage.Key{Tenant: key.Tenant, ID: mk.target}, nil
}

// await waits until h is granted, the wait is over, or the context ends. After an error h has left the queue.
func (m *Manager) await(ctx context.Context, h *hold, opts OpenOptions, start time.Time) error {
	select {
	case <-h.granted:
		return nil
	default:
	}
	if opts.OnWait != nil {
		var stop func()
		ctx, stop = opts.OnWait(ctx)
		defer stop()
	}
	timer := time.NewTimer(opts.Wait - time.Since(start))
	defer timer.Stop()
	select {
	case <-h.granted:
		return nil
	case <-timer.C:
		if h.leave() {
			return nil
		}
		return m.lockTimeout(h.key(), opts, start)
	case <-ctx.Done():
		h.release()
		return context.Cause(ctx)
	}
}

func (m *Manager) lockTimeout(key storage.Key, opts OpenOptions, start time.Time) error {
	m.observe(Event{Kind: LockTimedOut, Tenant: key.Tenant, ID: key.ID, Waited: time.Since(start)})
	return fmt.Errorf("%w; waited %d ms, try again later", ErrLockTimeout, opts.Wait.Milliseconds())
}

// load makes a session of the record under key, which h has locked unless mode is Snapshot. If the record is an
// alias, load returns no session but the key to which it leads.
func (m *Manager) load(ctx context.Context, t *Tenant, key storage.Key, h *hold, mode Mode) (
	*Session, storage.Key, error,
) {
	stored, damaged, err := m.get(ctx, key)
	if damaged && mode.Exclusive() { // the damaged record must neither block a new session nor come back
		if deleteErr := m.store.Delete(ctx, key); deleteErr != nil {
			err = storeError("delete", deleteErr)
		}
	}
	s := m.session(t, key, h)
	var mk *marker
	if err == nil {
		mk, err = decode(stored.Data, &s.rec)
	}
	now := time.Now()
	if err == nil && mk == nil && s.rec.outlived(&t.Settings, now) {
		err = ErrNotFound // it was saved under a longer absolute lifetime
	}
	switch {
	case errors.Is(err, ErrNotFound) && mode == ReadWrite && !t.Settings.Strict:
		return m.create(t, h), key, nil
	case err != nil:
		return nil, key, err
	case mk != nil:
		next, err := mk.follow(key)
		return nil, next, err
	}
	s.loaded, s.size, s.stored, s.expires = stored.Data, len(stored.Data), true, stored.Expires
	s.idle = s.rec.idle(&t.Settings)
	s.rec.values.dropExpired(now)
	return s, key, nil
}

// create returns a session that is not stored.
func (m *Manager) create(t *Tenant, h *hold) *Session {
	now := time.Now().Truncate(time.Millisecond) // the precision of the stored record
	s := m.session(t, h.key(), h)
	s.rec.created, s.expires = now, now
	return s
}

// session returns a session without a record.
func (m *Manager) session(t *Tenant, key storage.Key, h *hold) *Session {
	s := &Session{m: m, tenant: t, key: key, hold: h}
	s.rec.values.list = s.few[:0]
	return s
}

// snapshot opens the last saved state.
func (m *Manager) snapshot(ctx context.Context, t *Tenant, key storage.Key) (*Session, error) {
	for aliases := 0; ; aliases++ {
		if err := checkAliases(ctx, aliases); err != nil {
			return nil, err
		}
		s, next, err := m.load(ctx, t, key, nil, Snapshot)
		if s != nil {
			s, err = m.touchSnapshot(ctx, s)
		}
		if s != nil || err != nil {
			return s, err
		}
		key = next
	}
}

// touchSnapshot touches the session of which s is a snapshot. Another client may have saved the session since s was
// read, with a shorter lifetime for example. So the session is read again while no client can save it.
//
// touchSnapshot returns the session as it was last read. It returns neither a session nor an error if the session
// has ended or moved to another id meanwhile.
func (m *Manager) touchSnapshot(ctx context.Context, s *Session) (*Session, error) {
	if _, _, due := s.touchDue(); !due || !m.locks.beginTouch(s.key) {
		return s, nil
	}
	defer m.locks.endTouch(s.key)
	again, _, err := m.load(ctx, s.tenant, s.key, nil, Snapshot)
	if again != nil {
		err = again.touch(ctx)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return again, nil
}

// storeError returns the package's error for an error of a store operation.
func storeError(operation string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("%w: %s: %w", ErrStore, operation, err)
}
