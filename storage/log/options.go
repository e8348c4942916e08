package log

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// SyncMode determines when an acknowledged write survives a power failure. In every mode it survives kill -9.
type SyncMode string

const (
	SyncAlways   SyncMode = "always"   // from its acknowledgement on
	SyncInterval SyncMode = "interval" // at most Options.SyncInterval after it
	SyncNever    SyncMode = "never"    // when the kernel writes it, at the latest when its segment is full
)

// ParseSyncMode parses a mode as it is written in a configuration. The empty string is SyncAlways.
func ParseSyncMode(s string) (SyncMode, error) {
	switch m := SyncMode(s); m {
	case "":
		return SyncAlways, nil
	case SyncAlways, SyncInterval, SyncNever:
		return m, nil
	}
	return "", fmt.Errorf("unknown sync mode %q (allowed: %s, %s, %s)", s, SyncAlways, SyncInterval, SyncNever)
}

// Options configure Open. Only Path is required.
type Options struct {
	// Path is the folder, which is created if it does not exist. Only one store at a time can use it.
	Path string

	// Sync is SyncAlways when empty.
	Sync SyncMode

	// SyncInterval is the longest time that SyncInterval leaves an acknowledged write to the kernel. The default is
	// 100 ms.
	SyncInterval time.Duration

	// MemoryBytes is the length of the newest part of the log that stays in memory. The default is 64 MiB, and the
	// least is 4 MiB.
	MemoryBytes int

	// MaxIndexBytes is the largest size of the index, which takes about 66 bytes a record. Beyond it no record is
	// added, while others may still be replaced. The default is 4 GiB.
	MaxIndexBytes int64

	// IndexGrown is called with the memory of the index, in bytes, whenever that has grown. It is outside of the Go
	// heap, so the runtime's memory limit does not count it. IndexGrown must return quickly. It may be nil.
	IndexGrown func(bytes int64)

	// AcceptLoss opens a store of which a part is damaged. Without it Open returns storage.ErrCorrupt if acknowledged
	// writes may be lost or old versions of records may come back.
	AcceptLoss bool

	// Now is the clock for expiries. The default is time.Now.
	Now func() time.Time

	// Logger receives messages for the operator. By default nothing is logged.
	Logger *slog.Logger

	// Failed is called when writing fails and the store refuses further writes, and with nil when it works again.
	// It must return quickly and must not call the store. It may be nil.
	Failed func(err error)

	// Synced is called with the duration of each sync of a segment. It must return quickly. It may be nil.
	Synced func(duration time.Duration)

	files  files  // the folder; for tests
	layout layout // for tests
}

// layout are the sizes of a store's parts. Tests make them small.
type layout struct {
	page       int           // unit of segments and of memory; no frame crosses its end unless it is larger
	segmentMin int           // size of the segments of a small store, and
	segmentMax int           // of a large one
	group      int           // bytes after which a group takes no further frames
	first      uint64        // number of the first segment of a new store
	reopen     time.Duration // delay between two attempts to open a store that has failed
	mark       time.Duration // delay of the mark that follows a sync
	spare      time.Duration // delay between two attempts to prepare a segment on a full disk
	retry      time.Duration // delay between two attempts to write on a full disk
}

var defaultLayout = layout{
	page: 1 << 20, segmentMin: 1 << 20, segmentMax: 64 << 20, group: 1 << 20, first: 1,
	reopen: 3 * time.Second, mark: time.Second, spare: time.Second, retry: 100 * time.Millisecond,
}

// withDefaults returns a copy of o with every field set, or an error that names the invalid field.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" && o.files == nil {
		return o, errors.New("option Path: it is required")
	}
	mode, err := ParseSyncMode(string(o.Sync))
	if err != nil {
		return o, fmt.Errorf("option Sync: %w", err)
	}
	o.Sync = mode
	if o.SyncInterval < 0 || o.MemoryBytes < 0 || o.MaxIndexBytes < 0 {
		return o, errors.New("options SyncInterval, MemoryBytes and MaxIndexBytes: one of them is negative")
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = 100 * time.Millisecond
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 64 << 20
	}
	if o.MaxIndexBytes == 0 {
		o.MaxIndexBytes = 4 << 30
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.IndexGrown == nil {
		o.IndexGrown = func(int64) {}
	}
	if o.Synced == nil {
		o.Synced = func(time.Duration) {}
	}
	if o.layout == (layout{}) {
		o.layout = defaultLayout
	}
	o.MemoryBytes = max(o.MemoryBytes, 4*o.layout.page)
	return o, nil
}
