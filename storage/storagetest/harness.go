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

// Harness is how the suite opens a store. A driver is expected to have every optional power unless its harness says
// otherwise, so that a power cannot get lost without a test's noticing.
type Harness struct {
	// Open opens the store that lives in dir, a folder that exists and is empty the first time. The store must take the
	// time from now. The suite closes what Open returned.
	Open func(t testing.TB, dir string, now func() time.Time) (storage.Store, error)

	Durable   bool // opening dir again, also after the process was killed, shows the same records and the same usage
	Exclusive bool // opening dir while it is open answers storage.ErrLocked

	NoBatch bool // the store is no storage.Batcher
	NoSweep bool // the store is no storage.Sweeper and no storage.Backlogger
	NoUsage bool // the store is no storage.Meter
	NoDrop  bool // the store is no storage.Dropper
}

// Run checks the store that h opens against every sentence of the contract.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		run  func(*fixture)
	}{
		{"powers", testPowers},
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
		{"batch is seen in order", testBatchVisibility},
		{"one key, many goroutines", testOneKey},
		{"touch does not revive", testTouchVersusDelete},
		{"sweep", testSweep},
		{"sweep after moves", testSweepMoved},
		{"sweep is bounded", testSweepBounded},
		{"backlog of sweeping", testBacklog},
		{"sweep against writes", testSweepVersusWrites},
		{"usage", testUsage},
		{"usage under load", testUsageConcurrent},
		{"usage at every moment", testUsageMoments},
		{"drop", testDrop},
		{"drop against writes", testDropVersusWrites},
		{"drop is interruptible", testDropInterrupted},
		{"reopen", testReopen},
		{"exclusive", testExclusive},
		{"close", testClose},
		{"close under load", testCloseConcurrent},
		{"random run", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of them wait for a disk
			c.run(newFixture(t, h))
		})
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

// id answers an id that looks like the real ones, which are hashes.
func id(format string, args ...any) storage.ID {
	return sha256.Sum256(fmt.Appendf(nil, format, args...))
}

func key(tenant, name string) storage.Key { return storage.Key{Tenant: tenant, ID: id("%s", name)} }

// rec answers a record that expires after d.
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

// wantNoTouch fails unless there is nothing to touch.
func (f *fixture) wantNoTouch(k storage.Key, expires time.Time) {
	f.Helper()
	if err := f.store.Touch(f.ctx, k, expires); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("Touch(%s) = %v, want storage.ErrNotFound", show(k), err)
	}
}

// want fails unless r is what the store has under k.
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

// wantNone fails unless the store has no live record under k.
func (f *fixture) wantNone(k storage.Key) {
	f.Helper()
	got, err := f.store.Get(f.ctx, k)
	if !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("Get(%s) = %d bytes, %v; want storage.ErrNotFound", show(k), len(got.Data), err)
	}
	if len(got.Data) > 0 {
		f.Errorf("Get(%s) handed out %d bytes with an error", show(k), len(got.Data))
	}
}

// drop answers how many records the store says that it has removed.
func (f *fixture) drop(tenant string) int64 {
	f.Helper()
	n, err := storage.DropTenant(f.ctx, f.store, tenant)
	if err != nil {
		f.Fatalf("DropTenant(%q): %v", tenant, err)
	}
	return n
}

// usage answers what the store says that the tenant keeps.
func (f *fixture) usage(tenant string) storage.Usage {
	f.Helper()
	u, err := storage.UsageOf(f.ctx, f.store, tenant)
	if err != nil {
		f.Fatalf("Usage(%q): %v", tenant, err)
	}
	return u
}

// wantUsage does nothing for a store that has no Meter.
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

// sweep examines every record and answers how often each key was reported. It does nothing for a store that is no
// Sweeper.
func (f *fixture) sweep(limit int) map[storage.Key]int {
	f.Helper()
	removed := make(map[storage.Key]int)
	if f.h.NoSweep {
		return removed
	}
	// A driver with a cursor may be anywhere: the first answer without More ends the pass that was under way, and the
	// second one a complete pass.
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
			f.Fatalf("Sweep(%d) still answers More after %d rounds", limit, rounds)
		}
	}
	return removed
}

// difference tells what is wrong with got, if anything.
func difference(got, want storage.Record) string {
	switch {
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Sprintf("data is %s, want %s", clip(got.Data), clip(want.Data))
	case got.Expires.UnixNano() != want.Expires.UnixMilli()*int64(time.Millisecond) && want.Expires.Year() < 2200:
		return fmt.Sprintf("expires %v, want %v cut to the millisecond", got.Expires.UTC(), want.Expires.UTC())
	case got.Expires.UnixMilli() != want.Expires.UnixMilli():
		return fmt.Sprintf("expires %v, want %v", got.Expires.UTC(), want.Expires.UTC())
	case got.Marker != want.Marker:
		return fmt.Sprintf("marker is %t, want %t", got.Marker, want.Marker)
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
