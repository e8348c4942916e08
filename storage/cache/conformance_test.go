package cache_test

import (
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/cache"
	"sessionserver/storage/memory"
	"sessionserver/storage/pebble"
	"sessionserver/storage/storagetest"
)

type opener = func(t testing.TB, dir string, now func() time.Time) (storage.Store, error)

func openMemory(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
	return memory.New(memory.Options{Now: now}), nil
}

func openPebble(_ testing.TB, dir string, now func() time.Time) (storage.Store, error) {
	return pebble.Open(pebble.Options{Path: dir, Sync: pebble.SyncNever, Now: now})
}

// over answers how to open a cache in front of what inner opens.
func over(inner opener, bytes int64) opener {
	return func(t testing.TB, dir string, now func() time.Time) (storage.Store, error) {
		s, err := inner(t, dir, now)
		if err != nil {
			return nil, err
		}
		return cache.New(s, cache.Options{Bytes: bytes, Now: now}), nil
	}
}

func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name    string
		harness storagetest.Harness
	}{
		{"memory", storagetest.Harness{Open: over(openMemory, 64<<20)}},
		{"memory, small cache", storagetest.Harness{Open: over(openMemory, 16<<10)}},
		{"memory, no cache", storagetest.Harness{Open: over(openMemory, 0)}},
		{"memory without powers",
			storagetest.Harness{NoBatch: true, NoSweep: true, NoUsage: true, NoDrop: true, Open: over(
				func(t testing.TB, dir string, now func() time.Time) (storage.Store, error) {
					s, err := openMemory(t, dir, now)
					return struct{ storage.Store }{s}, err
				}, 64<<20)}},
		{"pebble", storagetest.Harness{Durable: true, Exclusive: true, Open: over(openPebble, 1<<20)}},
	} {
		t.Run(test.name, func(t *testing.T) { storagetest.Run(t, test.harness) })
	}
}

func BenchmarkStore(b *testing.B) {
	b.Run("memory", func(b *testing.B) { storagetest.Bench(b, storagetest.Harness{Open: over(openMemory, 64<<20)}) })
	b.Run("pebble", func(b *testing.B) { storagetest.Bench(b, storagetest.Harness{Open: over(openPebble, 64<<20)}) })
}
