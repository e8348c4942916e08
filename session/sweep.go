package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sessionserver/storage"
)

// SweepOptions set the pace of removing expired records. One round examines at most Batch records. The next round
// follows after Interval, or at once while there is more to remove: each round is bounded work, but sweeping never
// falls behind.
type SweepOptions struct {
	Interval time.Duration
	Batch    int
	Done     func(removed int, err error) // called after each round; a failed round is followed by the next as well
}

// sweepGap is the shortest time between two rounds, unless there is more to remove.
const sweepGap = 100 * time.Millisecond

// requestSweep makes Sweep begin its next round within sweepGap. It is called after a refusal, which expired
// sessions that still count may have caused.
func (m *Manager) requestSweep() {
	select {
	case m.sweepRequested <- struct{}{}:
	default:
	}
}

// Sweep removes expired sessions from the store until ctx ends. It returns at once if the store removes them by
// itself.
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
		case <-m.sweepRequested:
			due.Reset(min(sweepGap, opts.Interval))
			select {
			case <-ctx.Done():
			case <-due.C:
			}
		}
		due.Stop()
	}
}
