// Package session is the heart of the server. It opens sessions under a fair lock, changes them in memory, saves each
// as a whole, and ends them when their lifetime is over.
//
// On the path of a request it is behind the gates of Call.admit: handlers such as runPut call it, and it calls
// storage.Store (see package server). It must never depend on connections, framings, credentials or policies. A caller
// passes a [Tenant] and an id, and gets a [Session].
//
// Begin reading at [Manager.Open]. Locks are in lock.go, the stored format in record.go, lifetimes in lifetime.go,
// quotas in quota.go.
//
// # Locks
//
// Each session has one lock, exclusive or shared. This process grants it strictly in order of arrival, and no client
// polls. A lock is a lease: its holder is safe for Settings.LockLease from the moment the lock was granted. After that
// the next waiter may take the lock.
//
// Every save is fenced: it happens only while the lock is held, and the lock cannot be lost during the save. So a
// client whose lease expired cannot overwrite a newer write. A snapshot takes no lock, and writes only that the session
// was used; all saves wait until that write is over.
//
// Lock order: the mutex of a lock table shard is innermost. Where two of them are needed, the one with the lower index
// comes first.
//
// # Ids
//
// Only the SHA-256 of an id leaves this package, so neither storage nor logs can leak an id. The old id after
// Regenerate is an alias of the new one during the grace period. After that it is a tombstone, as is the id of a
// destroyed session. A tombstone is refused in every mode, and is kept until no client can still use the id. So a late
// request cannot bring a session back.
//
// # Quotas
//
// A tenant has a maximum number of sessions (Settings.MaxSessions), of bytes in them (MaxTotalBytes), and of
// connections that wait for locks (MaxWaiters). A request that would exceed a quota is refused with [ErrQuota]; nothing
// is ever evicted to make room.
//
//   - A save that adds neither sessions nor bytes is always granted, also to a tenant whose quota was lowered below its
//     usage. So are touching, destroying and Regenerate.
//   - A refused save changes nothing: neither the stored session, nor the changes in memory, nor the lock. The session
//     can be made smaller and saved, saved later, or aborted.
//   - Usage is what the store's Meter counts: a session from its first save on, with the bytes of its record.
//     Tombstones, aliases and sessions that were never saved count for nothing.
//   - An expired session counts until it is swept. A refusal makes Sweep begin its next round within 100 ms. So expired
//     sessions keep a tenant out only for as long as their sweeping takes. A session that expired while it was open
//     counts as a new one when it is saved.
//   - A save reserves its growth before it is written (quota.go). Of many saves at once, as many are granted as there
//     is room for. A save in the very instant in which its session expires may exceed the quota by that session.
//   - Usage comes from the store, so it is right after a restart. A store without a Meter supports no quotas; see
//     [Manager.Usage].
//   - A wait counts from joining a queue until the lock is granted or given up. Above MaxWaiters, an open that would
//     have to wait is refused at once. An open that gets the lock at once, or that does not wait, is not affected.
//
// # Dropping a tenant
//
// [Manager.DropTenant] removes all sessions of a tenant while the other tenants are served. It takes all locks of the
// tenant away, waits for the saves in progress under them, and grants no new ones until all is removed. No session is
// written without its lock, so none can come back.
package session
