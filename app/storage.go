package app

import (
	"context"
	"math"
	"runtime/debug"
	"time"

	"sessionserver/metrics"
	"sessionserver/storage"
	"sessionserver/storage/file"
	segmentlog "sessionserver/storage/log"
	"sessionserver/storage/observed"
)

// storageObserver counts what a store does, and receives its failures.
type storageObserver struct {
	*metrics.Storage
	failed      func(error) // the driver cannot continue
	interrupted func(error) // the driver refuses writes until it works again, with nil when it does
}

// memoryLimit returns a function that lowers the memory limit of the runtime (GOMEMLIMIT) by memory outside of the Go
// heap. At least half of the limit is left to the heap: below, the garbage collector would use all processors.
func memoryLimit() func(outside int64) {
	limit := debug.SetMemoryLimit(-1)
	return func(outside int64) {
		if limit < math.MaxInt64 {
			debug.SetMemoryLimit(max(limit-outside, limit/2))
		}
	}
}

// watchedStore is a store with its wrappers, for reports of its state.
type watchedStore struct {
	driver   storage.Store
	observed *observed.Store // for sessions; not embedded, which would hide optional interfaces
	folder   string          // "" for memory
}

// backlogTime limits the time to determine the backlog.
const backlogTime = time.Second

// state returns the state of the store. Unknown numbers are negative.
func (w *watchedStore) state() metrics.StorageState {
	st := metrics.StorageState{
		SizeBytes: -1, FilesystemSizeBytes: -1, FilesystemAvailBytes: -1, CacheHits: -1, CacheMisses: -1,
		TombstonesDropped: -1,
		IndexBytes:        -1, SweepLag: -1,
	}
	switch s := w.driver.(type) {
	case *segmentlog.Store:
		stats := s.Stats()
		st.SizeBytes, st.CacheHits, st.CacheMisses = stats.DiskBytes, stats.MemoryReads, stats.DiskReads
		st.TombstonesDropped, st.IndexBytes = stats.Markers, stats.IndexBytes
	case *file.Store:
		st.SizeBytes = s.Stats().DiskBytes
	}
	if w.folder == "" {
		st.SizeBytes = 0
	} else if size, avail, err := observed.FileSystem(w.folder); err == nil {
		st.FilesystemSizeBytes, st.FilesystemAvailBytes = size, avail
	}
	ctx, cancel := context.WithTimeout(context.Background(), backlogTime)
	defer cancel()
	switch since, err := storage.Backlog(ctx, w.observed); {
	case err != nil:
	case since.IsZero():
		st.SweepLag = 0
	default:
		st.SweepLag = max(time.Since(since), 0)
	}
	return st
}
