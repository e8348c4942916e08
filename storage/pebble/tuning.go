package pebble

import (
	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// libraryOptions says how Pebble is to work for us.
func libraryOptions(o Options, d *disk, lock *pebbledb.Lock) *pebbledb.Options {
	lo := &pebbledb.Options{
		FS:        d,
		Lock:      lock,
		Merger:    merger,
		CacheSize: o.CacheBytes,
		Logger:    logger{o.Logger, d},

		// Not the next one, FormatWALSyncChunks: there each record of a log tells how far the log had been synced, and opening
		// takes it by its word. Where a sync of the log is none (walsync.go) that is a lie, and a power cut would be taken for
		// damage. A folder keeps its format when its mode changes, so it is one format for all modes.
		FormatMajorVersion: pebbledb.FormatColumnarBlocks,
	}
	lo.EventListener = events(o, d)
	for i := range lo.Levels {
		lo.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if o.tune != nil {
		o.tune(lo)
	}
	lo.WithFSDefaults()
	return lo
}
