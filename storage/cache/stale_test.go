package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

var (
	keyA, keyB = storage.Key{Tenant: "acme", ID: storage.ID{1, 1}}, storage.Key{Tenant: "acme", ID: storage.ID{2, 2}}
	errBoom    = errors.New("boom")
)

// rig is a cache in front of a memory store that can be held up.
type rig struct {
	*testing.T
	cache *Store
	slow  *storagetest.Faulty
	inner *memory.Store
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, inner: memory.New(memory.Options{})}
	r.slow = storagetest.NewFaulty(r.inner)
	r.cache = New(r.slow, Options{Bytes: 1 << 20})
	return r
}

func live(data string) storage.Record {
	return storage.Record{Data: []byte(data), Expires: time.Now().Add(time.Hour)}
}

func (r *rig) put(k storage.Key, data string) {
	r.Helper()
	if err := r.cache.Put(r.Context(), k, live(data)); err != nil {
		r.Errorf("Put: %v", err)
	}
}

// want fails unless the cache answers what the wrapped store has, which is data.
func (r *rig) want(k storage.Key, data string) {
	r.Helper()
	got, err := r.cache.Get(r.Context(), k)
	if err != nil || string(got.Data) != data {
		r.Errorf("Get = %q, %v; want %q", got.Data, err, data)
	}
	if inner, err := r.inner.Get(r.Context(), k); err != nil || !bytes.Equal(inner.Data, got.Data) ||
		!inner.Expires.Equal(got.Expires) {
		r.Errorf("the cache has %q until %v, the store %q until %v, %v", got.Data, got.Expires, inner.Data,
			inner.Expires, err)
	}
}

// cached tells whether a Get of k would be a hit.
func (r *rig) cached(k storage.Key) bool {
	sh := r.cache.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.lru.Contains(k)
}

func (r *rig) wantCached(k storage.Key, want bool) {
	r.Helper()
	if got := r.cached(k); got != want {
		r.Errorf("in the cache: %t, want %t", got, want)
	}
}

// stop holds the first op on key up, before it reaches the store or else after it was done, and answers how to let it
// go on.
func (r *rig) stop(op storagetest.Op, k storage.Key, before bool) (release func()) {
	gate, stopped := make(chan struct{}), new(atomic.Bool)
	hook := func(_ context.Context, o storagetest.Op, ok storage.Key) error {
		if o == op && ok == k && stopped.CompareAndSwap(false, true) {
			<-gate
		}
		return nil
	}
	if before {
		r.slow.Before(hook)
	} else {
		r.slow.After(hook)
	}
	return func() {
		close(gate)
		synctest.Wait()
	}
}

// start runs do until it is held up.
func (r *rig) start(do func()) {
	go do()
	synctest.Wait()
}

func (r *rig) load(k storage.Key) {
	if _, err := r.cache.Get(r.Context(), k); err != nil {
		r.Errorf("Get: %v", err)
	}
}

// forget takes the key out of the cache, as an eviction would.
func (r *rig) forget(k storage.Key) { r.cache.shard(k).drop(k) }

func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newRig(t)) })
}

func TestHit(t *testing.T) {
	bubble(t, func(r *rig) {
		r.put(keyA, "x")
		r.slow.Fail(storagetest.OpGet, errBoom)
		r.want(keyA, "x")
		r.forget(keyA)
		r.slow.Fail(storagetest.OpGet, nil)
		r.load(keyA)
		r.slow.Fail(storagetest.OpGet, errBoom)
		r.want(keyA, "x")
		if got := r.cache.Stats(); got.Hits != 2 || got.Misses != 1 || got.Entries != 1 ||
			got.Bytes != 0+cost(keyA, 8) {
			t.Errorf("Stats = %+v", got) // one byte takes eight of the heap
		}
		if _, err := r.cache.Get(r.Context(), keyB); !errors.Is(err, errBoom) {
			t.Errorf("Get = %v, want the store's error", err)
		}
	})
}

// A load that read the old record and is slow to say so must not bring it into the cache after a Put, a Touch or a
// Delete.
func TestSlowLoad(t *testing.T) {
	for name, write := range map[string]func(r *rig) error{
		"put": func(r *rig) error { return r.cache.Put(r.Context(), keyA, live("new")) },
		"put all": func(r *rig) error {
			return r.cache.PutAll(r.Context(),
				[]storage.Entry{{Key: keyB, Record: live("b")}, {Key: keyA, Record: live("new")}})
		},
		"touch": func(r *rig) error { return r.cache.Touch(r.Context(), keyA, time.Now().Add(2*time.Hour)) },
		"delete": func(r *rig) error {
			return errors.Join(r.cache.Delete(r.Context(), keyA), r.inner.Put(r.Context(), keyA, live("new")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.put(keyA, "old")
				r.forget(keyA)
				release := r.stop(storagetest.OpGet, keyA, false)
				r.start(func() { r.load(keyA) })
				if err := write(r); err != nil {
					t.Fatal(err)
				}
				release()
				if name == "touch" {
					r.want(keyA, "old") // with the new expiry
				} else {
					r.want(keyA, "new")
				}
			})
		})
	}
}

// A load while a write is under way leaves nothing in the cache, however far the write has got.
func TestLoadDuringWrite(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before=%t", before), func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.put(keyA, "old")
				release := r.stop(storagetest.OpPut, keyA, before)
				r.start(func() { r.put(keyA, "new") })
				r.wantCached(keyA, false)
				r.want(keyA, map[bool]string{true: "old", false: "new"}[before]) // what the store says, nothing else
				r.wantCached(keyA, false)
				release()
				r.wantCached(keyA, true)
				r.want(keyA, "new")
			})
		})
	}
}

// A load that begins during a write and ends after it must not leave what it read either.
func TestLoadOutlivesWrite(t *testing.T) {
	bubble(t, func(r *rig) {
		r.put(keyA, "old")
		releasePut := r.stop(storagetest.OpPut, keyA, true)
		r.start(func() { r.put(keyA, "new") })
		releaseGet := r.stop(storagetest.OpGet, keyA, false)
		r.start(func() { r.load(keyA) }) // has read "old"
		releasePut()
		r.wantCached(keyA, true)
		releaseGet()
		r.want(keyA, "new")
		r.forget(keyA)
		r.want(keyA, "new")
	})
}

// Of two writes that overlap, nobody here knows which the store did last.
func TestOverlappingWrites(t *testing.T) {
	bubble(t, func(r *rig) {
		release := r.stop(storagetest.OpPut, keyA, true)
		r.start(func() { r.put(keyA, "began first, done last") })
		r.put(keyA, "began last, done first")
		r.wantCached(keyA, false)
		r.want(keyA, "began last, done first")
		r.wantCached(keyA, false)
		release()
		r.want(keyA, "began first, done last")
		r.wantCached(keyA, true)
	})
}

// A Touch keeps the entry with the later expiry if the store did, and drops it if nobody knows.
func TestTouch(t *testing.T) {
	bubble(t, func(r *rig) {
		touch := func(d time.Duration) error { return r.cache.Touch(r.Context(), keyA, time.Now().Add(d)) }
		r.put(keyA, "x")
		for _, d := range []time.Duration{2 * time.Hour, time.Minute} {
			if err := touch(d); err != nil {
				t.Fatal(err)
			}
			r.wantCached(keyA, true)
			r.want(keyA, "x")
		}
		r.slow.Fail(storagetest.OpTouch, errBoom)
		if err := touch(3 * time.Hour); !errors.Is(err, errBoom) {
			t.Errorf("Touch = %v", err)
		}
		r.wantCached(keyA, false)
		r.want(keyA, "x")
		r.slow.Fail(storagetest.OpTouch, nil)
		r.slow.After(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
			if op == storagetest.OpTouch {
				return errBoom
			}
			return nil
		})
		if err := touch(4 * time.Hour); !errors.Is(err, errBoom) {
			t.Errorf("Touch = %v", err)
		}
		r.want(keyA, "x")
		r.slow.After(nil)

		// A Put during a Touch counts, and the Touch does not bring the old data back.
		release := r.stop(storagetest.OpTouch, keyA, true)
		r.start(func() {
			if err := touch(5 * time.Hour); err != nil {
				t.Error(err)
			}
		})
		r.put(keyA, "new")
		release()
		r.want(keyA, "new")
	})
}

// A write that failed may have been done or not: the entry is dropped, and the store asked.
func TestFailedWrite(t *testing.T) {
	writes := map[storagetest.Op]func(r *rig) error{
		storagetest.OpPut:    func(r *rig) error { return r.cache.Put(r.Context(), keyA, live("new")) },
		storagetest.OpDelete: func(r *rig) error { return r.cache.Delete(r.Context(), keyA) },
		storagetest.OpPutAll: func(r *rig) error {
			return r.cache.PutAll(r.Context(),
				[]storage.Entry{{Key: keyA, Record: live("new")}, {Key: keyB, Record: live("new")}})
		},
	}
	for op, write := range writes {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done=%t", op, done), func(t *testing.T) {
				bubble(t, func(r *rig) {
					r.put(keyA, "old")
					r.put(keyB, "old")
					fail := func(_ context.Context, o storagetest.Op, _ storage.Key) error {
						if o == op {
							return errBoom
						}
						return nil
					}
					if done {
						r.slow.After(fail)
					} else {
						r.slow.Before(fail)
					}
					if err := write(r); !errors.Is(err, errBoom) {
						t.Errorf("write = %v", err)
					}
					r.wantCached(keyA, false)
					r.wantCached(keyB, op != storagetest.OpPutAll)
					switch {
					case !done:
						r.want(keyA, "old")
					case op == storagetest.OpDelete:
						if _, err := r.cache.Get(r.Context(), keyA); !errors.Is(err, storage.ErrNotFound) {
							t.Errorf("Get = %v, want storage.ErrNotFound", err)
						}
					default:
						r.want(keyA, "new")
					}
				})
			})
		}
	}
}

// While a batch is under way none of its keys is answered from the cache: one of them might be new already.
func TestBatchVisibility(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before=%t", before), func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.put(keyA, "old")
				r.put(keyB, "old")
				release := r.stop(storagetest.OpPutAll, keyA, before)
				r.start(func() {
					if err := r.cache.PutAll(r.Context(),
						[]storage.Entry{{Key: keyA, Record: live("new")},
							{Key: keyB, Record: live("new")}}); err != nil {
						t.Error(err)
					}
				})
				data := map[bool]string{true: "old", false: "new"}[before]
				r.want(keyB, data)
				r.want(keyA, data)
				r.wantCached(keyA, false)
				r.wantCached(keyB, false)
				release()
				r.wantCached(keyA, true)
				r.wantCached(keyB, true)
				r.want(keyB, "new")
				r.want(keyA, "new")
			})
		})
	}
}

// What has expired is not served, and what a sweep removed is not kept.
func TestExpiry(t *testing.T) {
	bubble(t, func(r *rig) {
		r.put(keyA, "x")
		r.put(keyB, "x")
		time.Sleep(time.Hour) // of the bubble's virtual time
		if _, err := r.cache.Get(r.Context(), keyA); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get = %v, want storage.ErrNotFound", err)
		}
		r.wantCached(keyA, false)
		r.wantCached(keyB, true)
		if swept, err := r.cache.Sweep(r.Context(), 10); err != nil || len(swept.Removed) != 2 {
			t.Errorf("Sweep = %+v, %v", swept, err)
		}
		r.wantCached(keyB, false)
		if err := r.cache.Put(r.Context(), keyA, storage.Record{Expires: time.Now()}); err != nil {
			t.Error(err)
		}
		r.wantCached(keyA, false)
		if got := r.cache.Stats(); got.Entries != 0 || got.Bytes != 0 {
			t.Errorf("Stats = %+v, want nothing kept", got)
		}
	})
}

// TestRandomFaults: readers never see time go backwards, and in the end the cache agrees with the store, although
// writes fail with and without having been done.
func TestRandomFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newRig(t)
	r.cache = New(r.slow, Options{Bytes: 16 * 1200}) // for three or four entries a shard
	var chance struct {
		sync.Mutex
		*rand.Rand
	}
	chance.Rand = rand.New(rand.NewPCG(seed, 0))
	flip := func(_ context.Context, op storagetest.Op, _ storage.Key) error {
		chance.Lock()
		defer chance.Unlock()
		if op != storagetest.OpGet && chance.IntN(5) == 0 {
			return errBoom
		}
		return nil
	}
	r.slow.Before(flip)
	r.slow.After(flip)

	keys := make([]storage.Key, 12) // in two shards
	for i := range keys {
		keys[i] = storage.Key{Tenant: "acme", ID: storage.ID{byte(i % 2), byte(i)}}
	}
	version := func(v int64) storage.Record {
		return storage.Record{Data: fmt.Appendf(nil, "%d", v),
			Expires: time.Now().Add(time.Hour + time.Duration(v)*time.Millisecond)}
	}
	read := func(k storage.Key) (v int64) {
		rec, err := r.cache.Get(t.Context(), k)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		fmt.Sscan(string(rec.Data), &v)
		return v
	}
	var done atomic.Bool
	var readers, writers sync.WaitGroup
	seen := make([]atomic.Int64, len(keys))
	for range 4 {
		readers.Go(func() {
			for i := 0; !done.Load(); i++ {
				k := i % len(keys)
				least := seen[k].Load()
				v := read(keys[k])
				if v < least {
					t.Errorf("version %d was read after %d", v, least)
				}
				for old := seen[k].Load(); old < v && !seen[k].CompareAndSwap(old, v); old = seen[k].Load() {
				}
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for v := int64(1); v < 1500; v++ {
				k := 4*w + rng.IntN(4) // each key has one writer
				var err error
				switch rng.IntN(4) {
				case 0:
					err = r.cache.Touch(t.Context(), keys[k],
						time.Now().Add(2*time.Hour+time.Duration(v)*time.Millisecond))
				case 1:
					a, b := keys[4*w], keys[4*w+3]
					err = r.cache.PutAll(t.Context(),
						[]storage.Entry{{Key: a, Record: version(v)}, {Key: b, Record: version(v)}})
				default:
					err = r.cache.Put(t.Context(), keys[k], version(v))
				}
				if err != nil && !errors.Is(err, errBoom) && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	r.slow.Before(nil)
	r.slow.After(nil)
	for _, k := range keys {
		want, wantErr := r.inner.Get(t.Context(), k)
		got, err := r.cache.Get(t.Context(), k)
		if !errors.Is(err, wantErr) || !bytes.Equal(got.Data, want.Data) || !got.Expires.Equal(want.Expires) {
			t.Errorf("the cache has %q until %v, the store %q until %v", got.Data, got.Expires, want.Data, want.Expires)
		}
	}
	r.checkBytes(16 * 1200)
}
