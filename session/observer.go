package session

import (
	"time"

	"sessionserver/storage"
)

// Event is a change or refusal that an operator may want to count or to log.
type Event struct {
	Kind   EventKind
	Tenant string
	ID     storage.ID    // hashed id; zero for TenantDropped
	Waited time.Duration // LockGranted, LockTimedOut: time spent in the queue
	Quota  Quota         // QuotaRefused: the quota
	Count  int64         // TenantDropped: number of sessions removed
	Err    error         // Damaged: the cause
}

// EventKind is the kind of an Event.
type EventKind uint8

const (
	Created       EventKind = iota // saved for the first time
	Saved                          // saved again
	Destroyed                      // removed by its application
	Regenerated                    // moved to a new id; ID is the old one
	Expired                        // swept after its expiry
	LockGranted                    // a lock was granted; Waited is 0 for a free lock
	LockTimedOut                   // an open waited for too long
	LockLost                       // a lease was over and the next waiter took the lock, or the tenant was dropped
	QuotaRefused                   // a save would have exceeded a quota, or an open would have had to wait
	TenantDropped                  // all sessions of a tenant were removed
	Damaged                        // a stored record is damaged and counts as absent
)

func (k EventKind) String() string {
	return [...]string{
		"created", "saved", "destroyed", "regenerated", "expired", "lock_granted", "lock_timed_out", "lock_lost",
		"quota_refused", "tenant_dropped", "damaged",
	}[k]
}
