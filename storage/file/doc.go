// Package file is the storage driver that keeps one file per session, as HTTP_SessionServer's save_path did: for those
// who want to see their sessions with ls, back them up with tar and need no database. It has every optional power.
//
// It must never know what a record means, and never touch anything outside its folder: every file is opened through
// an os.Root, and a tenant's name is encoded before it becomes a folder's.
//
// Begin reading at layout.go, which says what lies where, then format.go, what is in a file, then [Store]. batch.go
// writes several records as one, scan.go finds out at the start what is there, queue.go remembers what expires when,
// sweep.go removes it, and drop.go a whole tenant.
//
// # Durability
//
// A record is written to a temporary file, which takes the place of the old one by a rename, so that neither a crash
// nor a full disk leaves a mixture. With [SyncAlways] the file is synced before the rename and the folder after it;
// with [SyncNever] the kernel writes when it likes: an acknowledged record survives kill -9, but not the loss of power,
// after which a file may be found torn. A file that is torn or foreign answers storage.ErrCorrupt, counts in no usage
// and is left alone by the sweep. Its key can be written and deleted like any other: the file is then set aside for somebody to look at (damage.go). Touch writes
// into the file, outside of what its checksums cover but for one of its own: in both modes it survives kill -9, and is
// synced by nobody.
//
// A folder belongs to one store at a time, which locks the file "lock" in it. Opening takes time in proportion to the
// number of records: the head of every file is read. A file that somebody else puts there while the folder is open is found,
// but counted and swept only after the next opening. It needs rename, fsync and flock to work, which excludes some
// network file systems.
package file
