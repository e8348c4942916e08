package pebble

import (
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func harness(mode SyncMode) storagetest.Harness {
	return storagetest.Harness{Durable: true, Exclusive: true, Open: func(
		_ testing.TB, dir string, now func() time.Time,
	) (storage.Store, error) {
		return Open(Options{Path: dir, Sync: mode, SyncInterval: time.Millisecond, Now: now})
	}}
}

func TestConformance(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel() // most of it waits for a disk
			storagetest.Run(t, harness(mode))
		})
	}
}
