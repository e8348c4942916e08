package observed_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/observed"
	"sessionserver/storage/pebble"
	"sessionserver/storage/storagetest"
)

// ears hear what is told.
type ears struct {
	mu     sync.Mutex
	heard  map[string]int
	failed map[string]error
}

func (e *ears) OperationDone(operation string, took time.Duration, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard[operation]++
	e.failed[operation] = err
	if took < 0 {
		panic("it took less than nothing")
	}
}

func newEars() *ears { return &ears{heard: map[string]int{}, failed: map[string]error{}} }

func TestConformance(t *testing.T) {
	openMemory := func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return observed.New(memory.New(memory.Options{Now: now}), newEars()), nil
	}
	for name, h := range map[string]storagetest.Harness{
		"memory": {Open: openMemory},
		"memory without powers": {NoBatch: true, NoSweep: true, NoUsage: true, NoDrop: true, Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
			return observed.New(struct{ storage.Store }{memory.New(memory.Options{Now: now})}, newEars()), nil
		}},
		"pebble": {Durable: true, Exclusive: true, Open: func(_ testing.TB, dir string, now func() time.Time) (storage.Store, error) {
			s, err := pebble.Open(pebble.Options{Path: dir, Sync: pebble.SyncNever, Now: now})
			if err != nil {
				return nil, err
			}
			return observed.New(s, newEars()), nil
		}},
	} {
		t.Run(name, func(t *testing.T) { storagetest.Run(t, h) })
	}
}

// all calls every operation once.
func all(ctx context.Context, s storage.Store) {
	key := storage.Key{Tenant: "acme"}
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	_ = s.Put(ctx, key, rec)
	_, _ = s.Get(ctx, key)
	_ = s.Touch(ctx, key, rec.Expires)
	_ = storage.PutAll(ctx, s, []storage.Entry{{Key: key, Record: rec}})
	_, _ = storage.Sweep(ctx, s, 1)
	_, _ = storage.UsageOf(ctx, s, "acme")
	_, _ = storage.DropTenant(ctx, s, "acme")
	_ = s.Delete(ctx, key)
}

// TestTold: each operation is told of once, failures of the store as such, and its answers not.
func TestTold(t *testing.T) {
	faulty, e := storagetest.NewFaulty(memory.New(memory.Options{})), newEars()
	s := observed.New(faulty, e)
	all(t.Context(), s)
	names := slices.Sorted(maps.Keys(e.heard))
	if want := slices.Sorted(slices.Values(observed.Operations())); !slices.Equal(names, want) {
		t.Errorf("told of %v, want %v", names, want)
	}
	for name, n := range e.heard {
		if n != 1 || e.failed[name] != nil {
			t.Errorf("%s: told %d times, failed with %v", name, n, e.failed[name])
		}
	}
	boom := errors.New("boom")
	for _, row := range []struct {
		err    error
		failed bool
	}{
		{boom, true}, {storage.ErrCorrupt, true}, {storage.ErrNotFound, false}, {fmt.Errorf("get: %w", storage.ErrNotFound), false}, {storage.ErrClosed, false},
		{errors.ErrUnsupported, false}, {context.Canceled, false}, {context.DeadlineExceeded, false},
	} {
		faulty.Fail(storagetest.OpGet, row.err)
		_, err := s.Get(t.Context(), storage.Key{Tenant: "acme"})
		if !errors.Is(err, row.err) || (e.failed["get"] != nil) != row.failed {
			t.Errorf("%v: answered %v, told %v", row.err, err, e.failed["get"])
		}
	}
}

// TestFailing: a store fails when operations of a kind do one after the other, until one succeeds or nobody has tried for a while.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := storagetest.NewFaulty(memory.New(memory.Options{}))
		s := observed.New(faulty, newEars())
		put := func() {
			_ = s.Put(t.Context(), storage.Key{Tenant: "acme"}, storage.Record{Expires: time.Now().Add(time.Hour)})
		}
		want := func(what string, failing bool) {
			t.Helper()
			if err := s.Failing(); (err != nil) != failing {
				t.Errorf("%s: %v", what, err)
			}
		}
		full := errors.New("no space left")
		faulty.Fail(storagetest.OpPut, full)
		put()
		put()
		want("two failures", false)
		put()
		want("three failures", true)
		if err := s.Failing(); !errors.Is(err, full) {
			t.Errorf("it fails because of %v", err)
		}
		_, _ = s.Get(t.Context(), storage.Key{Tenant: "acme"})
		want("another operation succeeds", true)
		faulty.Fail(storagetest.OpPut, context.Canceled)
		put()
		want("nobody waited for the next one", true)
		faulty.Fail(storagetest.OpPut, full)
		time.Sleep(11 * time.Second) // virtual
		want("nobody has tried for a while", false)
		put()
		want("it fails again", true)
		faulty.Fail(storagetest.OpPut, nil)
		put()
		want("it is mended", false)
		faulty.Fail(storagetest.OpPut, storage.ErrCorrupt)
		for range 5 {
			put()
		}
		want("damaged records", false)
	})
}

// TestAllocations: observing costs no memory.
func TestAllocations(t *testing.T) {
	ctx, key := t.Context(), storage.Key{Tenant: "acme"}
	plain := memory.New(memory.Options{})
	s := observed.New(plain, deaf{})
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	if err := s.Put(ctx, key, rec); err != nil {
		t.Fatal(err)
	}
	bare := testing.AllocsPerRun(100, func() { _, _ = plain.Get(ctx, key) })
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, key) }); got > bare {
		t.Errorf("%v allocations, %v without", got, bare)
	}
	missing := storage.Key{Tenant: "nobody"}
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, missing) }); got > 0 {
		t.Errorf("%v allocations for what is not there", got)
	}
}

type deaf struct{}

func (deaf) OperationDone(string, time.Duration, error) {}

func TestFileSystem(t *testing.T) {
	size, avail, err := observed.FileSystem(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || size <= 0 || avail < 0 || avail > size {
		t.Errorf("%d, %d, %v", size, avail, err)
	}
	if _, _, err := observed.FileSystem(t.TempDir() + "/nothing"); err == nil {
		t.Error("a folder that is not there has a size")
	}
}

// BenchmarkGet: what the wrapper costs.
func BenchmarkGet(b *testing.B) {
	plain := memory.New(memory.Options{})
	ctx, missing := b.Context(), storage.Key{Tenant: "nobody"}
	for _, s := range []struct {
		name string
		storage.Store
	}{{"plain", plain}, {"observed", observed.New(plain, deaf{})}} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Get(ctx, missing)
			}
		})
	}
}
