// Package log is a storage driver: durable, in one folder of this machine, as a log of segments with an index in
// memory. It is the last step of the request path (see package server), behind the contract of package storage.
//
// It must never know what a record means, which client sent it, or that locks exist.
//
// # The log
//
// Every change is a frame: a record, a touch, a deletion, the drop of a tenant (frame.go). Frames are appended to the
// newest segment, a file of a fixed size (segment.go). When it is full the next one begins; the oldest is cleaned and
// its file used again:
//
//	   oldest                                               newest
//	┌──────────┬──────────┬──────────┬──────────┐  ┌──────────────────────┐
//	│ cleaned: │  sealed  │  sealed  │  sealed  │  │ frame frame frame    │◀─ append
//	│ what is  │  + keys  │  + keys  │  + keys  │  │            free room │
//	│ alive is │          │          │          │  └──────────────────────┘
//	│ appended │          │          │          │     the last 64 MiB are
//	│ again    │          │          │          │     in memory as well
//	└──────────┴──────────┴──────────┴──────────┘
//	      ▲          ▲
//	 index: id, tenant → position of the newest frame, expiry, size
//
// Segments leave in the order in which they were written. So whatever leaves is older than everything that stays, and
// no old version of a record can come back: deletions, touches and drops need no rule of their own (clean.go).
//
// # Writing
//
// A write locks the shard of its key in the index and then the log, copies its frame into the newest page in memory,
// lets the index point to it, and unlocks both (engine.go, log.go). Then it waits for its group: all frames that were
// appended meanwhile become durable with one write, and one fdatasync in [SyncAlways]. One of those who wait does that
// for all; see commit.go.
//
// Visible means durable. A reader that finds a frame whose group is not durable yet waits for that group, and is then
// shown exactly that frame. In [SyncInterval] and [SyncNever], durable means that the kernel has the frame: it survives
// the end of the process, but not that of the machine.
//
// # Opening
//
// Opening applies all frames in order to an empty index (recover.go). A sealed segment has a table of keys, which is
// all that is read of it (keys.go). The newest segment may have been left in the middle of a write: its first invalid
// frame is where the log ends. A later frame that states the segment to be durable beyond that place shows damage
// instead, and opening is refused, for acknowledged writes may be lost.
//
// # When the disk fails
//
// After a write or sync that failed, every change is refused with [ErrFailed], while what is durable can still be read.
// The store opens its folder again every few seconds, and continues in a new segment. A full disk is no failure:
// records are refused with [ErrFull], while deletions use the room that is kept for them, and the cleaner makes more.
// It has a reserve: a file that is larger than every segment, so that the oldest one can always be copied (spare.go).
//
// A record that cannot be read is storage.ErrCorrupt, and only that record.
//
// Begin reading at [Store], then engine.go.
package log
