// Package pebble is the default storage driver: durable, in one folder of this machine, on
// github.com/cockroachdb/pebble. It is the last step of the request path (see package server), behind the contract of
// package storage.
//
// It must never know what a record means, who asks, or that locks exist. Nobody else may know of Pebble: the library's
// types stay in this folder.
//
// Begin reading at [Store] (store.go). layout.go says what lies under which key, edit.go how one write changes record,
// expiry index and usage as one, sweep.go how the expired leave, drop.go how a tenant does, disk.go what happens when
// the disk fails.
//
// # Durability
//
// Pebble keeps the tail of its log in a buffer of the process until somebody asks for a sync, so that an unsynced
// commit is lost when the process is killed. Put, PutAll and Touch therefore always ask for one, and [SyncMode] decides
// below the library, in the file system that it is given, what a sync of the log is (walsync.go). In every mode an
// acknowledged write has been handed to the kernel and survives kill -9; with [SyncAlways] it has reached the disk.
// Concurrent writers share a sync. Delete and sweeping do not ask for one: they reach the kernel and the disk with the
// next write that does.
//
// Waiting for the disk cannot be interrupted: a context is looked at before a write begins, and a write that has begun
// is finished.
//
// # When the disk fails
//
// After the first write or sync that fails nothing more is written to the folder, as though the machine had stopped at
// that moment; every method answers an error that wraps [ErrFailed], [Store.Err] says so and [Observer] is told.
// Nothing exits the process. What was acknowledged is found again by opening the folder once more, when the disk is
// well.
//
// A record that cannot be read or decoded answers storage.ErrCorrupt, and only that record: the others go on.
package pebble
