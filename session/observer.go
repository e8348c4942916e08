package session

import (
	"time"

	"sessionserver/storage"
)

// Event is something that happened to a session and that an operator may want to count or to remember.
type Event struct {
	Kind   EventKind
	Tenant string
	ID     storage.ID    // the hashed id
	Waited time.Duration // LockGranted, LockTimedOut: time spent in the queue
}

// EventKind says what happened.
type EventKind uint8

const (
	Created      EventKind = iota // saved for the first time
	Saved                         // saved again
	Destroyed                     // ended by its application
	Regenerated                   // moved to a new id; ID is the old one
	Expired                       // swept after its lifetime
	LockGranted                   // a lock was got; Waited is 0 when it was free
	LockTimedOut                  // an open gave up waiting
	LockLost                      // a lease was over and the next one took the lock
)

func (k EventKind) String() string {
	return [...]string{
		"created", "saved", "destroyed", "regenerated", "expired", "lock_granted", "lock_timed_out", "lock_lost",
	}[k]
}
