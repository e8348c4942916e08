package app

import (
	"context"
	"time"

	"sessionserver/metrics"
	"sessionserver/storage"
	"sessionserver/storage/cache"
	"sessionserver/storage/file"
	"sessionserver/storage/observed"
	"sessionserver/storage/pebble"
)

// storageObserver counts what a store does. A driver that fails and cannot continue calls failed.
type storageObserver struct {
	*metrics.Storage
	failed func(error)
}

// watchedStore is a store with its wrappers, for reports of its state.
type watchedStore struct {
	front    storage.Store // for sessions: cache or observed; not embedded, which would hide optional interfaces
	driver   storage.Store
	observed *observed.Store
	cache    *cache.Store // or nil
	folder   string       // "" for memory
}

// backlogTime limits the time to determine the backlog.
const backlogTime = time.Second

// state returns the state of the store. Unknown numbers are negative.
func (w *watchedStore) state() metrics.StorageState {
	st := metrics.StorageState{
		SizeBytes: -1, FilesystemSizeBytes: -1, FilesystemAvailBytes: -1, CacheHits: -1, CacheMisses: -1, SweepLag: -1,
	}
	switch s := w.driver.(type) {
	case *pebble.Store:
		st.SizeBytes = int64(s.Stats().DiskBytes)
	case *file.Store:
		st.SizeBytes = s.Stats().DiskBytes
	}
	if w.folder == "" {
		st.SizeBytes = 0
	} else if size, avail, err := observed.FileSystem(w.folder); err == nil {
		st.FilesystemSizeBytes, st.FilesystemAvailBytes = size, avail
	}
	if w.cache != nil {
		c := w.cache.Stats()
		st.CacheHits, st.CacheMisses = int64(c.Hits), int64(c.Misses)
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
