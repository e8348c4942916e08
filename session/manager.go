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
	// Observe is told of every Event, by the goroutine to which it happens and sometimes under a lock: it must be
	// quick, must not call the Manager, and may be called by many at once. Nil is fine.
	Observe func(Event)
}

// Manager opens sessions that a store keeps. It must be the only one that writes to that store: the locks are its own.
type Manager struct {
	store    storage.Store
	locks    *lockTable
	accounts accounts
	observe  func(Event)
	open     atomic.Int64  // sessions that were opened and have not ended
	full     chan struct{} // holds something when Sweep should not wait for its interval
}

// NewManager makes a manager of the sessions in store, which stays the caller's to close.
func NewManager(store storage.Store, opts Options) *Manager {
	m := &Manager{store: store, observe: opts.Observe, full: make(chan struct{}, 1)}
	m.accounts.seed = maphash.MakeSeed()
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

	// OnWait, if not nil, is called before Open begins to wait for a lock. Open then honours the context that it
	// returns, and calls stop when it has waited enough.
	OnWait func(context.Context) (waiting context.Context, stop func())
}

// New opens a session under a new id, locked from birth. Nothing is stored before it is saved, and until then it counts in no
// quota. A lifetime of 0 is the tenant's. While the tenant is being dropped the answer is ErrNotFound.
func (m *Manager) New(ctx context.Context, t *Tenant, lifetime time.Duration) (string, *Session, error) {
	if lifetime != 0 {
		if err := checkLifetime(t, lifetime); err != nil {
			return "", nil, err
		}
	}
	id := mintID()
	key := storage.Key{Tenant: t.Name, ID: Hash([]byte(id))}
	h, err := m.locks.try(key, true, t.Settings.LockLease)
	if err != nil {
		return "", nil, err
	}
	s := m.create(t, h)
	s.rec.lifetime = lifetime.Truncate(time.Second)
	m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID})
	return id, s.opened(), nil
}

// Open opens the session that id names or, during a grace period, leads to. It answers ErrNotFound, ErrLockTimeout,
// ErrBadID, ErrStore, the context's error, ErrQuota if it would have to wait and too many do, or ErrLockLost if the lease was over
// before the session could be read.
func (m *Manager) Open(ctx context.Context, t *Tenant, id []byte, opts OpenOptions) (*Session, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	asked := storage.Key{Tenant: t.Name, ID: Hash(id)}
	if opts.Mode == Snapshot {
		s, err := m.snapshot(ctx, t, asked)
		if err != nil {
			return nil, err
		}
		return s.opened(), nil
	}
	key, began, waited := asked, time.Now(), time.Duration(0)
	for aliases := 0; ; aliases++ {
		if err := onward(ctx, aliases); err != nil {
			return nil, err
		}
		if aliases > 0 && time.Since(began) > max(opts.Wait, followTime) {
			return nil, m.lockTimeout(key, opts, began)
		}
		h, next, err := m.lock(ctx, t, key, opts, began)
		if err != nil {
			return nil, err
		}
		if h == nil {
			key = next
			continue
		}
		if h.granted != nil {
			waited = time.Since(began)
		}
		mode := opts.Mode
		if key = h.key(); key != asked && mode == ReadWrite {
			mode = Update // nobody asked for a session under an id that he cannot know
		}
		s, next, err := m.load(ctx, t, key, h, mode)
		if s != nil && s.stored {
			// Opening is use, in whatever way the session ends. That a save may follow costs a second small write, but
			// in a tenth of the lifetime only once.
			if err = s.touch(ctx); err != nil {
				s = nil
			}
			if errors.Is(err, ErrNotFound) {
				err = nil // it has ended since it was read: look again
			}
		}
		if s != nil || errors.Is(err, ErrLockLost) { // whoever is told of a loss is told that it was had
			m.observe(Event{Kind: LockGranted, Tenant: t.Name, ID: key.ID, Waited: waited})
		}
		if s != nil {
			return s.opened(), nil
		}
		h.release()
		if err != nil {
			return nil, err
		}
		key = next
	}
}

// lock gets the lock of key, at once or by waiting for it. If it returns neither a lock nor an error, the id under
// key only leads to the one under next. Who waits comes out holding the lock of the id to which the session has moved
// meanwhile.
func (m *Manager) lock(ctx context.Context, t *Tenant, key storage.Key, opts OpenOptions, began time.Time) (
	h *hold, next storage.Key, err error,
) {
	h, err = m.locks.try(key, opts.Mode.exclusive(), t.Settings.LockLease)
	if h != nil || err != nil {
		return h, key, err
	}
	if opts.Wait <= 0 {
		// Perhaps it is locked only by others who are finding out that this id leads elsewhere, or to nothing.
		next, err = m.follow(ctx, key, opts.Mode)
		if err == nil && next == key {
			err = m.lockTimeout(key, opts, began)
		}
		return nil, next, err
	}
	// The place in the queue comes first: looking into the store takes time, in which others must not overtake.
	h, err = m.locks.queue(key, opts.Mode.exclusive(), t.Settings.LockLease, m.accounts.of(t.Name), t.Settings.MaxWaiters)
	if err != nil {
		m.refused(t.Name, key.ID, err)
		return nil, key, err
	}
	if h.granted == nil {
		return h, key, nil
	}
	if opts.Mode != ReadWrite {
		// What is not there yet is not worth waiting for. An id that leads elsewhere is: whoever holds its lock is
		// either just moving the session, and takes the queue along, or will be gone in a moment.
		if _, err := m.follow(ctx, key, opts.Mode); err != nil && !h.leave() {
			return nil, key, err
		}
	}
	err = m.await(ctx, h, opts, began)
	if err == nil && h.isDropped() {
		err = errDropping
	}
	return h, key, err
}

// follow tells where the id under key leads without taking its lock: to key itself, or to the id that its session has
// moved to. It answers ErrNotFound if opening in this mode could not succeed.
func (m *Manager) follow(ctx context.Context, key storage.Key, mode Mode) (storage.Key, error) {
	rec, _, err := m.get(ctx, key)
	if errors.Is(err, ErrNotFound) && mode == ReadWrite {
		return key, nil // somebody is about to save it for the first time, or not
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

// get reads what is kept under key. A damaged record is as good as absent, so that its visitor can go on; that it is damaged is for operators.
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

// follow is where the marker under key leads now.
func (mk *marker) follow(key storage.Key) (storage.Key, error) {
	if mk == nil || !time.Now().Before(mk.followUntil) {
		return key, ErrNotFound
	}
	return storage.Key{Tenant: key.Tenant, ID: mk.target}, nil
}

// await waits until h is granted, the time is up, or the context ends; then h has left the queue.
func (m *Manager) await(ctx context.Context, h *hold, opts OpenOptions, began time.Time) error {
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
	timer := time.NewTimer(opts.Wait - time.Since(began))
	defer timer.Stop()
	select {
	case <-h.granted:
		return nil
	case <-timer.C:
		if h.leave() {
			return nil
		}
		return m.lockTimeout(h.key(), opts, began)
	case <-ctx.Done():
		h.release()
		return context.Cause(ctx)
	}
}

func (m *Manager) lockTimeout(key storage.Key, opts OpenOptions, began time.Time) error {
	m.observe(Event{Kind: LockTimedOut, Tenant: key.Tenant, ID: key.ID, Waited: time.Since(began)})
	return fmt.Errorf("%w; waited %d ms, try again later", ErrLockTimeout, opts.Wait.Milliseconds())
}

// load makes a session of what is kept under key, which h has locked unless mode is Snapshot. If that only leads
// elsewhere, it returns no session but the key to go to.
func (m *Manager) load(ctx context.Context, t *Tenant, key storage.Key, h *hold, mode Mode) (
	*Session, storage.Key, error,
) {
	stored, damaged, err := m.get(ctx, key)
	if damaged && mode.exclusive() { // what was there must not hinder those who begin anew, nor come back
		if deleteErr := m.store.Delete(ctx, key); deleteErr != nil {
			err = storeError("delete", deleteErr)
		}
	}
	var rec record
	var mk *marker
	if err == nil {
		mk, err = decode(stored.Data, &rec)
	}
	now := time.Now()
	if err == nil && mk == nil && rec.outlived(&t.Settings, now) {
		err = ErrNotFound // it was saved under other settings
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
	s := &Session{
		m: m, tenant: t, key: key, hold: h,
		rec: rec, loaded: stored.Data, size: len(stored.Data), stored: true, expires: stored.Expires,
	}
	s.idle = rec.idle(&t.Settings)
	s.rec.values.dropExpired(now)
	return s, key, nil
}

// create makes a session that is not stored.
func (m *Manager) create(t *Tenant, h *hold) *Session {
	now := time.Now().Truncate(time.Millisecond) // as it will be stored
	return &Session{m: m, tenant: t, hold: h, key: h.key(), rec: record{created: now}, expires: now}
}

// snapshot opens the last saved state.
func (m *Manager) snapshot(ctx context.Context, t *Tenant, key storage.Key) (*Session, error) {
	for aliases := 0; ; aliases++ {
		if err := onward(ctx, aliases); err != nil {
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

// touchSnapshot touches the session of which s is a snapshot. As others may have saved it since it was read, with a
// shorter lifetime say, it is read again while nobody can. It returns what it has read last, or neither a session nor
// an error if the session has ended or moved to another id meanwhile.
func (m *Manager) touchSnapshot(ctx context.Context, s *Session) (*Session, error) {
	if _, _, due := s.used(); !due || !m.locks.beginTouch(s.key) {
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

// storeError tells what an operation on the store failed with in this package's words.
func storeError(operation string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("%w: %s: %w", ErrStore, operation, err)
}
