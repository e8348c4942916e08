package observed

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

const (
	failuresMin = 3                // one after the other make a failing store: a single one may be about one record
	failureAge  = 10 * time.Second // after which a failure says nothing of now. Who sends no clients any more would else never hear that it is mended
)

// late is how the last operations of one kind ended.
type late struct {
	failures atomic.Int64 // since the last success
	last     atomic.Pointer[failure]
}

type failure struct {
	at  time.Time
	err error
}

func (l *late) note(err error) {
	switch {
	case err == nil && l.failures.Load() == 0: // so that success costs no write
	case err == nil:
		l.failures.Store(0)
	case errors.Is(err, storage.ErrCorrupt): // one record's, and no other's
	default:
		l.last.Store(&failure{time.Now(), err})
		l.failures.Add(1)
	}
}

// Failing answers why the store fails now, or nil: operations of one kind have failed one after the other, the last of them just now.
func (s *Store) Failing() error {
	for op := range s.late {
		l := &s.late[op]
		if l.failures.Load() < failuresMin {
			continue
		}
		if f := l.last.Load(); f != nil && time.Since(f.at) < failureAge {
			return fmt.Errorf("%s failed: %w", operations[op], f.err)
		}
	}
	return nil
}
