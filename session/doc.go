// Package session is the heart of the server: sessions that are opened under a fair lock, changed in memory, saved as
// a whole, and that end when their time is over.
//
// On the request path it is the step "session manager", behind every gate and before the storage driver (see package
// server). It must never know what a connection, a framing, a credential or a policy is: a caller names a [Tenant]
// and an id, and gets a [Session].
//
// Begin reading at [Manager.Open]. What is locked and when stands in lock.go, what is kept in record.go, when it ends
// in lifetime.go.
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
package session
