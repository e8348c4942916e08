package observed

import (
	"context"
	"errors"
	"time"

	"sessionserver/storage"
)

// Observer is told of operations. It is called by many goroutines at once and must return at once.
type Observer interface {
	// OperationDone says that an operation, one of [Operations] by its name, took that long. err is a failure of the store, nil also where
	// there was no such record, or nobody waited any more.
	OperationDone(operation string, took time.Duration, err error)
}

// operation is the place of an operation in operations.
type operation uint8

const (
	get operation = iota
	put
	touch
	remove
	putAll
	sweep
	usage
	dropTenant
)

var operations = [...]string{"get", "put", "touch", "delete", "put_all", "sweep", "usage", "drop_tenant"}

// Operations are the names of all operations that an Observer is told of.
func Operations() []string { return append([]string(nil), operations[:]...) }

// Store is a store that tells an observer what another one does.
type Store struct {
	inner    storage.Store
	observer Observer
	late     [len(operations)]late
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Batcher    = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Backlogger = (*Store)(nil)
	_ storage.Meter      = (*Store)(nil)
	_ storage.Dropper    = (*Store)(nil)
)

// New wraps inner, which is closed with the wrapper.
func New(inner storage.Store, observer Observer) *Store {
	return &Store{inner: inner, observer: observer}
}

// done tells of an operation that began at that time. One that came to no answer, since nobody waited any more, says nothing of how the store is.
func (s *Store) done(op operation, began time.Time, err error) {
	took, answered := time.Since(began), err == nil || errors.Is(err, storage.ErrNotFound)
	if !failed(err) {
		err = nil
	}
	s.observer.OperationDone(operations[op], took, err)
	if err != nil || answered {
		s.late[op].note(err)
	}
}

// failed reports whether an error is the store's failure: not an answer, and not the end of somebody's patience.
func failed(err error) bool {
	if err == nil {
		return false
	}
	for _, known := range []error{storage.ErrNotFound, storage.ErrClosed, errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return false
		}
	}
	return true
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	began := time.Now()
	rec, err := s.inner.Get(ctx, key)
	s.done(get, began, err)
	return rec, err
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	began := time.Now()
	err := s.inner.Put(ctx, key, rec)
	s.done(put, began, err)
	return err
}

// Touch implements storage.Store.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	began := time.Now()
	err := s.inner.Touch(ctx, key, expires)
	s.done(touch, began, err)
	return err
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	began := time.Now()
	err := s.inner.Delete(ctx, key)
	s.done(remove, began, err)
	return err
}

// PutAll implements storage.Batcher if the wrapped store does. Where it does not, the entries are put one by one, and each is told of.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	b, ok := s.inner.(storage.Batcher)
	if !ok {
		return errors.ErrUnsupported
	}
	began := time.Now()
	err := b.PutAll(ctx, entries)
	if !errors.Is(err, errors.ErrUnsupported) {
		s.done(putAll, began, err)
	}
	return err
}

// Sweep implements storage.Sweeper if the wrapped store does.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	began := time.Now()
	swept, err := storage.Sweep(ctx, s.inner, limit)
	s.done(sweep, began, err)
	return swept, err
}

// Backlog implements storage.Backlogger if the wrapped store does. It is for the same eyes as what the observer is told, and not told.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) { return storage.Backlog(ctx, s.inner) }

// Usage implements storage.Meter if the wrapped store does.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	began := time.Now()
	u, err := storage.UsageOf(ctx, s.inner, tenant)
	s.done(usage, began, err)
	return u, err
}

// DropTenant implements storage.Dropper if the wrapped store does.
func (s *Store) DropTenant(ctx context.Context, tenant string) (int64, error) {
	began := time.Now()
	removed, err := storage.DropTenant(ctx, s.inner, tenant)
	s.done(dropTenant, began, err)
	return removed, err
}

// Close implements storage.Store. It closes the wrapped store.
func (s *Store) Close() error { return s.inner.Close() }
