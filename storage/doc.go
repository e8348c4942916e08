// Package storage is the border between sessions and whatever keeps them: a contract of five methods and a few
// optional powers. It is the last step of the request path (see package server).
//
// It must never know what a record means, who asks, or that locks exist: it keeps bytes under a key until they expire.
// Begin reading at [Store]; storage/memory is the shortest driver, storage/storagetest the contract as a test suite.
//
// # The contract
//
// Keys. A [Key] carries the tenant, so that no driver can forget it: two keys that differ in either field are two
// records. A tenant's name is any non-empty string of at most 64 bytes; whatever bytes it holds, a driver keeps its records apart
// from every other tenant's and inside the place it was given. Ids arrive hashed, so a driver never sees a session id.
//
// Records. A [Record] is bytes and an expiry, which is cut to the millisecond. From that instant on the record is gone: Get and Touch
// answer [ErrNotFound] for a record that has expired exactly as for one that never was, whether or not it has been swept.
// A record marked as a Marker is kept and found like any other and counts in no [Usage].
//
// Ownership. No slice is shared across the border. What a caller passes in is the caller's again when the method
// returns; what a driver hands out is the caller's to change.
//
// Durability. When Put, PutAll or Touch has returned nil, what it wrote outlives the process's being killed; whether it
// outlives the machine's losing power is the driver's setting, which may except Touch. When it has returned an error, the
// record is the old or the new one, never a mixture and never torn, and nothing of it lands later. Delete may be undone
// by a crash.
//
// Concurrency. Every method may be called from many goroutines at once, also for one key. The operations on one key appear in some order
// that agrees with real time: a Get that starts after a Put has returned sees that Put or a later one.
//
// Waiting. A method honours its context where it waits. A context that ends while a write is under way leaves the old record or the
// new one.
//
// Closing. After Close every method answers [ErrClosed]; closing twice is harmless. Close waits for operations under way.
package storage
