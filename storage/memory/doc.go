// Package memory is the storage driver that keeps records in the memory of this process and nowhere else. It is for
// tests, for trying the server, and for sessions that may be lost with the process. It implements every optional
// interface of package storage.
//
// It must never know more than package storage promises, nor touch a disk or a network. Read it before you write a
// driver. Begin reading at [Store]; shard.go holds the records, ledger.go the usage of tenants, and package
// storage/expiry finds expired records without visiting live ones.
package memory
