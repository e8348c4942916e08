package session

import (
	"time"

	"sessionserver/storage"
)

// Event is something that happened to a session and that an operator may want to count or to remember.
type Event struct {
	Kind   EventKind
	Tenant string
	ID     storage.ID    // the hashed id; zero for TenantDropped
	Waited time.Duration // LockGranted, LockTimedOut: time spent in the queue
	Quota  Quota         // QuotaRefused: which one
	Count  int64         // TenantDropped: sessions that were removed
	Err    error         // Damaged: how
}

// EventKind says what happened.
type EventKind uint8

const (
	Created       EventKind = iota // saved for the first time
	Saved                          // saved again
	Destroyed                      // ended by its application
	Regenerated                    // moved to a new id; ID is the old one
	Expired                        // swept after its lifetime
	LockGranted                    // a lock was got; Waited is 0 when it was free
	LockTimedOut                   // an open gave up waiting
	LockLost                       // a lease was over and the next one took the lock, or the tenant was dropped
	QuotaRefused                   // a save would have passed a quota, or an open would have had to wait
	TenantDropped                  // all sessions of a tenant were removed
	Damaged                        // the stored record is damaged, and is as good as absent
)

func (k EventKind) String() string {
	return [...]string{
		"created", "saved", "destroyed", "regenerated", "expired", "lock_granted", "lock_timed_out", "lock_lost",
		"quota_refused", "tenant_dropped", "damaged",
	}[k]
}
