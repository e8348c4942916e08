// Package file is the storage driver that keeps one file per session, as the save_path of HTTP_SessionServer did. It is
// for operators who want to see sessions with ls, back them up with tar, and run no database. It implements every
// optional interface of package storage.
//
// It must never know what a record means, and never touch anything outside its folder. Every file is opened through an
// os.Root, and a tenant's name is encoded before it becomes the name of a folder.
//
// Begin reading at layout.go, the tree of files, then format.go, the content of a file, then [Store]. File batch.go
// writes several records at once, and scan.go counts records when the store is opened. Files queue.go and sweep.go find
// and remove expired records, and drop.go removes a tenant.
//
// # Durability
//
// A record is written to a temporary file, which then replaces the old file by a rename. So neither a crash nor a full
// disk leaves a mixture of two records. With [SyncAlways] the file is synced before the rename and the folder after it.
// With [SyncNever] the kernel writes when it chooses: an acknowledged record survives kill -9, but not a power failure,
// which may leave a torn file. Touch overwrites the expiry in the file, which has a checksum of its own. In both modes
// a Touch survives kill -9, but is not synced.
//
// Package atomicfile writes, syncs and renames in one call, which does not fit here. The lock of a record is held for
// the rename, but not for the slow write and sync before it. A batch stages all its records and syncs their names
// before the journal commits it, and only then renames them. The sync is optional, and its duration is reported. A
// temporary file is named by its record, so that opening the folder can complete a batch or remove the file.
//
// # Damage
//
// For a torn or foreign file Get returns storage.ErrCorrupt. Such a file does not count in any usage, and the sweep
// does not remove it. Its key can be written and deleted like any other; the file is then set aside for the operator
// (see damage.go).
//
// # Requirements
//
// A folder belongs to one store at a time, which locks the file "lock" in it. Opening takes time in proportion to the
// number of records, since the head of every file is read. A file that another program adds while the store is open is
// found, but counted and swept only after the next opening. The driver needs rename, fsync and flock, which excludes
// some network file systems.
package file
