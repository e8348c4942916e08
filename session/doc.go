// Package session is the heart of the server: sessions that are opened under a fair lock, changed in memory, saved as
// a whole, and that end when their time is over.
//
// On the request path it is the step "session manager", behind every gate and before the storage driver (see package
// server). It must never know what a connection, a framing, a credential or a policy is: a caller names a [Tenant]
// and an id, and gets a [Session].
//
// Begin reading at [Manager.Open]. What is locked and when stands in lock.go, what is kept in record.go, when it ends
// in lifetime.go, how much a tenant may have in quota.go.
//
// # Locks
//
// Each session has one lock, exclusive or shared, granted strictly in order of arrival by this process; nobody polls.
// A lock is a lease: from the moment it was got its holder has Settings.LockLease before the next waiter may take it
// away. Every save is fenced: it happens only while the lock is held, and while it happens the lock cannot be lost,
// so no save of a former holder can land on top of a later one's. What a snapshot writes without the lock, that the
// session is used, keeps all saves waiting as long as it takes. Lock order: a lock table shard's mutex is
// innermost; where two are needed, the one with the lower index comes first.
//
// # Ids
//
// Only the SHA-256 of an id leaves this package, so neither storage nor logs can leak one. An id that was destroyed,
// or left behind by Regenerate, is kept as a marker and refused in every mode until nobody can still believe in it: a
// late request cannot bring a session back.
//
// # Quotas
//
// A tenant may have so many sessions (Settings.MaxSessions), so many bytes of them (MaxTotalBytes) and so many connections that wait
// for locks (MaxWaiters). What would pass a quota is refused with [ErrQuota]; nothing is ever evicted to make room.
//
//   - A save that makes neither the number of sessions nor their bytes larger is always granted, also to a tenant that is over its
//     quota because that was lowered; so are touching, destroying and Regenerate. A refused save leaves all as it was: what is
//     stored, the changes in memory, and the lock, so that the session can be made smaller and saved, saved later, or aborted.
//   - What counts is what the store's Meter counts: a session from its first save on, with the bytes of its record. Burnt ids,
//     aliases and sessions that were never saved count for nothing.
//   - A session that has expired counts until it is swept. A refusal makes Sweep begin its next round within 100 ms, so that a tenant is
//     not kept out by its own garbage for longer than that and the sweeping of it take. One that expired while it was
//     open is a new one when it is saved.
//   - Saves are booked before they are written (quota.go), so that of many at once as many are granted as there is room for. One
//     that is saved in the very instant in which it expires may go over by itself.
//   - Usage comes from the store, so it is right after a restart. A store that is no Meter keeps no quotas; see [Manager.Usage].
//   - A wait is counted from joining a queue until the lock is granted or given up. Beyond MaxWaiters an open that would have to
//     wait is refused at once; one that need not, or will not, wait is not concerned.
//
// # Dropping a tenant
//
// [Manager.DropTenant] removes all sessions of a tenant while the others are served. It takes all locks of the tenant away, waits for
// the saves that are under way under them, and keeps new ones from being had until all is removed: since no session is written
// without its lock, none can come back.
package session
