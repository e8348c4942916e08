package storagetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// version returns a record that contains v. Its length and padding show whether it is complete.
func (f *fixture) version(v int64) storage.Record {
	data := binary.BigEndian.AppendUint64(nil, uint64(v))
	data = append(data, bytes.Repeat([]byte{byte(v)}, int(v*977%3000))...)
	return storage.Record{Data: data, Expires: f.in(time.Hour)}
}

// readVersion returns the version under k, or 0 if there is none. It fails the test for an incomplete record.
func (f *fixture) readVersion(k storage.Key) int64 {
	got, err := f.store.Get(f.ctx, k)
	if errors.Is(err, storage.ErrNotFound) {
		return 0
	}
	if err != nil || len(got.Data) < 8 {
		f.Errorf("Get(%s): %d bytes, %v", show(k), len(got.Data), err)
		return 0
	}
	v := int64(binary.BigEndian.Uint64(got.Data))
	if !bytes.Equal(got.Data, f.version(v).Data) {
		f.Errorf("Get(%s): version %d is torn: %s", show(k), v, clip(got.Data))
	}
	return v
}

// testOneKey checks that the operations on one key appear in some order that agrees with real time.
func testOneKey(f *fixture) {
	k := key("acme", "contended")
	var started, acknowledged, read atomic.Int64 // latest versions
	var done atomic.Bool
	f.put(k, f.version(0))

	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !done.Load() && !f.Failed() {
				oldest := max(acknowledged.Load(), read.Load())
				v := f.readVersion(k)
				if newest := started.Load(); v < oldest || v > newest {
					f.Errorf("Get returned version %d, want %d to %d", v, oldest, newest)
				}
				for old := read.Load(); old < v && !read.CompareAndSwap(old, v); old = read.Load() {
				}
			}
		})
	}
	wg.Go(func() { // Touch must not bring an older version back
		for i := 0; !done.Load() && !f.Failed(); i++ {
			if err := f.store.Touch(f.ctx, k, f.in(time.Hour+time.Duration(i)*time.Millisecond)); err != nil {
				f.Errorf("Touch: %v", err)
			}
		}
	})
	for v := int64(1); v < 150 && !f.Failed(); v++ {
		started.Store(v)
		if err := f.store.Put(f.ctx, k, f.version(v)); err != nil {
			f.Errorf("Put: %v", err)
		}
		acknowledged.Store(v)
	}
	done.Store(true)
	wg.Wait()

	// With many writers, the record is that of one of them, complete and counted once.
	for w := range int64(4) {
		wg.Go(func() {
			for i := range int64(25) {
				if err := f.store.Put(f.ctx, k, f.version(1000+4*i+w)); err != nil {
					f.Errorf("Put: %v", err)
				}
				if f.readVersion(k) < 1000 {
					f.Errorf("Get returned a version from before a completed Put")
				}
			}
		})
	}
	wg.Wait()
	f.wantUsage("acme", 1, f.recount("acme", k).Bytes)
}

// testTouchVersusDelete checks that a record is gone once Delete has returned, even if it was touched meanwhile.
func testTouchVersusDelete(f *fixture) {
	for i := range 100 {
		k := storage.Key{Tenant: "acme", ID: id("%d", i)}
		f.put(k, f.rec("going", time.Minute))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := f.store.Touch(f.ctx, k, f.in(time.Hour)); err != nil && !errors.Is(err, storage.ErrNotFound) {
				f.Errorf("Touch: %v", err)
			}
		})
		wg.Go(func() {
			if err := f.store.Delete(f.ctx, k); err != nil {
				f.Errorf("Delete: %v", err)
			}
		})
		wg.Wait()
		f.wantNone(k)
	}
	f.wantUsage("acme", 0, 0)
}

// testUsageConcurrent checks that after any interleaving of operations, usage equals a recount.
func testUsageConcurrent(f *fixture) {
	if f.h.NoUsage {
		return
	}
	var keys []storage.Key
	for i := range 8 {
		keys = append(keys, storage.Key{Tenant: "acme", ID: id("%d", i)})
	}
	var wg sync.WaitGroup
	for w := range uint64(6) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(w, 0))
			for range 60 {
				k := keys[rng.IntN(len(keys))]
				data, marker := make([]byte, rng.IntN(100)), rng.IntN(4) == 0
				r := storage.Record{Data: data, Expires: f.in(time.Hour), Marker: marker}
				var err error
				switch rng.IntN(6) {
				case 0:
					err = f.store.Delete(f.ctx, k)
				case 1:
					k2 := keys[rng.IntN(len(keys))]
					err = storage.PutAll(f.ctx, f.store, []storage.Entry{{Key: k, Record: r}, {Key: k2, Record: r}})
				case 2:
					if err = f.store.Touch(f.ctx, k, f.in(2*time.Hour)); errors.Is(err, storage.ErrNotFound) {
						err = nil
					}
				default:
					err = f.store.Put(f.ctx, k, r)
				}
				if err != nil {
					f.Errorf("concurrent operation: %v", err)
				}
			}
		})
	}
	wg.Wait()
	want := f.recount("acme", keys...)
	f.wantUsage("acme", want.Records, want.Bytes)
	if f.h.Durable {
		f.reopen()
		f.wantUsage("acme", want.Records, want.Bytes)
	}
}
