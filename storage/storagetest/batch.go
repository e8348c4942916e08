package storagetest

import (
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// testBatch checks that entries are written in order, and at once.
func testBatch(f *fixture) {
	putAll := func(entries ...storage.Entry) {
		f.Helper()
		if err := storage.PutAll(f.ctx, f.store, entries); err != nil {
			f.Fatalf("PutAll: %v", err)
		}
	}
	putAll()
	k1, k2, k3 := key("acme", "one"), key("acme", "two"), key("other", "one")
	r1, r2, r3 := f.rec("first", time.Hour), f.rec("second one", time.Minute), f.rec("3", time.Second)
	putAll(storage.Entry{Key: k1, Record: r1})
	f.want(k1, r1)
	putAll(storage.Entry{Key: k1, Record: r2}, storage.Entry{Key: k2, Record: r1}, storage.Entry{Key: k3, Record: r3})
	f.want(k1, r2)
	f.want(k2, r1)
	f.want(k3, r3)
	f.wantUsage("acme", 2, int64(len(r1.Data)+len(r2.Data)))
	f.wantUsage("other", 1, 1)

	// The batch of a regenerated id: the data under a new key, a Marker under the old one.
	marker := storage.Record{Data: []byte("moved"), Expires: f.in(time.Minute), Marker: true}
	putAll(storage.Entry{Key: k2, Record: r3}, storage.Entry{Key: k1, Record: marker})
	f.want(k2, r3)
	f.want(k1, marker)
	f.wantUsage("acme", 1, 1)

	// The last entry of a key counts.
	putAll(storage.Entry{Key: k1, Record: r1}, storage.Entry{Key: k2, Record: r1}, storage.Entry{Key: k1, Record: r2})
	f.want(k1, r2)
	f.want(k2, r1)
	f.wantUsage("acme", 2, int64(len(r1.Data)+len(r2.Data)))

	var many []storage.Entry
	for i := range 300 {
		k := storage.Key{Tenant: "many", ID: id("%d", i)}
		many = append(many, storage.Entry{Key: k, Record: f.rec("0123456789", time.Hour)})
	}
	putAll(many...)
	f.wantUsage("many", 300, 3000)
	if f.h.Durable {
		f.reopen()
	}
	for _, e := range many {
		f.want(e.Key, e.Record)
	}
	f.want(k1, r2)
	f.wantUsage("many", 300, 3000)
	f.advance(2 * time.Minute)
	f.wantNone(k1)
	if removed := f.sweep(7); !f.h.NoSweep && (len(removed) != 2 || removed[k1] != 1 || removed[k3] != 1) {
		f.Errorf("Sweep reported %d records, want the two that had expired", len(removed))
	}
}

// testBatchVisibility checks that no Get sees the new record of a later entry while an earlier entry still has its old
// one.
func testBatchVisibility(f *fixture) {
	keys := []storage.Key{key("acme", "one"), key("acme", "two"), key("other", "three")}
	write := func(v int64) error {
		var entries []storage.Entry
		for _, k := range keys {
			entries = append(entries, storage.Entry{Key: k, Record: f.version(v)})
		}
		return storage.PutAll(f.ctx, f.store, entries)
	}
	if err := write(1); err != nil {
		f.Fatalf("PutAll: %v", err)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !done.Load() && !f.Failed() {
				var newest int64 // version of the later entries
				for i := len(keys) - 1; i >= 0; i-- {
					v := f.readVersion(keys[i])
					if v < newest {
						f.Errorf("entry %d has version %d although a later entry already had %d", i, v, newest)
					}
					newest = max(newest, v)
				}
			}
		})
	}
	for v := int64(2); v < 60 && !f.Failed(); v++ {
		if err := write(v); err != nil {
			f.Errorf("PutAll: %v", err)
		}
	}
	done.Store(true)
	wg.Wait()
}
