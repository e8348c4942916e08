package observed

import (
	"context"
	"errors"
	"slices"
	"time"

	"sessionserver/storage"
)

// Observer observes operations. Its methods are called by many goroutines at once and must return quickly.
type Observer interface {
	// OperationDone is called at the end of an operation, with one of the names in [Operations] and its duration. The
	// error is a failure of the store. It is nil if the record does not exist, or if the context ended.
	OperationDone(operation string, duration time.Duration, err error)
}

// operation is an index of operations.
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

// Operations returns the names of all operations that are reported to an Observer.
func Operations() []string { return append([]string(nil), operations[:]...) }

// Store is a store that reports the operations of another one to an observer.
type Store struct {
	inner    storage.Store
	observer Observer
	health   [len(operations)]health
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

// done reports an operation that began at start. An operation that ended with its context does not show whether the
// store works, so it does not change the store's health.
func (s *Store) done(op operation, start time.Time, err error) {
	duration, succeeded := time.Since(start), err == nil || errors.Is(err, storage.ErrNotFound)
	if !failed(err) {
		err = nil
	}
	s.observer.OperationDone(operations[op], duration, err)
	if err != nil || succeeded {
		s.health[op].record(err)
	}
}

// regular are the errors of a store that works.
var regular = []error{
	storage.ErrNotFound, storage.ErrClosed, errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded,
}

// failed reports whether an error is a failure of the store.
func failed(err error) bool {
	return err != nil && !slices.ContainsFunc(regular, func(r error) bool { return errors.Is(err, r) })
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key) (storage.Record, error) {
	start := time.Now()
	rec, err := s.inner.Get(ctx, key)
	s.done(get, start, err)
	return rec, err
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	start := time.Now()
	err := s.inner.Put(ctx, key, rec)
	s.done(put, start, err)
	return err
}

// Touch implements storage.Store.
func (s *Store) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	start := time.Now()
	err := s.inner.Touch(ctx, key, expires)
	s.done(touch, start, err)
	return err
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	start := time.Now()
	err := s.inner.Delete(ctx, key)
	s.done(remove, start, err)
	return err
}

// PutAll implements storage.Batcher if the wrapped store does. If not, storage.PutAll puts the entries one by one,
// and each is reported.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	b, ok := s.inner.(storage.Batcher)
	if !ok {
		return errors.ErrUnsupported
	}
	start := time.Now()
	err := b.PutAll(ctx, entries)
	if !errors.Is(err, errors.ErrUnsupported) {
		s.done(putAll, start, err)
	}
	return err
}

// Sweep implements storage.Sweeper if the wrapped store does.
func (s *Store) Sweep(ctx context.Context, limit int) (storage.Swept, error) {
	start := time.Now()
	swept, err := storage.Sweep(ctx, s.inner, limit)
	s.done(sweep, start, err)
	return swept, err
}

// Backlog implements storage.Backlogger if the wrapped store does. It is not reported to the observer.
func (s *Store) Backlog(ctx context.Context) (time.Time, error) { return storage.Backlog(ctx, s.inner) }

// Usage implements storage.Meter if the wrapped store does.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	start := time.Now()
	u, err := storage.UsageOf(ctx, s.inner, tenant)
	s.done(usage, start, err)
	return u, err
}

// DropTenant implements storage.Dropper if the wrapped store does.
func (s *Store) DropTenant(ctx context.Context, tenant string) (int64, error) {
	start := time.Now()
	removed, err := storage.DropTenant(ctx, s.inner, tenant)
	s.done(dropTenant, start, err)
	return removed, err
}

// Close implements storage.Store. It closes the wrapped store.
func (s *Store) Close() error { return s.inner.Close() }
