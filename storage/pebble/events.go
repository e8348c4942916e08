package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// logger is Pebble's log. What it tells of its work is for debugging; what matters to an operator comes as an event.
type logger struct {
	log  *slog.Logger
	disk *disk
}

var _ pebbledb.Logger = logger{}

func (l logger) Infof(format string, args ...any) { l.printf(slog.LevelDebug, format, args) }

func (l logger) Errorf(format string, args ...any) { l.printf(slog.LevelWarn, format, args) }

func (l logger) printf(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "pebble: "+fmt.Sprintf(format, args...))
	}
}

// Fatalf is called where Pebble cannot go on, and expects the process to end. A write that failed does not lead here
// (disk.go); what remains are its own broken invariants. The folder is frozen, so that going on can do no harm to it,
// and the store answers errors.
func (l logger) Fatalf(format string, args ...any) {
	l.disk.fail("pebble", "", fmt.Errorf(format, args...))
}

// events passes on what an operator wants to know. Pebble calls with its locks held.
func events(o Options, d *disk) *pebbledb.EventListener {
	var stalled atomic.Int64 // when the writers' current stall began, in Unix nanoseconds
	return &pebbledb.EventListener{
		// A flush or compaction that failed is tried again. If it was for writing, the disk has frozen the folder.
		BackgroundError: func(err error) {
			if !d.failed() {
				o.Logger.Error("storage: background work failed", "err", err)
			}
		},
		// The default is to exit. One damaged table is no reason to; its readers get storage.ErrCorrupt.
		DataCorruption: func(info pebbledb.DataCorruptionInfo) {
			o.Logger.Error("storage: damaged file", "file", info.Path, "err", info.Details)
		},
		DiskSlow: func(info pebbledb.DiskSlowInfo) {
			o.Logger.Warn("storage: slow disk", "file", info.Path, "op", info.OpType.String(), "duration",
				info.Duration)
		},
		LowDiskSpace: func(info pebbledb.LowDiskSpaceInfo) {
			o.Logger.Warn("storage: little disk space left", "bytes", info.AvailBytes, "of", info.TotalBytes)
		},
		WriteStallBegin: func(info pebbledb.WriteStallBeginInfo) {
			stalled.Store(time.Now().UnixNano())
			o.Logger.Debug("storage: writers are held up", "reason", info.Reason)
		},
		WriteStallEnd: func() {
			o.Observer.Stalled(time.Since(time.Unix(0, stalled.Load())))
		},
	}
}
