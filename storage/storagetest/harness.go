package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"sessionserver/storage"
)

// Harness opens the store under test. A driver must implement every optional interface unless its harness excludes
// it, so that a test fails when an implementation is lost.
type Harness struct {
	// Open opens the store in dir, a folder that exists and is empty the first time. The store must take the time from
	// now. The suite closes the store.
	Open func(t testing.TB, dir string, now func() time.Time) (storage.Store, error)

	Durable   bool // records and usage survive reopening dir, also after the process was killed
	Exclusive bool // opening dir while it is open returns storage.ErrLocked

	NoBatch bool // the store does not implement storage.Batcher
	NoSweep bool // the store implements neither storage.Sweeper nor storage.Backlogger
	NoUsage bool // the store does not implement storage.Meter
	NoDrop  bool // the store does not implement storage.Dropper
}

// Run tests the store of h against every sentence of the contract.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*fixture)
	}{
		{"optional interfaces", testOptional},
		{"records", testRecords},
		{"sizes", testSizes},
		{"expiry", testExpiry},
		{"long past and far future", testExtremeExpiry},
		{"touch", testTouch},
		{"markers", testMarkers},
		{"isolation", testIsolation},
		{"ownership", testOwnership},
		{"cancelled context", testCancelled},
		{"batch", testBatch},
		{"batch becomes visible in order", testBatchVisibility},
		{"one key, many goroutines", testOneKey},
		{"touch does not revive", testTouchVersusDelete},
		{"sweep", testSweep},
		{"sweep after moves", testSweepMoved},
		{"sweep is bounded", testSweepBounded},
		{"backlog of sweeping", testBacklog},
		{"sweep during writes", testSweepVersusWrites},
		{"usage", testUsage},
		{"usage under load", testUsageConcurrent},
		{"usage at every moment", testUsageMoments},
		{"drop", testDrop},
		{"drop during writes", testDropVersusWrites},
		{"interrupted drop", testDropInterrupted},
		{"reopen", testReopen},
		{"exclusive", testExclusive},
		{"close", testClose},
		{"close under load", testCloseConcurrent},
		{"random run", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(newFixture(t, h)) })
	}
	if h.Durable {
		t.Run("kill", func(t *testing.T) { testKill(t, h) })
		t.Run("kill after touch", func(t *testing.T) { testKillTouch(t, h) })
		t.Run("kill while dropping", func(t *testing.T) { testKillDrop(t, h) })
	}
}

// fixture is one open store with a clock and a folder of its own, and the assertions that all tests share.
type fixture struct {
	*testing.T
	*clock
	h     Harness
	dir   string
	store storage.Store
	ctx   context.Context
}

func newFixture(t *testing.T, h Harness) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: newClock(), h: h, dir: t.TempDir(), ctx: t.Context()}
	f.open()
	return f
}

func (f *fixture) open() {
	f.Helper()
	s, err := f.h.Open(f, f.dir, f.now)
	if err != nil {
		f.Fatalf("Open: %v", err)
	}
	f.store = s
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Errorf("Close: %v", err)
		}
	})
}

// reopen closes the store and opens its folder again.
func (f *fixture) reopen() {
	f.Helper()
	if err := f.store.Close(); err != nil {
		f.Fatalf("Close: %v", err)
	}
	f.open()
}

// id returns a hash, as real ids are.
func id(format string, args ...any) storage.ID {
	return sha256.Sum256(fmt.Appendf(nil, format, args...))
}

func key(tenant, name string) storage.Key { return storage.Key{Tenant: tenant, ID: id("%s", name)} }

// rec returns a record that expires after d.
func (f *fixture) rec(data string, d time.Duration) storage.Record {
	return storage.Record{Data: []byte(data), Expires: f.in(d)}
}

func (f *fixture) put(k storage.Key, r storage.Record) {
	f.Helper()
	if err := f.store.Put(f.ctx, k, r); err != nil {
		f.Fatalf("Put(%s): %v", show(k), err)
	}
}

func (f *fixture) delete(k storage.Key) {
	f.Helper()
	if err := f.store.Delete(f.ctx, k); err != nil {
		f.Fatalf("Delete(%s): %v", show(k), err)
	}
}

func (f *fixture) touch(k storage.Key, expires time.Time) {
	f.Helper()
	if err := f.store.Touch(f.ctx, k, expires); err != nil {
		f.Fatalf("Touch(%s): %v", show(k), err)
	}
}

// wantNoTouch fails the test unless Touch returns storage.ErrNotFound.
func (f *fixture) wantNoTouch(k storage.Key, expires time.Time) {
	f.Helper()
	if err := f.store.Touch(f.ctx, k, expires); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("Touch(%s) = %v, want storage.ErrNotFound", show(k), err)
	}
}

// want fails the test unless the store has r under k.
func (f *fixture) want(k storage.Key, r storage.Record) {
	f.Helper()
	got, err := f.store.Get(f.ctx, k)
	if err != nil {
		f.Errorf("Get(%s): %v", show(k), err)
		return
	}
	if diff := difference(got, r); diff != "" {
		f.Errorf("Get(%s): %s", show(k), diff)
	}
}

// wantNone fails the test if the store has a live record under k.
func (f *fixture) wantNone(k storage.Key) {
	f.Helper()
	got, err := f.store.Get(f.ctx, k)
	if !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("Get(%s) = %d bytes, %v; want storage.ErrNotFound", show(k), len(got.Data), err)
	}
	if len(got.Data) > 0 {
		f.Errorf("Get(%s) returned %d bytes with an error", show(k), len(got.Data))
	}
}

// drop drops the tenant and returns the number of records that the store reports as removed.
func (f *fixture) drop(tenant string) int64 {
	f.Helper()
	n, err := storage.DropTenant(f.ctx, f.store, tenant)
	if err != nil {
		f.Fatalf("DropTenant(%q): %v", tenant, err)
	}
	return n
}

// usage returns the tenant's usage that the store reports.
func (f *fixture) usage(tenant string) storage.Usage {
	f.Helper()
	u, err := storage.UsageOf(f.ctx, f.store, tenant)
	if err != nil {
		f.Fatalf("Usage(%q): %v", tenant, err)
	}
	return u
}

// wantUsage fails the test unless the tenant has this usage. It does nothing for a store without a Meter.
func (f *fixture) wantUsage(tenant string, records, bytes int64) {
	f.Helper()
	if f.h.NoUsage {
		return
	}
	want := storage.Usage{Records: records, Bytes: bytes}
	if got := f.usage(tenant); got != want {
		f.Errorf("Usage(%q) = %+v, want %+v", tenant, got, want)
	}
}

// sweep sweeps the whole store and returns how often each key was reported. It does nothing for a store that is not
// a Sweeper.
func (f *fixture) sweep(limit int) map[storage.Key]int {
	f.Helper()
	removed := make(map[storage.Key]int)
	if f.h.NoSweep {
		return removed
	}
	// The cursor of a driver may be anywhere. The first result without More ends the pass in progress, and the second
	// one ends a complete pass.
	for passes, rounds := 0, 0; passes < 2; rounds++ {
		swept, err := storage.Sweep(f.ctx, f.store, limit)
		if err != nil {
			f.Fatalf("Sweep: %v", err)
		}
		for _, k := range swept.Removed {
			removed[k]++
		}
		if !swept.More {
			passes++
		}
		if rounds > 100_000 {
			f.Fatalf("Sweep(%d) still reports More after %d rounds", limit, rounds)
		}
	}
	return removed
}

// difference describes how got differs from want; it returns "" for equal records.
func difference(got, want storage.Record) string {
	switch {
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("data = %s, want %s", clip(got.Data), clip(want.Data))
	case got.Expires.UnixNano() != want.Expires.UnixMilli()*int64(time.Millisecond) && want.Expires.Year() < 2200:
		return fmt.Sprintf("expires %v, want %v truncated to the millisecond", got.Expires.UTC(), want.Expires.UTC())
	case got.Expires.UnixMilli() != want.Expires.UnixMilli():
		return fmt.Sprintf("expires %v, want %v", got.Expires.UTC(), want.Expires.UTC())
	case got.Marker != want.Marker:
		return fmt.Sprintf("marker = %t, want %t", got.Marker, want.Marker)
	}
	return ""
}

func clip(data []byte) string {
	if len(data) > 40 {
		return fmt.Sprintf("%d bytes %.40q…", len(data), data)
	}
	return fmt.Sprintf("%q", data)
}

func show(k storage.Key) string { return fmt.Sprintf("%q/%x", k.Tenant, k.ID[:4]) }
