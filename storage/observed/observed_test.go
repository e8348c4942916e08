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
	"sessionserver/storage/log"
	"sessionserver/storage/memory"
	"sessionserver/storage/observed"
	"sessionserver/storage/storagetest"
)

// recorder counts the operations that are reported, and keeps the last error of each.
type recorder struct {
	mu     sync.Mutex
	counts map[string]int
	errors map[string]error
}

func (r *recorder) OperationDone(operation string, duration time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[operation]++
	r.errors[operation] = err
	if duration < 0 {
		panic("negative duration")
	}
}

func newRecorder() *recorder { return &recorder{counts: map[string]int{}, errors: map[string]error{}} }

func TestConformance(t *testing.T) {
	openMemory := func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return observed.New(memory.New(memory.Options{Now: now}), newRecorder()), nil
	}
	openPlain := func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return observed.New(struct{ storage.Store }{memory.New(memory.Options{Now: now})}, newRecorder()), nil
	}
	openLog := func(_ testing.TB, dir string, now func() time.Time) (storage.Store, error) {
		s, err := log.Open(log.Options{Path: dir, Sync: log.SyncNever, Now: now})
		if err != nil {
			return nil, err
		}
		return observed.New(s, newRecorder()), nil
	}
	for name, h := range map[string]storagetest.Harness{
		"memory":                 {Open: openMemory},
		"no optional interfaces": {NoBatch: true, NoSweep: true, NoUsage: true, NoDrop: true, Open: openPlain},
		"log":                    {Durable: true, Exclusive: true, Open: openLog},
	} {
		t.Run(name, func(t *testing.T) { storagetest.Run(t, h) })
	}
}

// callAll calls every operation once.
func callAll(ctx context.Context, s storage.Store) {
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

// TestReports checks that each operation is reported once, and with an error only if the store failed.
func TestReports(t *testing.T) {
	faulty, r := storagetest.NewFaulty(memory.New(memory.Options{})), newRecorder()
	s := observed.New(faulty, r)
	callAll(t.Context(), s)
	names := slices.Sorted(maps.Keys(r.counts))
	if want := slices.Sorted(slices.Values(observed.Operations())); !slices.Equal(names, want) {
		t.Errorf("reported operations = %v, want %v", names, want)
	}
	for name, n := range r.counts {
		if n != 1 || r.errors[name] != nil {
			t.Errorf("%s: reported %d times with error %v, want once without an error", name, n, r.errors[name])
		}
	}
	boom := errors.New("boom")
	for _, row := range []struct {
		err    error
		failed bool
	}{
		{boom, true}, {storage.ErrCorrupt, true}, {storage.ErrNotFound, false},
		{fmt.Errorf("get: %w", storage.ErrNotFound), false}, {storage.ErrClosed, false},
		{errors.ErrUnsupported, false}, {context.Canceled, false}, {context.DeadlineExceeded, false},
	} {
		faulty.Fail(storagetest.OpGet, row.err)
		_, err := s.Get(t.Context(), storage.Key{Tenant: "acme"})
		if !errors.Is(err, row.err) || (r.errors["get"] != nil) != row.failed {
			t.Errorf("%v: Get returned %v and reported %v", row.err, err, r.errors["get"])
		}
	}
}

// TestFailing checks that a store fails after consecutive failures of one operation, until the operation succeeds or
// was not called for a while.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := storagetest.NewFaulty(memory.New(memory.Options{}))
		s := observed.New(faulty, newRecorder())
		put := func() {
			_ = s.Put(t.Context(), storage.Key{Tenant: "acme"}, storage.Record{Expires: time.Now().Add(time.Hour)})
		}
		want := func(name string, failing bool) {
			t.Helper()
			if err := s.Failing(); (err != nil) != failing {
				t.Errorf("%s: Failing = %v, want an error: %t", name, err, failing)
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
			t.Errorf("Failing = %v, want %v", err, full)
		}
		_, _ = s.Get(t.Context(), storage.Key{Tenant: "acme"})
		want("another operation succeeds", true)
		faulty.Fail(storagetest.OpPut, context.Canceled)
		put()
		want("the next context ended", true)
		faulty.Fail(storagetest.OpPut, full)
		time.Sleep(11 * time.Second) // virtual
		want("no call for a while", false)
		put()
		want("another failure", true)
		faulty.Fail(storagetest.OpPut, nil)
		put()
		want("success", false)
		faulty.Fail(storagetest.OpPut, storage.ErrCorrupt)
		for range 5 {
			put()
		}
		want("damaged records", false)
	})
}

// TestAllocations checks that observing an operation allocates no memory.
func TestAllocations(t *testing.T) {
	ctx, key := t.Context(), storage.Key{Tenant: "acme"}
	plain := memory.New(memory.Options{})
	s := observed.New(plain, ignore{})
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	if err := s.Put(ctx, key, rec); err != nil {
		t.Fatal(err)
	}
	bare := testing.AllocsPerRun(100, func() { _, _ = plain.Get(ctx, key) })
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, key) }); got > bare {
		t.Errorf("allocations = %v, want %v as without the observer", got, bare)
	}
	missing := storage.Key{Tenant: "absent"}
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Get(ctx, missing) }); got > 0 {
		t.Errorf("allocations for an absent record = %v, want 0", got)
	}
}

// ignore is an observer that does nothing.
type ignore struct{}

func (ignore) OperationDone(string, time.Duration, error) {}

func TestFileSystem(t *testing.T) {
	size, avail, err := observed.FileSystem(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || size <= 0 || avail < 0 || avail > size {
		t.Errorf("size = %d, available = %d, %v", size, avail, err)
	}
	if _, _, err := observed.FileSystem(t.TempDir() + "/nothing"); err == nil {
		t.Error("FileSystem of an absent folder returned no error")
	}
}

// BenchmarkGet compares a store with and without the wrapper.
func BenchmarkGet(b *testing.B) {
	plain := memory.New(memory.Options{})
	ctx, missing := b.Context(), storage.Key{Tenant: "absent"}
	for _, s := range []struct {
		name string
		storage.Store
	}{{"plain", plain}, {"observed", observed.New(plain, ignore{})}} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Get(ctx, missing)
			}
		})
	}
}
