package pebble

import (
	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// libraryOptions says how Pebble is to work for us. What is not mentioned is its default, where another choice was
// measured and made no difference: no or other compression, larger blocks and index blocks, larger base levels, syncing
// the log in steps. Storing values apart from keys helps writing somewhat, but needs a later format than we can have
// (see below).
func libraryOptions(o Options, d *disk, lock *pebbledb.Lock) *pebbledb.Options {
	lo := &pebbledb.Options{
		FS:        d,
		Lock:      lock,
		Merger:    merger,
		CacheSize: o.CacheBytes,

		MaxOpenFiles: o.MaxOpenFiles,
		Logger:       logger{o.Logger, d},

		// A session is written often in its short life. In a large memtable most of its versions replace each other
		// before they are written to a table at all, and a flush is worth its while: with Pebble's default, writing
		// costs more than twice the CPU. It grows to this size only as it is needed; two of them are the most memory it
		// takes.
		MemTableSize: 64 << 20,

		// Not the next one, FormatWALSyncChunks: there each record of a log tells how far the log had been synced, and
		// opening takes it by its word. Where a sync of the log is none (walsync.go) that is a lie, and a power cut
		// would be taken for damage. A folder keeps its format when its mode changes, so it is one format for all
		// modes.
		FormatMajorVersion: pebbledb.FormatColumnarBlocks,
	}
	lo.EventListener = events(o, d)
	// Most writes of a new session, and reads of one that is not there, look for a key that no table has.
	for i := range lo.Levels {
		lo.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if o.tune != nil {
		o.tune(lo)
	}
	lo.WithFSDefaults()
	return lo
}
