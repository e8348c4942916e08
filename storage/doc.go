// Package storage is the border between sessions and the drivers that keep them: a contract of five methods and a few
// optional interfaces. On the path of a request it is the call of storage.Store.Put and its like by package session
// (see package server).
//
// It must never know what a record means, which client sent it, or that locks exist: it keeps bytes under a key until
// they expire. Begin reading at [Store]. Package storage/memory is the shortest driver; package storage/storagetest is
// the contract as a test suite.
//
// # The contract
//
// Keys. A [Key] contains the tenant, so that no driver mixes tenants: two keys that differ in either field are two
// records. A tenant's name is any non-empty string of at most 64 bytes. For every such name a driver keeps the
// tenant's records apart from all others and inside the driver's own folder. Ids are hashes, so a driver never sees a
// session id.
//
// Records. A [Record] is bytes and an expiry, which is truncated to the millisecond. From that instant on the record
// is gone. Get and Touch return [ErrNotFound] for an expired record exactly as for one that never existed, swept or
// not. A record marked as a Marker is stored and found like any other, but does not count in a tenant's [Usage].
//
// Ownership. No slice is shared across the border. A slice that a caller passes belongs to the caller again when the
// method returns. A slice that a driver returns belongs to the caller.
//
// Durability. When Put, PutAll or Touch has returned nil, the write survives a kill of the process. Whether it survives
// a power failure is a setting of the driver, which may exclude Touch. After an error the record is the old or the new
// one, never a mixture and never torn. No part of the write takes effect later. A crash may undo Delete.
//
// Concurrency. Every method may be called from many goroutines at once, also for one key. The operations on one key
// appear in some order that agrees with real time. A Get that starts after a Put has returned sees that Put or a later
// one.
//
// Waiting. A method honours its context where it waits. A context that ends during a write leaves the old record or
// the new one.
//
// Closing. After Close every method returns [ErrClosed]; a second Close is harmless. Close waits for the operations in
// progress.
package storage
