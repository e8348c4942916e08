package storage

import (
	"context"
	"errors"
	"time"
)

// A driver may have more powers than Store asks for; each is a small interface. A wrapper has all of them and answers
// errors.ErrUnsupported for those that the wrapped store lacks, so callers use the functions below and never assert by themselves.

// Entry is a record and its key.
type Entry struct {
	Key    Key
	Record Record
}

// Batcher writes several records as one: after a crash either all of them are there or none is, and no Get sees a
// later entry's new record while an earlier entry's is still the old one.
type Batcher interface {
	PutAll(ctx context.Context, entries []Entry) error
}

// Swept is what one round of sweeping did.
type Swept struct {
	Removed []Key // records that had expired, Markers left out
	More    bool  // whether the round stopped at its limit, so that another should follow
}

// Sweeper removes what has expired. One call is bounded work: it examines on the order of limit records, wherever it
// left off the time before, and removes the expired ones among them. It never removes a live record, whatever is written meanwhile.
// Between one answer without More and the next, every record that was there all the time has been examined.
type Sweeper interface {
	Sweep(ctx context.Context, limit int) (Swept, error)
}

// Backlogger tells how far sweeping is behind: since when the record has been due that has waited longest for Sweep to remove it, or the zero time if none waits.
// It is a look in passing that waits for no disk. A driver may count records in that were due once and have been given more time since, until Sweep has looked
// at them; so the answer is never later than the truth.
type Backlogger interface {
	Backlog(ctx context.Context) (since time.Time, err error)
}

// Usage is what a tenant keeps: Markers do not count, records that have expired do until they are swept.
type Usage struct {
	Records int64
	Bytes   int64 // the lengths of the records' data, summed
}

// Meter tells what a tenant keeps in constant time, as of one moment: while a record is replaced the answer is the old
// one or the new one, and while a batch is written it is that from before it or after it. Right after a store has been opened the answer is right.
type Meter interface {
	Usage(ctx context.Context, tenant string) (Usage, error)
}

// Dropper removes all that a tenant keeps, Markers and expired records included, and answers how many of the records had counted in its
// Usage. It is many small steps, between which other operations have their turn. What is written to the tenant
// meanwhile is there afterwards or is not, and is counted either way. When it has returned nil, nothing that was there
// before comes back, also after a crash that Put outlives; when it has not, because it failed, its context ended or the process was killed, each
// record is there or is not, Usage tells which, and another call removes the rest.
type Dropper interface {
	DropTenant(ctx context.Context, tenant string) (removed int64, err error)
}

// PutAll writes the entries as one where the store is a Batcher, and otherwise one after the other in the order given,
// stopping at the first that fails.
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

// Sweep makes one round of sweeping, or answers errors.ErrUnsupported.
func Sweep(ctx context.Context, s Store, limit int) (Swept, error) {
	if sw, ok := s.(Sweeper); ok {
		return sw.Sweep(ctx, limit)
	}
	return Swept{}, errors.ErrUnsupported
}

// Backlog tells how far sweeping of s is behind, or answers errors.ErrUnsupported.
func Backlog(ctx context.Context, s Store) (since time.Time, err error) {
	if b, ok := s.(Backlogger); ok {
		return b.Backlog(ctx)
	}
	return time.Time{}, errors.ErrUnsupported
}

// UsageOf tells what tenant keeps in s, or answers errors.ErrUnsupported.
func UsageOf(ctx context.Context, s Store, tenant string) (Usage, error) {
	if m, ok := s.(Meter); ok {
		return m.Usage(ctx, tenant)
	}
	return Usage{}, errors.ErrUnsupported
}

// DropTenant removes all that tenant keeps in s, or answers errors.ErrUnsupported.
func DropTenant(ctx context.Context, s Store, tenant string) (removed int64, err error) {
	if d, ok := s.(Dropper); ok {
		return d.DropTenant(ctx, tenant)
	}
	return 0, errors.ErrUnsupported
}
