// Package memory is the storage driver that keeps records in this process's memory and nowhere else: for tests, for
// trying the server out, and for sessions that may be lost with the process. It has every optional power.
//
// It must never know what package storage does not tell it, nor touch a disk or a network. It is the driver to read
// before writing one: begin at [Store], then shard.go, where the records are, queue.go, how those that have expired are
// found without looking at the others, and ledger.go, how usage is told in constant time.
package memory
