package storagetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// testDrop checks that all records of a tenant are removed, and no others.
func testDrop(f *fixture) {
	if f.h.NoDrop {
		return
	}
	if n := f.drop("acme"); n != 0 {
		f.Errorf("DropTenant of a tenant without records removed %d", n)
	}
	const each = 30
	fill := func() {
		for i := range each {
			for _, tenant := range dropTenants {
				f.put(storage.Key{Tenant: tenant, ID: id("%d", i)}, f.rec("12345", time.Hour))
			}
		}
		for _, tenant := range dropTenants {
			f.put(key(tenant, "marker"), storage.Record{Data: []byte("m"), Expires: f.in(time.Hour), Marker: true})
			f.put(key(tenant, "expired"), f.rec("123", time.Minute))
		}
		f.advance(time.Minute)
	}
	fill()
	for _, tenant := range dropTenants { // fills a cache
		f.want(storage.Key{Tenant: tenant, ID: id("0")}, f.rec("12345", 59*time.Minute))
	}
	empty := func(tenant string) {
		f.Helper()
		for i := range each {
			f.wantNone(storage.Key{Tenant: tenant, ID: id("%d", i)})
		}
		f.wantNone(key(tenant, "marker"))
		f.wantNone(key(tenant, "expired"))
		f.wantUsage(tenant, 0, 0)
		f.wantNoTouch(storage.Key{Tenant: tenant, ID: id("0")}, f.in(2*time.Hour))
	}
	full := func(tenant string) {
		f.Helper()
		for i := range each {
			f.want(storage.Key{Tenant: tenant, ID: id("%d", i)}, f.rec("12345", 59*time.Minute))
		}
		f.want(key(tenant, "marker"), storage.Record{Data: []byte("m"), Expires: f.in(59 * time.Minute), Marker: true})
		f.wantUsage(tenant, each+1, each*5+3)
	}
	for i, tenant := range dropTenants {
		if n := f.drop(tenant); n != each+1 {
			f.Errorf("DropTenant(%q) = %d, want the %d records that counted", tenant, n, each+1)
		}
		if n := f.drop(tenant); n != 0 {
			f.Errorf("second DropTenant(%q) = %d, want 0", tenant, n)
		}
		if i%4 == 0 && f.h.Durable {
			f.reopen()
		}
		if i%4 == 0 {
			for j, other := range dropTenants {
				if j <= i {
					empty(other)
				} else {
					full(other)
				}
			}
		}
	}
	// Dropped records leave nothing for the sweep, and the tenants can be used again.
	if removed := f.sweep(100); len(removed) > 0 {
		f.Errorf("Sweep reported %d dropped records", len(removed))
	}
	fill()
	for _, tenant := range dropTenants {
		full(tenant)
	}
	f.advance(time.Hour)
	if removed := f.sweep(100); !f.h.NoSweep && len(removed) != len(dropTenants)*(each+1) {
		f.Errorf("Sweep reported %d records, want %d", len(removed), len(dropTenants)*(each+1))
	}
	for _, tenant := range dropTenants {
		f.wantUsage(tenant, 0, 0)
	}
}

// dropTenants are tenants whose names contain each other.
var dropTenants = []string{
	"a", "a\x00", "ab", "A", "a/b", "\x01", "..", strings.Repeat("a", 64), strings.Repeat("\xff", 64),
}

// testDropVersusWrites checks that a record written meanwhile may remain, complete and counted. Other tenants are not
// affected.
func testDropVersusWrites(f *fixture) {
	if f.h.NoDrop {
		return
	}
	var dropped, others []storage.Key
	for i := range 40 {
		dropped = append(dropped, storage.Key{Tenant: "acme", ID: id("%d", i)})
		others = append(others, storage.Key{Tenant: "other", ID: id("%d", i)})
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range int64(3) {
		wg.Go(func() {
			for n := int64(0); !done.Load() && !f.Failed(); n++ {
				k, other := dropped[(n*7+w)%40], others[(n*3+w)%40]
				err := f.store.Put(f.ctx, k, f.version(n))
				if err == nil && n%3 == 0 {
					err = storage.PutAll(f.ctx, f.store, []storage.Entry{
						{Key: dropped[(n+w)%40], Record: f.version(n)}, {Key: k, Record: f.version(n + 1)},
					})
				}
				if err == nil {
					err = f.store.Touch(f.ctx, k, f.in(2*time.Hour))
				}
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					f.Errorf("write to the dropped tenant: %v", err)
				}
				if _, err := f.store.Get(f.ctx, k); err != nil && !errors.Is(err, storage.ErrNotFound) {
					f.Errorf("Get from the dropped tenant: %v", err)
				}
				if w > 0 {
					continue
				}
				if err := f.store.Put(f.ctx, other, f.version(n)); err != nil {
					f.Errorf("write to another tenant: %v", err)
				}
				if v := f.readVersion(other); v != n {
					f.Errorf("version of another tenant = %d, want %d", v, n)
				}
			}
		})
	}
	for range 30 {
		f.drop("acme")
	}
	done.Store(true)
	wg.Wait()
	if u := f.recount("acme", dropped...); !f.h.NoUsage {
		f.wantUsage("acme", u.Records, u.Bytes)
	}
	if u := f.recount("other", others...); !f.h.NoUsage {
		f.wantUsage("other", u.Records, u.Bytes)
	}
	f.drop("acme")
	for _, k := range dropped { // a cache must not return them either
		f.wantNone(k)
	}
	f.wantUsage("acme", 0, 0)
}

// testDropInterrupted checks that if the context ends, usage matches the records that are left, and another call
// removes them.
func testDropInterrupted(f *fixture) {
	if f.h.NoDrop {
		return
	}
	const records = 600
	var keys []storage.Key
	for i := range records {
		keys = append(keys, storage.Key{Tenant: "acme", ID: id("%d", i)})
		f.put(keys[i], f.rec("x", time.Hour))
	}
	ctx := &expiring{Context: f.ctx, after: 3}
	n, err := storage.DropTenant(ctx, f.store, "acme")
	if err == nil {
		return // this driver does not check its context so often
	}
	if !errors.Is(err, context.Canceled) {
		f.Errorf("DropTenant: error = %v, want context.Canceled", err)
	}
	left := f.recount("acme", keys...)
	if left.Records != records-n {
		f.Errorf("DropTenant removed %d of %d records, but %d are left", n, records, left.Records)
	}
	if !f.h.NoUsage {
		f.wantUsage("acme", left.Records, left.Bytes)
	}
	if n := f.drop("acme"); n != left.Records {
		f.Errorf("second DropTenant = %d, want the %d records that were left", n, left.Records)
	}
	f.wantUsage("acme", 0, 0)
}

// expiring is a context that ends after a few calls of Err.
type expiring struct {
	context.Context
	after int
	mu    sync.Mutex
}

func (e *expiring) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.after--; e.after < 0 {
		return context.Canceled
	}
	return nil
}

// testUsageMoments checks that while records are replaced and moved by batches, usage is right at every moment.
func testUsageMoments(f *fixture) {
	if f.h.NoUsage || f.h.NoBatch {
		return
	}
	const size = 100
	one, two := key("acme", "one"), key("acme", "two")
	rec := f.rec(strings.Repeat("x", size), time.Hour)
	marker := storage.Record{Data: []byte("moved"), Expires: f.in(time.Hour), Marker: true}
	f.put(one, rec)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			if u, err := storage.UsageOf(f.ctx, f.store, "acme"); err != nil || u.Records != 1 || u.Bytes != size {
				f.Errorf("Usage = %+v, %v, want always one record of %d bytes", u, err, size)
				return
			}
		}
	})
	for range 200 {
		f.put(one, rec)
		entries := []storage.Entry{{Key: two, Record: rec}, {Key: one, Record: marker}}
		if err := storage.PutAll(f.ctx, f.store, entries); err != nil {
			f.Errorf("PutAll: %v", err)
		}
		one, two = two, one
	}
	done.Store(true)
	wg.Wait()
}

// testKillDrop kills a process while it drops a tenant. Some of the tenant's records may be left, and the usage matches
// them. Tenants that were dropped before stay dropped, and all other records exist.
func testKillDrop(t *testing.T, h Harness) {
	if h.NoDrop {
		return
	}
	if dir := os.Getenv(killFolder); dir != "" {
		dropUntilKilled(t, h, dir, os.Getenv(killRound))
		return
	}
	dir := t.TempDir()
	for round := range 3 {
		dropped := slices.Max(append([]int{0}, values(killOne(t, dir, strconv.Itoa(round), 3+round))...))
		checkDropped(t, h, dir, strconv.Itoa(round), dropped)
	}
}

func values(m map[string]int) (list []int) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

const dropRecords = 40

func dropTenant(round string, n int) string { return fmt.Sprintf("drop %s %d", round, n) }

// dropUntilKilled is run by the process to be killed: it fills one tenant after the other, and drops it.
func dropUntilKilled(t *testing.T, h Harness, dir, round string) {
	watchParent()
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer s.Close()
	writer := writerName(round, 0)
	for n := 1; ; n++ {
		for i := range dropRecords {
			for _, tenant := range []string{dropTenant(round, n), "kept"} {
				k := storage.Key{Tenant: tenant, ID: id("%d", i)}
				if err := s.Put(t.Context(), k, killRecord(writer, i)); err != nil {
					t.Fatalf("Put: %v", err)
				}
			}
		}
		if _, err := storage.DropTenant(t.Context(), s, dropTenant(round, n)); err != nil {
			t.Fatalf("DropTenant: %v", err)
		}
		fmt.Printf("acknowledged %s\n", writer)
	}
}

// checkDropped checks the store after the kill.
func checkDropped(t *testing.T, h Harness, dir, round string, dropped int) {
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open after the kill: %v", err)
	}
	defer s.Close()
	check := func(tenant string, low, high int64) {
		t.Helper()
		var want storage.Usage
		for i := range dropRecords {
			got, err := s.Get(t.Context(), storage.Key{Tenant: tenant, ID: id("%d", i)})
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Fatalf("Get after the kill: %v", err)
			}
			want.Records++
			want.Bytes += int64(len(got.Data))
		}
		if want.Records < low || want.Records > high {
			t.Errorf("tenant %q has %d records, want %d to %d", tenant, want.Records, low, high)
		}
		if h.NoUsage {
			return
		}
		if got, err := storage.UsageOf(t.Context(), s, tenant); err != nil || got != want {
			t.Errorf("Usage(%q) after the kill = %+v, %v; want %+v", tenant, got, err, want)
		}
	}
	for n := 1; n <= dropped; n++ {
		check(dropTenant(round, n), 0, 0)
	}
	last := dropTenant(round, dropped+1)
	check(last, 0, dropRecords)
	check("kept", dropRecords, dropRecords)
	if _, err := storage.DropTenant(t.Context(), s, last); err != nil {
		t.Errorf("DropTenant after the kill: %v", err)
	}
	check(last, 0, 0)
	check("kept", dropRecords, dropRecords)
}
