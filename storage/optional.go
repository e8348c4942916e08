package storage

import (
	"context"
	"errors"
	"time"
)

// A driver may implement more than Store: each of the interfaces below is optional. A wrapper implements all of them,
// and returns errors.ErrUnsupported for those that the wrapped store lacks. So callers use the functions below instead
// of type assertions.

// Entry is a record and its key.
type Entry struct {
	Key    Key
	Record Record
}

// Batcher writes several records at once. After a crash either all of them exist or none. No Get sees the new
// record of a later entry while an earlier entry still has its old one.
type Batcher interface {
	PutAll(ctx context.Context, entries []Entry) error
}

// Swept is the result of one round of sweeping.
type Swept struct {
	Removed []Key // expired records, without Markers
	More    bool  // the round stopped at its limit, so another one should follow
}

// Sweeper removes expired records. One call is bounded work: it examines about limit records, from where the
// previous call stopped, and removes the expired ones among them. It never removes a live record, also under
// concurrent writes. Between one result without More and the next, every record that existed all the time has been
// examined.
type Sweeper interface {
	Sweep(ctx context.Context, limit int) (Swept, error)
}

// Backlogger reports how far sweeping is behind. Backlog returns the expiry of the oldest expired record that Sweep
// has not removed, or the zero time if there is none.
//
// It is a quick look that waits for no disk. A driver may include records whose expiry was moved since, until Sweep
// has examined them. So the result is never later than the true one.
type Backlogger interface {
	Backlog(ctx context.Context) (since time.Time, err error)
}

// Usage is what a tenant keeps. Markers do not count; expired records count until they are swept.
type Usage struct {
	Records int64
	Bytes   int64 // total length of the records' data
}

// Meter returns a tenant's usage in constant time and as of one moment. While a record is replaced, the usage
// includes the old record or the new one. While a batch is written, it is the usage before or after the batch. It
// is right as soon as the store is open.
type Meter interface {
	Usage(ctx context.Context, tenant string) (Usage, error)
}

// Dropper removes all records of a tenant, Markers and expired records included. It returns how many of the removed
// records counted in the tenant's Usage. It works in many small steps, between which other operations proceed.
//
// A record written to the tenant meanwhile may remain or not, and is counted in either case. After nil, no record
// that existed before comes back, not even after a crash that Put survives.
//
// DropTenant may also fail, its context may end, or the process may be killed. Then some records are left, Usage is
// right, and another call removes the rest.
type Dropper interface {
	DropTenant(ctx context.Context, tenant string) (removed int64, err error)
}

// PutAll writes the entries at once if the store is a Batcher. Otherwise it writes them one after the other in the
// given order, and stops at the first error.
func PutAll(ctx context.Context, s Store, entries []Entry) error {
	if b, ok := s.(Batcher); ok {
		if err := b.PutAll(ctx, entries); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for _, e := range entries {
		if err := s.Put(ctx, e.Key, e.Record); err != nil {
			return err
		}
	}
	return nil
}

// Sweep runs one round of sweeping, or returns errors.ErrUnsupported.
func Sweep(ctx context.Context, s Store, limit int) (Swept, error) {
	if sw, ok := s.(Sweeper); ok {
		return sw.Sweep(ctx, limit)
	}
	return Swept{}, errors.ErrUnsupported
}

// Backlog returns the expiry of the oldest expired record that is not swept, or errors.ErrUnsupported; see
// Backlogger.
func Backlog(ctx context.Context, s Store) (since time.Time, err error) {
	if b, ok := s.(Backlogger); ok {
		return b.Backlog(ctx)
	}
	return time.Time{}, errors.ErrUnsupported
}

// UsageOf returns the tenant's usage, or errors.ErrUnsupported.
func UsageOf(ctx context.Context, s Store, tenant string) (Usage, error) {
	if m, ok := s.(Meter); ok {
		return m.Usage(ctx, tenant)
	}
	return Usage{}, errors.ErrUnsupported
}

// DropTenant removes all records of the tenant, or returns errors.ErrUnsupported.
func DropTenant(ctx context.Context, s Store, tenant string) (removed int64, err error) {
	if d, ok := s.(Dropper); ok {
		return d.DropTenant(ctx, tenant)
	}
	return 0, errors.ErrUnsupported
}
