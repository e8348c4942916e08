package file

import (
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func harness(mode SyncMode) storagetest.Harness {
	open := func(_ testing.TB, dir string, now func() time.Time) (storage.Store, error) {
		return Open(Options{Path: dir, Sync: mode, Now: now})
	}
	return storagetest.Harness{Durable: true, Exclusive: true, Open: open}
}

func TestConformance(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel() // most of it waits for a disk
			storagetest.Run(t, harness(mode))
		})
	}
}

func BenchmarkStore(b *testing.B) {
	for _, mode := range []SyncMode{SyncAlways, SyncNever} {
		b.Run(string(mode), func(b *testing.B) { storagetest.Bench(b, harness(mode)) })
	}
}
