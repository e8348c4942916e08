package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sessionserver/storage"
)

// SweepOptions say how fast what has expired is removed. One round examines at most Batch records and is followed by
// the next after Interval, or at once while there is more to do: bounded work at a time, but never falling behind.
type SweepOptions struct {
	Interval time.Duration
	Batch    int
	Done     func(removed int, err error) // told of each round; also after one that failed the next comes
}

// sweepGap is the shortest time between two rounds unless there is more to do.
const sweepGap = 100 * time.Millisecond

// sweepSoon makes Sweep begin its next round within sweepGap: a tenant has been refused something, perhaps because of
// sessions that have expired and count still.
func (m *Manager) sweepSoon() {
	select {
	case m.full <- struct{}{}:
	default:
	}
}

// Sweep removes expired sessions from the store until ctx ends. A store that removes them by itself makes it return
// at once.
func (m *Manager) Sweep(ctx context.Context, opts SweepOptions) {
	for ctx.Err() == nil {
		swept, err := storage.Sweep(ctx, m.store, opts.Batch)
		for _, key := range swept.Removed {
			m.observe(Event{Kind: Expired, Tenant: key.Tenant, ID: key.ID})
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		if opts.Done != nil && ctx.Err() == nil {
			if err != nil {
				err = fmt.Errorf("session: sweep: %w", err)
			}
			opts.Done(len(swept.Removed), err)
		}
		if swept.More && err == nil {
			continue
		}
		due := time.NewTimer(opts.Interval)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-m.full:
			due.Reset(min(sweepGap, opts.Interval))
			select {
			case <-ctx.Done():
			case <-due.C:
			}
		}
		due.Stop()
	}
}
