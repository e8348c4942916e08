// Package cache is a wrapper that keeps the records used last in memory, in front of any driver: reading a session
// again costs a copy instead of a look into a database. Writes go through; every optional power that the wrapped store
// has is passed on.
//
// It must never know what it wraps, and it must be the only way to it: a record that somebody else changes beneath it
// is found out when the entry is evicted or written to, and no sooner. So it is no good in front of a store that
// several servers share. A write must be over when the wrapped store has answered, also with an error.
//
// Begin reading at [Store], then shard.go, which holds the one rule that makes it right:
//
//	While a key is in the cache, no write to it is under way, and the entry is what the wrapped store has.
//
// A write takes the key's entry out before it asks the wrapped store; until it is done every Get asks the wrapped
// store, too, and leaves nothing behind in the cache. So the order in which operations appear is the wrapped store's,
// also for batches, and a write of which nobody knows whether it was done leaves no entry.
package cache
