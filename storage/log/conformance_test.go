package log

import (
	"log/slog"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

// tiny is a layout in which a few records fill a segment, so that segments are sealed and cleaned all the time.
var tiny = layout{
	page: 4 << 10, segmentMin: 8 << 10, segmentMax: 32 << 10, group: 4 << 10, first: 1<<32 - 10,
	reopen: 10 * time.Millisecond, mark: 5 * time.Millisecond, spare: 5 * time.Millisecond, retry: time.Millisecond,
}

func harness(mode SyncMode, sizes layout) storagetest.Harness {
	return storagetest.Harness{Durable: true, Exclusive: true, Open: func(
		t testing.TB, dir string, now func() time.Time,
	) (storage.Store, error) {
		return Open(Options{Path: dir, Sync: mode, SyncInterval: time.Millisecond, Now: now, layout: sizes,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	}}
}

func TestConformance(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Run("default", func(t *testing.T) { storagetest.Run(t, harness(mode, defaultLayout)) })
			t.Run("tiny", func(t *testing.T) { storagetest.Run(t, harness(mode, tiny)) })
		})
	}
}

func BenchmarkStore(b *testing.B) { storagetest.Bench(b, harness(SyncInterval, defaultLayout)) }
