package pebble

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/storage"
)

// operate does one random operation on one of a few keys.
func operate(ctx context.Context, s *Store, c *clock, r *rand.Rand, keys int) error {
	pick := func() storage.Key {
		tenants := []string{"a", "ab", "b\x00", strings.Repeat("t", maxTenant)}
		return key(tenants[r.IntN(len(tenants))], name("k", r.IntN(keys)))
	}
	record := func() storage.Record {
		return storage.Record{
			Data:    []byte(strings.Repeat("d", r.IntN(4<<10))),
			Expires: c.in(time.Duration(r.IntN(2000)-100) * time.Millisecond),
			Marker:  r.IntN(8) == 0,
		}
	}
	var err error
	switch n := r.IntN(100); {
	case n < 40:
		err = s.Put(ctx, pick(), record())
	case n < 55:
		_, err = s.Get(ctx, pick())
	case n < 75:
		err = s.Touch(ctx, pick(), c.in(time.Duration(r.IntN(3000))*time.Millisecond))
	case n < 83:
		err = s.Delete(ctx, pick())
	case n < 93:
		entries := make([]storage.Entry, r.IntN(5))
		for i := range entries {
			entries[i] = storage.Entry{Key: pick(), Record: record()}
		}
		err = s.PutAll(ctx, entries)
	case n < 97:
		_, err = s.Sweep(ctx, 1+r.IntN(20))
	default:
		c.advance(time.Duration(r.IntN(200)) * time.Millisecond)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// After random operations by many at once, with flushes and compactions under way, everything adds up, also when opened
// again.
func TestInvariants(t *testing.T) {
	t.Parallel()
	c := newClock()
	o := Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now, Headers: 300, tune: small}
	for round := range 3 {
		s := mustOpen(t, o)
		verify(t, s)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for range 250 {
					if err := operate(t.Context(), s, c, r, 100); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		verify(t, s)
		must(t, s.Close())
	}
}

// Moves are still the same after a flush, a compaction, and both with the record far below.
func TestMovesThroughFlushAndCompaction(t *testing.T) {
	c := newClock()
	s := mustOpen(t, Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now, tune: small})
	ctx := t.Context()
	const n = 50
	ks := make([]storage.Key, n)
	flush := func() { must(t, s.db.Flush()) }
	compact := func() { must(t, s.db.Compact(ctx, []byte{prefixRecord}, []byte{prefixIndex + 1}, false)) }
	for i := range ks {
		ks[i] = key("acme", name("k", i))
		must(t, s.Put(ctx, ks[i], c.rec(name("data", i), time.Minute)))
	}
	expires := c.in(time.Minute)
	steps := []func(){flush, compact, flush, func() {}, compact}
	for i, step := range steps {
		step()
		expires = expires.Add(time.Duration(i+1) * time.Second)
		for _, k := range ks {
			must(t, s.Touch(ctx, k, expires))
			must(t, s.Touch(ctx, k, expires.Add(-time.Hour))) // shortens nothing
		}
		for j, k := range ks {
			rec, err := s.Get(ctx, k)
			if err != nil || !rec.Expires.Equal(expires) || string(rec.Data) != name("data", j) {
				t.Fatalf("step %d: %q, expires %v, %v; want %v", i, rec.Data, rec.Expires, err, expires)
			}
		}
		verify(t, s)
	}
	// Deletions above moves above records, in different levels.
	flush()
	for _, k := range ks[:n/2] {
		must(t, s.Delete(ctx, k))
	}
	flush()
	compact()
	for i, k := range ks {
		if _, err := s.Get(ctx, k); errors.Is(err, storage.ErrNotFound) != (i < n/2) {
			t.Errorf("record %d: %v", i, err)
		}
	}
	verify(t, s)
}

// A record that is saved and used all the time keeps one entry in the index, which the sweeper moves along.
func TestSweepMovesEntries(t *testing.T) {
	c := newClock()
	s := mustOpen(t, Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now})
	ctx, k := t.Context(), key("acme", "k")
	for i := range 50 {
		if i%2 == 0 {
			must(t, s.Put(ctx, k, c.rec("data", time.Minute)))
		} else {
			must(t, s.Touch(ctx, k, c.in(time.Minute)))
		}
		c.advance(20 * time.Second)
		swept, err := s.Sweep(ctx, 10)
		if err != nil || len(swept.Removed) > 0 {
			t.Fatalf("swept %v, %v", swept, err)
		}
		verify(t, s)
	}
	c.advance(time.Hour)
	swept, err := s.Sweep(ctx, 10)
	if err != nil || len(swept.Removed) != 1 || swept.Removed[0] != k || swept.More {
		t.Fatalf("swept %v, %v", swept, err)
	}
	verify(t, s)
}

// What is written behind the sweeper's position, because the clock goes back, is swept all the same.
func TestSweepBehindItsPosition(t *testing.T) {
	c := newClock()
	s := mustOpen(t, Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now})
	ctx := t.Context()
	for i := range 10 {
		must(t, s.Put(ctx, key("acme", name("k", i)), c.rec("x", time.Hour)))
	}
	c.advance(2 * time.Hour)
	if swept, err := s.Sweep(ctx, 100); err != nil || len(swept.Removed) != 10 {
		t.Fatalf("swept %v, %v", swept, err)
	}
	c.advance(-2 * time.Hour)
	must(t, s.Put(ctx, key("acme", "late"), c.rec("x", time.Minute)))
	c.advance(2 * time.Minute)
	if swept, err := s.Sweep(ctx, 100); err != nil || len(swept.Removed) != 1 {
		t.Fatalf("swept %v, %v", swept, err)
	}
	verify(t, s)
}

// Entries that were deleted before their time came are passed over once.
func TestSweepAdvances(t *testing.T) {
	c := newClock()
	s := mustOpen(t, Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now})
	ctx := t.Context()
	for range 3 {
		for i := range 10 {
			must(t, s.Put(ctx, key("acme", name("k", i)), c.rec("x", time.Minute)))
			must(t, s.Delete(ctx, key("acme", name("k", i))))
		}
		c.advance(time.Hour)
		if swept, err := s.Sweep(ctx, 3); err != nil || swept.More || len(swept.Removed) > 0 {
			t.Fatalf("swept %v, %v", swept, err)
		}
		if s.sweeper.time.Load() <= c.in(-time.Second).UnixMilli() {
			t.Errorf("the position is %v behind",
				time.Duration(c.now().UnixMilli()-s.sweeper.time.Load())*time.Millisecond)
		}
	}
	verify(t, s)
}

// Records larger than a memtable, which Pebble handles in another way than others.
func TestLargeRecords(t *testing.T) {
	c := newClock()
	o := Options{Path: t.TempDir(), Sync: SyncAlways, Now: c.now, tune: small}
	s := mustOpen(t, o)
	large := func(i int) storage.Record { return c.rec(strings.Repeat(name("large", i), 40<<10), time.Hour) }
	for i := range 5 {
		must(t, s.Put(t.Context(), key("acme", name("k", i)), large(i)))
		must(t, s.PutAll(t.Context(), []storage.Entry{
			{Key: key("acme", "first"), Record: large(i)}, {Key: key("acme", "second"), Record: large(i)},
		}))
	}
	verify(t, s)
	must(t, s.Close())
	s = mustOpen(t, o)
	verify(t, s)
	for i := range 5 {
		rec, err := s.Get(t.Context(), key("acme", name("k", i)))
		if err != nil || string(rec.Data) != string(large(i).Data) {
			t.Errorf("record %d: %d bytes, %v", i, len(rec.Data), err)
		}
	}
}

// A damaged value is an error of its own record, whatever is done to it, and can be overwritten.
func TestDamagedRecord(t *testing.T) {
	c := newClock()
	s := mustOpen(t, Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now, Headers: 1})
	ctx := t.Context()
	h := header{expires: c.in(time.Hour).UnixMilli()}
	late := make([]byte, headerLen)
	putRecord(late, header{expires: 1, indexed: 2}, nil)
	early := make([]byte, headerLen)
	putRecord(early, h, nil)
	early[1] = 0x80
	for i, v := range [][]byte{{}, {valueRecord}, {valueMove}, {9, 9, 9}, late, early,
		[]byte("no record whatsoever, but of some length")} {
		k := key("acme", name("k", i))
		must(t, s.db.Set(appendRecordKey(nil, k), v, nil))
		if _, err := s.Get(ctx, k); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Get of %x: %v", v, err)
		}
		if err := s.Touch(ctx, k, c.in(time.Hour)); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Touch of %x: %v", v, err)
		}
		must(t, s.db.Merge(appendRecordKey(nil, k), appendMove(nil, h.expires, 0), nil))
		must(t, s.db.Flush())
		if _, err := s.Get(ctx, k); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Get of %x after a move: %v", v, err)
		}
		if i%2 == 0 {
			must(t, s.Delete(ctx, k))
			if _, err := s.Get(ctx, k); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Get of %x after Delete: %v", v, err)
			}
		}
		must(t, s.Put(ctx, k, c.rec("good", time.Hour)))
		if rec, err := s.Get(ctx, k); err != nil || string(rec.Data) != "good" {
			t.Errorf("Get of %x after Put: %q, %v", v, rec.Data, err)
		}
	}
	// A move that nothing is under is no record.
	k := key("acme", "lone")
	must(t, s.db.Merge(appendRecordKey(nil, k), appendMove(nil, h.expires, 0), nil))
	if _, err := s.Get(ctx, k); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get of a lone move: %v", err)
	}
	must(t, s.Delete(ctx, k))
	must(t, s.db.Delete(appendRecordKey(nil, k), nil))
	verify(t, s)
}

func TestKeysDoNotCollide(t *testing.T) {
	seen := map[string]string{}
	for _, tenant := range []string{"a", "ab", "a\x00", "\x00", "\x01a", strings.Repeat("a", 64), "a" +
		strings.Repeat("\x00", 63)} {
		for _, id := range []storage.ID{{}, {'b'}, {0, 'b'}, {255}} {
			k := storage.Key{Tenant: tenant, ID: id}
			for _, enc := range [][]byte{appendRecordKey(nil, k), appendIndexKey(nil, 1, k)} {
				if other, ok := seen[string(enc)]; ok {
					t.Errorf("%q and %q share %x", other, fmt.Sprint(k), enc)
				}
				seen[string(enc)] = fmt.Sprint(k)
			}
			if at, back, err := parseIndexKey(appendIndexKey(nil, 7, k)); at != 7 || back != k || err != nil {
				t.Errorf("parseIndexKey = %v %v %v", at, back, err)
			}
		}
	}
}

// Dropping a tenant leaves no trace but index entries of damaged records, and no usage even of these.
func TestDropLeavesNoUsage(t *testing.T) {
	c := newClock()
	o := Options{Path: t.TempDir(), Sync: SyncNever, Now: c.now, Headers: 1, tune: small}
	s := mustOpen(t, o)
	ctx := t.Context()
	for i := range 3 * dropStep {
		must(t, s.Put(ctx, key("acme", name("k", i)), c.rec("data", time.Hour)))
	}
	must(t, s.Put(ctx, key("other", "k"), c.rec("data", time.Hour)))
	must(t, s.db.Set(appendRecordKey(nil, key("acme", "k7")), []byte{9, 9, 9}, nil))
	must(t, s.Close()) // so that its header is forgotten
	s = mustOpen(t, o)
	if n, err := s.DropTenant(ctx, "acme"); n != 3*dropStep-1 || err != nil {
		t.Errorf("DropTenant = %d, %v", n, err)
	}
	for range 2 {
		if u, err := s.Usage(ctx, "acme"); u != (storage.Usage{}) || err != nil {
			t.Errorf("usage is %+v, %v", u, err)
		}
		must(t, s.Close())
		s = mustOpen(t, o)
	}
	c.advance(2 * time.Hour)
	if swept, err := s.Sweep(ctx, 100); err != nil || len(swept.Removed) != 1 {
		t.Errorf("swept %v, %v", swept, err)
	}
	verify(t, s)
}
