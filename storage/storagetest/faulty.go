package storagetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"sessionserver/storage"
)

// Op names an operation of a store.
type Op string

// The operations of a store and of its optional interfaces.
const (
	OpGet    Op = "get"
	OpPut    Op = "put"
	OpTouch  Op = "touch"
	OpDelete Op = "delete"
	OpPutAll Op = "put_all"
	OpSweep  Op = "sweep"
	OpUsage  Op = "usage"
	OpDrop   Op = "drop"
	OpClose  Op = "close"
)

// Hook is called before or after an operation. The key is zero for an operation without one. It has no id for an
// operation on a tenant, and is the first entry's key for a batch. A hook may wait, which delays the operation. If it
// returns an error, the operation returns that error.
type Hook func(ctx context.Context, op Op, key storage.Key) error

// Faulty is a store whose operations a test can make fail or wait. It implements the optional interfaces of the
// store that it wraps. Hooks may be set at any time, and run in the goroutine of the operation.
type Faulty struct {
	inner  storage.Store
	mu     sync.Mutex // guards the fields below
	fails  map[Op]error
	before Hook
	after  Hook
}

var (
	_ storage.Store      = (*Faulty)(nil)
	_ storage.Batcher    = (*Faulty)(nil)
	_ storage.Sweeper    = (*Faulty)(nil)
	_ storage.Meter      = (*Faulty)(nil)
	_ storage.Backlogger = (*Faulty)(nil)
	_ storage.Dropper    = (*Faulty)(nil)
)

// NewFaulty wraps inner. Without hooks and failures it behaves like inner.
func NewFaulty(inner storage.Store) *Faulty {
	return &Faulty{inner: inner, fails: make(map[Op]error)}
}

// Fail makes every op return err without doing anything from now on. A nil error ends that.
func (f *Faulty) Fail(op Op, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[op] = err
}

// Before sets the hook that is called before each operation, or none with nil. If the hook returns an error, the
// operation is not done.
func (f *Faulty) Before(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = h
}

// After sets the hook that is called after each successful operation, or none with nil. If the hook returns an
// error, the operation returns it too, although it was done. This simulates a lost acknowledgement.
func (f *Faulty) After(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = h
}

// around calls do between the hooks.
func (f *Faulty) around(ctx context.Context, op Op, key storage.Key, do func() error) error {
	f.mu.Lock()
	err, before, after := f.fails[op], f.before, f.after
	f.mu.Unlock()
	if err == nil && before != nil {
		err = before(ctx, op, key)
	}
	if err == nil {
		err = do()
	}
	if err == nil && after != nil {
		err = after(ctx, op, key)
	}
	return err
}

// Get implements storage.Store.
func (f *Faulty) Get(ctx context.Context, key storage.Key) (rec storage.Record, err error) {
	err = f.around(ctx, OpGet, key, func() (err error) { rec, err = f.inner.Get(ctx, key); return err })
	if err != nil {
		return storage.Record{}, err
	}
	return rec, nil
}

// Put implements storage.Store.
func (f *Faulty) Put(ctx context.Context, key storage.Key, rec storage.Record) error {
	return f.around(ctx, OpPut, key, func() error { return f.inner.Put(ctx, key, rec) })
}

// Touch implements storage.Store.
func (f *Faulty) Touch(ctx context.Context, key storage.Key, expires time.Time) error {
	return f.around(ctx, OpTouch, key, func() error { return f.inner.Touch(ctx, key, expires) })
}

// Delete implements storage.Store.
func (f *Faulty) Delete(ctx context.Context, key storage.Key) error {
	return f.around(ctx, OpDelete, key, func() error { return f.inner.Delete(ctx, key) })
}

// PutAll implements storage.Batcher if the wrapped store does.
func (f *Faulty) PutAll(ctx context.Context, entries []storage.Entry) error {
	b, ok := f.inner.(storage.Batcher)
	if !ok {
		return errors.ErrUnsupported
	}
	var key storage.Key
	if len(entries) > 0 {
		key = entries[0].Key
	}
	return f.around(ctx, OpPutAll, key, func() error { return b.PutAll(ctx, entries) })
}

// Sweep implements storage.Sweeper if the wrapped store does.
func (f *Faulty) Sweep(ctx context.Context, limit int) (swept storage.Swept, err error) {
	err = f.around(ctx, OpSweep, storage.Key{}, func() (err error) {
		swept, err = storage.Sweep(ctx, f.inner, limit)
		return err
	})
	if err != nil {
		return storage.Swept{}, err
	}
	return swept, nil
}

// Backlog implements storage.Backlogger if the wrapped store does. It has no hooks.
func (f *Faulty) Backlog(ctx context.Context) (time.Time, error) {
	return storage.Backlog(ctx, f.inner)
}

// Usage implements storage.Meter if the wrapped store does.
func (f *Faulty) Usage(ctx context.Context, tenant string) (u storage.Usage, err error) {
	err = f.around(ctx, OpUsage, storage.Key{Tenant: tenant}, func() (err error) {
		u, err = storage.UsageOf(ctx, f.inner, tenant)
		return err
	})
	if err != nil {
		return storage.Usage{}, err
	}
	return u, nil
}

// DropTenant implements storage.Dropper if the wrapped store does.
func (f *Faulty) DropTenant(ctx context.Context, tenant string) (removed int64, err error) {
	err = f.around(ctx, OpDrop, storage.Key{Tenant: tenant}, func() (err error) {
		removed, err = storage.DropTenant(ctx, f.inner, tenant)
		return err
	})
	return removed, err
}

// Close implements storage.Store.
func (f *Faulty) Close() error {
	return f.around(context.Background(), OpClose, storage.Key{}, f.inner.Close)
}
