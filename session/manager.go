package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sessionserver/storage"
)

// Options configure a Manager.
type Options struct {
	// Observe is told of every Event, by the goroutine to which it happens and sometimes under a lock: it must be quick, must not
	// call the Manager, and may be called by many at once. Nil is fine.
	Observe func(Event)
}

// Manager opens sessions that a store keeps. It must be the only one that writes to that store: the locks are its own.
type Manager struct {
	store   storage.Store
	locks   *lockTable
	observe func(Event)
}

// NewManager makes a manager of the sessions in store, which stays the caller's to close.
func NewManager(store storage.Store, opts Options) *Manager {
	m := &Manager{store: store, observe: opts.Observe}
	if m.observe == nil {
		m.observe = func(Event) {}
	}
	m.locks = newLockTable(func(key storage.Key) {
		m.observe(Event{Kind: LockLost, Tenant: key.Tenant, ID: key.ID})
	})
	return m
}

// Mode is the way in which a session is opened.
type Mode uint8

const (
	ReadWrite Mode = iota // exclusive lock; creates the session unless the tenant is strict
	Update                // exclusive lock; existing sessions only
	Read                  // shared lock; existing sessions only
	Snapshot              // the last saved state, without any lock
)

// ParseMode reads a mode as the protocol names it: rw or w, u, r, s.
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

func (m Mode) exclusive() bool { return m <= Update }

// OpenOptions say how to open a session.
type OpenOptions struct {
	Mode Mode
	Wait time.Duration // how long to wait for the lock; 0 is not at all

	// OnWait, if not nil, is called before Open begins to wait for a lock. Open then honours the context that it returns, and calls stop when it
	// has waited enough.
	OnWait func(context.Context) (waiting context.Context, stop func())
}

// New opens a session under a new id, locked from birth. Nothing is stored before it is saved. A lifetime of 0 is the tenant's.
func (m *Manager) New(ctx context.Context, t *Tenant, lifetime time.Duration) (string, *Session, error) {
	if err := checkLifetime(t, lifetime); lifetime != 0 && err != nil {
		return "", nil, err
	}
	id := mintID()
	key := storage.Key{Tenant: t.Name, ID: Hash([]byte(id))}
	s := m.create(t, m.locks.try(key, true, t.Settings.LockLease))
	s.rec.lifetime = lifetime
	m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID})
	return id, s, nil
}

// Open opens the session that id names or, during a grace period, leads to. It answers ErrNotFound, ErrLockTimeout, ErrBadID, the
// context's error, or the store's.
func (m *Manager) Open(ctx context.Context, t *Tenant, id []byte, opts OpenOptions) (*Session, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	key := storage.Key{Tenant: t.Name, ID: Hash(id)}
	if opts.Mode == Snapshot {
		return m.snapshot(ctx, t, key)
	}
	began, waited := time.Now(), time.Duration(0)
	for {
		h := m.locks.try(key, opts.Mode.exclusive(), t.Settings.LockLease)
		if h == nil {
			// Somebody has it. An id that only leads elsewhere, or to nothing, is not worth waiting for.
			next, err := m.follow(ctx, key, opts.Mode)
			if err != nil {
				return nil, err
			}
			if next != key {
				key = next
				continue
			}
			if h, err = m.await(ctx, t, key, opts, began); err != nil {
				return nil, err
			}
			key, waited = h.key(), time.Since(began)
		}
		s, next, err := m.load(ctx, t, key, h, opts.Mode)
		if s != nil {
			m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID, Waited: waited})
			return s, nil
		}
		h.release()
		if err != nil {
			return nil, err
		}
		key = next
	}
}

// follow tells where the id under key leads without taking its lock: to key itself, or to the id that its session has moved to.
// It answers ErrNotFound if opening in this mode could not succeed.
func (m *Manager) follow(ctx context.Context, key storage.Key, mode Mode) (storage.Key, error) {
	rec, err := m.store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) && mode == ReadWrite {
		return key, nil // somebody is about to save it for the first time, or not
	}
	if err != nil {
		return key, storeError("load", err)
	}
	if !rec.Marker {
		return key, nil
	}
	_, mk, err := decode(rec.Data)
	if err != nil {
		return key, err
	}
	return mk.follow(key)
}

// follow is where the marker under key leads now.
func (mk *marker) follow(key storage.Key) (storage.Key, error) {
	if mk == nil || !time.Now().Before(mk.followUntil) {
		return key, ErrNotFound
	}
	return storage.Key{Tenant: key.Tenant, ID: mk.target}, nil
}

// await waits in the queue of key until the lock is granted, the time is up, or the context ends.
func (m *Manager) await(ctx context.Context, t *Tenant, key storage.Key, opts OpenOptions, began time.Time) (*hold, error) {
	h := m.locks.queue(key, opts.Mode.exclusive(), t.Settings.LockLease)
	select {
	case <-h.granted:
		return h, nil
	default:
	}
	left := opts.Wait - time.Since(began)
	if left > 0 && opts.OnWait != nil {
		var stop func()
		ctx, stop = opts.OnWait(ctx)
		defer stop()
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-h.granted:
		return h, nil
	case <-timer.C:
		h.release()
		m.observe(Event{Kind: LockTimedOut, Tenant: t.Name, ID: key.ID, Waited: time.Since(began)})
		return nil, fmt.Errorf("%w; waited %d ms, try again later", ErrLockTimeout, opts.Wait.Milliseconds())
	case <-ctx.Done():
		h.release()
		return nil, context.Cause(ctx)
	}
}

// load makes a session of what is kept under key, which h has locked unless mode is Snapshot. If that only leads elsewhere, it returns
// no session but the key to go to.
func (m *Manager) load(ctx context.Context, t *Tenant, key storage.Key, h *hold, mode Mode) (*Session, storage.Key, error) {
	stored, err := m.store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) && mode == ReadWrite && !t.Settings.Strict {
		return m.create(t, h), key, nil
	}
	if err != nil {
		return nil, key, storeError("load", err)
	}
	rec, mk, err := decode(stored.Data)
	if err != nil {
		return nil, key, err
	}
	if mk != nil {
		next, err := mk.follow(key)
		return nil, next, err
	}
	s := &Session{m: m, tenant: t, key: key, hold: h, rec: *rec, committed: stored.Data, expires: stored.Expires}
	if !mode.exclusive() {
		if err := s.touch(ctx); err != nil {
			return nil, key, err
		}
	}
	s.rec.values.dropExpired(time.Now())
	return s, key, nil
}

// create makes a session that is not stored.
func (m *Manager) create(t *Tenant, h *hold) *Session {
	now := time.Now()
	return &Session{m: m, tenant: t, hold: h, key: h.key(), rec: record{created: now}, expires: now}
}

// snapshot opens the last saved state.
func (m *Manager) snapshot(ctx context.Context, t *Tenant, key storage.Key) (*Session, error) {
	for {
		s, next, err := m.load(ctx, t, key, nil, Snapshot)
		if s != nil || err != nil {
			return s, err
		}
		key = next
	}
}

// storeError tells what an operation on the store failed with in this package's words.
func storeError(operation string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("%w: %s: %w", ErrStore, operation, err)
}
