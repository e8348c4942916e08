package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// SyncMode says when an acknowledged write survives the machine's losing power. It survives kill -9 in every mode.
type SyncMode string

const (
	SyncAlways   SyncMode = "always"   // from its acknowledgement on
	SyncInterval SyncMode = "interval" // at the latest a SyncInterval after it
	SyncNever    SyncMode = "never"    // when the kernel finds the time
)

// ParseSyncMode reads a mode as it is written in a configuration. The empty string is SyncAlways.
func ParseSyncMode(s string) (SyncMode, error) {
	switch m := SyncMode(s); m {
	case "":
		return SyncAlways, nil
	case SyncAlways, SyncInterval, SyncNever:
		return m, nil
	}
	return "", fmt.Errorf("sync mode %q (allowed: %s, %s, %s)", s, SyncAlways, SyncInterval, SyncNever)
}

// Options say how to open a store. Only Path is required.
type Options struct {
	// Path is the folder, made when missing. One store at a time may hold it.
	Path string

	// Sync is SyncAlways when empty.
	Sync SyncMode

	// SyncInterval is how long SyncInterval leaves acknowledged writes with the kernel. Default 100 ms.
	SyncInterval time.Duration

	// CacheBytes bounds the cache of blocks read from disk. Default 64 MiB.
	CacheBytes int64

	// MaxOpenFiles bounds how many tables are open, as far as Pebble allows. Default 1,000.
	MaxOpenFiles int

	// Headers bounds how many records' expiry and size are remembered, about 80 bytes each, which saves a write from
	// reading what it replaces. Default 262,144.
	Headers int

	// Now is the clock that decides what has expired. Default time.Now.
	Now func() time.Time

	// Logger gets what the operator should see, and at debug level what Pebble tells. Default: nothing is logged.
	Logger *slog.Logger

	// Observer may be nil.
	Observer Observer

	// fs is the file system to stand on, and tune may change how Pebble works; both are for tests.
	fs   vfs.FS
	tune func(*pebbledb.Options)
}

const (
	defaultSyncInterval = 100 * time.Millisecond
	defaultCacheBytes   = 64 << 20
	defaultHeaders      = 1 << 18
)

// withDefaults answers a copy of o with every field set, or says which field is wrong.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		return o, errors.New("no Path")
	}
	mode, err := ParseSyncMode(string(o.Sync))
	if err != nil {
		return o, fmt.Errorf("Sync: %w", err)
	}
	o.Sync = mode
	if o.SyncInterval < 0 || o.CacheBytes < 0 || o.Headers < 0 {
		return o, errors.New("a negative SyncInterval, CacheBytes or Headers")
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = defaultSyncInterval
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.Headers == 0 {
		o.Headers = defaultHeaders
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	if o.fs == nil {
		o.fs = private{vfs.Default}
	}
	return o, nil
}

// Observer is told what a metric may want to count. Its methods are called from the midst of writing: they must return
// at once and must not call the store.
type Observer interface {
	// WALSynced says that a sync of the write-ahead log took d.
	WALSynced(d time.Duration)

	// Stalled says that writers were held up for d until flushes or compactions had caught up.
	Stalled(d time.Duration)

	// Failed says, once, that the store has stopped because of err.
	Failed(err error)
}

type unobserved struct{}

func (unobserved) WALSynced(time.Duration) {}
func (unobserved) Stalled(time.Duration)   {}
func (unobserved) Failed(error)            {}
