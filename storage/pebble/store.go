package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// Store keeps records in one folder. It has all optional powers.
type Store struct {
	db   *pebbledb.DB
	lock *pebbledb.Lock // on the folder
	disk *disk
	log  *slog.Logger
	now  func() time.Time

	// life is held for reading by every operation under way, and for writing by Close. It is the first lock anybody
	// takes; then come sweeper.mu and the stripes in their order.
	life   sync.RWMutex
	closed bool // guarded by life

	stripes   [stripeCount]stripe
	perStripe int // how many headers a stripe remembers
	tenants   tenants
	sweeper   sweeper
}

// Get answers the live record under key.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	if err := s.enterKey(ctx, "get", key); err != nil {
		return storage.Record{}, err
	}
	defer s.leave()
	writes := s.stripe(key.ID).writes.Load()
	var buf [maxKeyLen]byte
	v, closer, err := s.get(appendRecordKey(buf[:0], key))
	if err != nil {
		return storage.Record{}, fmt.Errorf("pebble: get: %w", err)
	}
	if closer == nil {
		return storage.Record{}, storage.ErrNotFound
	}
	defer closer.Close()
	h, data, ok, err := parseRecord(v)
	if err != nil {
		return storage.Record{}, fmt.Errorf("pebble: get: %w", err)
	}
	if !ok || h.expires <= s.now().UnixMilli() {
		return storage.Record{}, storage.ErrNotFound
	}
	// Who reads a session mostly writes it next, which will want to know what it replaces.
	s.rememberRead(key, h, writes)
	rec := storage.Record{Data: make([]byte, len(data)), Expires: time.UnixMilli(h.expires), Marker: h.marker}
	copy(rec.Data, data)
	return rec, nil
}

// Put writes rec under key.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	if err := s.enterKey(ctx, "put", key); err != nil {
		return err
	}
	defer s.leave()
	if len(rec.Data) > maxData {
		return fmt.Errorf("pebble: put: %d bytes are more than a record may have", len(rec.Data))
	}
	e := s.begin()
	defer e.end()
	if err := s.putOne(e, key, rec); err != nil {
		return fmt.Errorf("pebble: put: %w", err)
	}
	if err := e.wait(); err != nil {
		return fmt.Errorf("pebble: put: %w", err)
	}
	return nil
}

func (s *Store) putOne(e *edit, key storage.Key, rec storage.Record) error {
	st := s.stripe(key.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := e.set(key, rec); err != nil {
		return err
	}
	return e.apply(true)
}

// PutAll writes the entries as one.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	if err := s.enter(ctx, "put all"); err != nil {
		return err
	}
	defer s.leave()
	// All of it becomes visible at once, so of several entries for one key only the last matters.
	last := make(map[storage.Key]int, len(entries))
	var stripes [stripeCount]bool
	for i, entry := range entries {
		if err := checkTenant(entry.Key.Tenant); err != nil {
			return fmt.Errorf("pebble: put all: %w", err)
		}
		if len(entry.Record.Data) > maxData {
			return fmt.Errorf("pebble: put all: %d bytes are more than a record may have", len(entry.Record.Data))
		}
		last[entry.Key] = i
		stripes[stripeIndex(entry.Key.ID)] = true
	}
	e := s.begin()
	defer e.end()
	apply := func() error {
		for i, needed := range stripes {
			if needed {
				s.stripes[i].mu.Lock()
				defer s.stripes[i].mu.Unlock()
			}
		}
		for i, entry := range entries {
			if last[entry.Key] != i {
				continue
			}
			if err := e.set(entry.Key, entry.Record); err != nil {
				return err
			}
		}
		return e.apply(true)
	}
	if err := apply(); err != nil {
		return fmt.Errorf("pebble: put all: %w", err)
	}
	if err := e.wait(); err != nil {
		return fmt.Errorf("pebble: put all: %w", err)
	}
	return nil
}

// Touch raises the expiry of the live record under key.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	if err := s.enterKey(ctx, "touch", key); err != nil {
		return err
	}
	defer s.leave()
	e := s.begin()
	defer e.end()
	err := s.touchOne(e, key, expires.UnixMilli())
	if err == nil {
		err = e.wait()
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("pebble: touch: %w", err)
	}
	return err
}

func (s *Store) touchOne(e *edit, key storage.Key, expires int64) error {
	st := s.stripe(key.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	c, err := e.look(key)
	if err != nil {
		return err
	}
	if !c.had || c.old.marker || c.old.expires <= s.now().UnixMilli() {
		return storage.ErrNotFound
	}
	// Also where nothing is raised something is written and waited for: whoever has raised it may still be waiting.
	if err := e.move(c, key, expires, 0); err != nil {
		return err
	}
	return e.apply(true)
}

// Delete removes the record under key.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := s.enterKey(ctx, "delete", key); err != nil {
		return err
	}
	defer s.leave()
	e := s.begin()
	defer e.end()
	st := s.stripe(key.ID)
	st.mu.Lock()
	defer st.mu.Unlock()
	err := e.remove(key)
	if err == nil {
		err = e.apply(false)
	}
	if err != nil {
		return fmt.Errorf("pebble: delete: %w", err)
	}
	return nil
}

// Close waits for the operations under way and releases the folder.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	// The log's file syncs itself when Pebble closes it, so that in every mode a store that was closed is on disk.
	err := s.db.Close()
	s.disk.close()
	err = errors.Join(err, s.lock.Close())
	if err == nil {
		err = s.disk.err()
	}
	if err != nil {
		return fmt.Errorf("pebble: close: %w", err)
	}
	return nil
}

// Err answers why the store has failed (see the package documentation), or nil.
func (s *Store) Err() error { return s.disk.err() }

// enter begins an operation. Unless it answers an error, leave must follow.
func (s *Store) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("pebble: %s: %w", op, err)
	}
	s.life.RLock()
	err := s.disk.err()
	if s.closed {
		err = storage.ErrClosed
	}
	if err != nil {
		s.life.RUnlock()
		return fmt.Errorf("pebble: %s: %w", op, err)
	}
	return nil
}

func (s *Store) enterKey(ctx context.Context, op string, key storage.Key) error {
	if err := checkTenant(key.Tenant); err != nil {
		return fmt.Errorf("pebble: %s: %w", op, err)
	}
	return s.enter(ctx, op)
}

func (s *Store) leave() { s.life.RUnlock() }
