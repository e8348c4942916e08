package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
)

// checkBytes fails unless the sums are those of the entries and within the limit.
func (r *rig) checkBytes(limit int64) {
	r.Helper()
	for i := range r.cache.shards {
		sh := &r.cache.shards[i]
		sh.mu.Lock()
		var sum int64
		for _, k := range sh.lru.Keys() {
			e, _ := sh.lru.Peek(k)
			sum += cost(k, cap(e.data))
		}
		if sum != sh.bytes || sum > limit/shardCount {
			r.Errorf("shard %d counts %d bytes, its entries take %d of %d", i, sh.bytes, sum, limit/shardCount)
		}
		sh.mu.Unlock()
	}
}

// TestLimit: the memory never passes the limit, the entries used last stay, and what is too large is not kept.
func TestLimit(t *testing.T) {
	const limit = 64 << 10
	r := newRig(t)
	r.cache = New(r.inner, Options{Bytes: limit})
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		k := storage.Key{Tenant: "acme", ID: storage.ID{byte(rng.Uint32()), byte(rng.Uint32())}}
		if err := r.cache.Put(t.Context(), k, live(string(make([]byte, rng.IntN(1500))))); err != nil {
			t.Fatal(err)
		}
		r.load(k)
		if i%100 == 0 {
			r.checkBytes(limit)
		}
	}
	r.checkBytes(limit)
	if got := r.cache.Stats(); got.Bytes < limit/2 || got.Bytes > limit || got.Entries == 0 {
		t.Errorf("Stats = %+v, want the memory to be used", got)
	}

	r.cache = New(r.inner, Options{Bytes: limit})
	const fits = limit/shardCount - overhead - int64(len("acme"))
	r.put(keyA, string(make([]byte, fits+1)))
	r.wantCached(keyA, false)
	r.load(keyA)
	r.wantCached(keyA, false)
	r.put(keyA, string(make([]byte, fits/2)))
	r.wantCached(keyA, true)

	// The key that is read again and again outlives the others of its shard.
	for i := range 100 {
		k := storage.Key{Tenant: "acme", ID: storage.ID{keyA.ID[0], 100, byte(i)}}
		r.put(k, "another one")
		r.load(keyA)
	}
	r.wantCached(keyA, true)
	if r.cached(storage.Key{Tenant: "acme", ID: storage.ID{keyA.ID[0], 100, 0}}) {
		t.Error("the entry used least recently has not been evicted")
	}
}

// TestOverhead: what entries are said to take is what they take of the heap, or a little more.
func TestOverhead(t *testing.T) {
	for _, size := range []int{0, 100, 2000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const entries = 40_000
			inner := memory.New(memory.Options{})
			rec := storage.Record{Data: make([]byte, size), Expires: time.Now().Add(time.Hour)}
			c := New(discard{inner}, Options{Bytes: 1 << 30})
			before := heap()
			for i := range entries {
				k := storage.Key{Tenant: "acme", ID: storage.ID{byte(i), byte(i >> 8), byte(i >> 16)}}
				if err := c.Put(t.Context(), k, rec); err != nil {
					t.Fatal(err)
				}
			}
			taken, said := heap()-before, c.Stats().Bytes
			if got := c.Stats().Entries; got != entries {
				t.Fatalf("%d entries, want %d", got, entries)
			}
			t.Logf("%d bytes an entry, %d said", taken/entries, said/entries)
			if taken > said || taken < said*2/3 {
				t.Errorf("%d entries take %d bytes of the heap, said to be %d", entries, taken, said)
			}
			runtime.KeepAlive(c)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one found dead is swept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHitAllocations: a hit allocates the copy and nothing else.
func TestHitAllocations(t *testing.T) {
	r := newRig(t)
	r.put(keyA, string(make([]byte, 2048)))
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() { r.cache.Get(ctx, keyA) }); got != 1 {
		t.Errorf("a hit allocates %v times, want once", got)
	}
}

// discard is a store that says yes to every Put and keeps nothing.
type discard struct{ storage.Store }

func (discard) Put(context.Context, storage.Key, storage.Record) error { return nil }
