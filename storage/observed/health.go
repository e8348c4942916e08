package observed

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

const (
	failuresMin = 3 // consecutive failures of a failing store; a single one may concern one record only

	// failureAge is how long a failure counts. A server that is not ready gets no clients, so no operation of theirs
	// could succeed. So old failures must not keep it from being ready.
	failureAge = 10 * time.Second
)

// health holds the outcome of the last operations of one kind.
type health struct {
	failures atomic.Int64 // since the last success
	last     atomic.Pointer[failure]
}

type failure struct {
	at  time.Time
	err error
}

// record records the outcome of an operation.
func (h *health) record(err error) {
	switch {
	case err == nil && h.failures.Load() == 0: // a success after a success needs no write
	case err == nil:
		h.failures.Store(0)
	case errors.Is(err, storage.ErrCorrupt): // concerns one record only
	default:
		h.last.Store(&failure{time.Now(), err})
		h.failures.Add(1)
	}
}

// Failing returns an error if the store fails now: several consecutive operations of one kind failed, the last one
// recently.
func (s *Store) Failing() error {
	for op := range s.health {
		h := &s.health[op]
		if h.failures.Load() < failuresMin {
			continue
		}
		if f := h.last.Load(); f != nil && time.Since(f.at) < failureAge {
			return fmt.Errorf("%s failed: %w", operations[op], f.err)
		}
	}
	return nil
}
