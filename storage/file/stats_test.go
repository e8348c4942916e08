package file

import (
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// TestStats checks that the store reports the size of its files, and each sync if it syncs.
func TestStats(t *testing.T) {
	for mode, syncs := range map[SyncMode]bool{SyncAlways: true, SyncNever: false} {
		var synced atomic.Int64
		s, err := Open(Options{Path: t.TempDir(), Sync: mode, Synced: func(time.Duration) { synced.Add(1) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		synced.Store(0)
		for i, rec := range []storage.Record{{Data: make([]byte, 1000)}, {Data: make([]byte, 24)}, {Marker: true}} {
			rec.Expires = time.Now().Add(time.Hour)
			if err := s.Put(t.Context(), storage.Key{Tenant: "acme", ID: storage.ID{byte(i)}}, rec); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := s.Stats(), (Stats{Files: 3, DiskBytes: 1024 + 3*headSize}); got != want {
			t.Errorf("%s: Stats = %+v, want %+v", mode, got, want)
		}
		if n := synced.Load(); (n >= 6) != syncs || !syncs && n > 0 { // a file and its folder each
			t.Errorf("%s: %d syncs are reported, want some: %t", mode, n, syncs)
		}
	}
}
