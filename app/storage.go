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

// storageObserver is told what a store does, and by drivers that it has failed and cannot go on.
type storageObserver struct {
	*metrics.Storage
	failed func(error)
}

// watchedStore is a store that can be asked how it is.
type watchedStore struct {
	front    storage.Store // that for sessions: the cache if there is one, or what is observed. It is no part of this type, which would hide its powers
	driver   storage.Store
	observed *observed.Store
	cache    *cache.Store // or nil
	folder   string       // "" for memory
}

// backlogTime is how long a look at the backlog may take.
const backlogTime = time.Second

// state tells how the store is. What is not known is negative.
func (w *watchedStore) state() metrics.StorageState {
	st := metrics.StorageState{SizeBytes: -1, FilesystemSizeBytes: -1, FilesystemAvailBytes: -1, CacheHits: -1, CacheMisses: -1, SweepLag: -1}
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
