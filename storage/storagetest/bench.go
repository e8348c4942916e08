package storagetest

import (
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// Bench measures the store of h: get and put of 2 KiB by one caller, and one of each by 64 callers at once.
func Bench(b *testing.B, h Harness) {
	const records, size = 1000, 2 << 10
	keys := make([]storage.Key, records)
	for i := range keys {
		keys[i] = storage.Key{Tenant: "acme", ID: id("%d", i)}
	}
	rec := storage.Record{Data: make([]byte, size), Expires: time.Now().Add(24 * time.Hour)}
	open := func(b *testing.B) storage.Store {
		s, err := h.Open(b, b.TempDir(), time.Now)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		for _, k := range keys {
			if err := s.Put(b.Context(), k, rec); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
		b.ResetTimer()
		return s
	}
	b.Run("get", func(b *testing.B) {
		s, ctx := open(b), b.Context()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(ctx, keys[i%records]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("put", func(b *testing.B) {
		s, ctx := open(b), b.Context()
		for i := 0; b.Loop(); i++ {
			if err := s.Put(ctx, keys[i%records], rec); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("getput", func(b *testing.B) {
		s, ctx := open(b), b.Context()
		b.SetParallelism(32) // times GOMAXPROCS
		var callers atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := int(callers.Add(1)) * 13; pb.Next(); i++ { // each caller starts at another key
				k := keys[i*7919%records]
				if _, err := s.Get(ctx, k); err != nil {
					b.Error(err)
				}
				if err := s.Put(ctx, k, rec); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
