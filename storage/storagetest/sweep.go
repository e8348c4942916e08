package storagetest

import (
	"errors"
	"sync"
	"time"

	"sessionserver/storage"
)

// testSweep checks that expired records are removed and reported once, live ones stay.
func testSweep(f *fixture) {
	if f.h.NoSweep {
		return
	}
	if removed := f.sweep(10); len(removed) > 0 {
		f.Errorf("Sweep of an empty store removed %v", removed)
	}
	expired := make(map[storage.Key]bool)
	live := make(map[storage.Key]storage.Record)
	for i := range 200 {
		k := storage.Key{Tenant: []string{"a", "ab", "b"}[i%3], ID: id("%d", i)}
		r := f.rec("data", time.Minute)
		switch i % 4 {
		case 0:
			expired[k] = true
		case 1:
			r.Marker = true // is not reported
		case 2:
			r.Expires = f.in(time.Minute + time.Millisecond)
			live[k] = r
		case 3:
			r.Marker, r.Expires = true, f.in(time.Hour)
			live[k] = r
		}
		f.put(k, r)
	}
	if removed := f.sweep(10); len(removed) > 0 {
		f.Errorf("Sweep removed %d live records", len(removed))
	}
	if f.h.Durable {
		f.reopen() // a sweep after reopening finds them as well
	}
	f.advance(time.Minute)
	before := make(map[string]storage.Usage)
	if !f.h.NoUsage {
		for _, tenant := range []string{"a", "ab", "b"} {
			before[tenant] = f.usage(tenant) // expired records count until they are swept
		}
	}
	for k := range expired {
		f.wantNone(k) // a Get of an expired record does not change the usage
	}
	for tenant, u := range before {
		f.wantUsage(tenant, u.Records, u.Bytes)
	}
	removed := f.sweep(10)
	for k, times := range removed {
		if !expired[k] || times != 1 {
			f.Errorf("Sweep reported %s %d times, want expired records once", show(k), times)
		}
	}
	if len(removed) != len(expired) {
		f.Errorf("Sweep reported %d records, want the %d that had expired", len(removed), len(expired))
	}
	check := func() {
		f.Helper()
		for k := range expired {
			f.wantNone(k)
		}
		for k, r := range live {
			f.want(k, r)
		}
		if f.h.NoUsage {
			return
		}
		for _, tenant := range []string{"a", "ab", "b"} {
			want := storage.Usage{}
			for k, r := range live {
				if k.Tenant == tenant && !r.Marker {
					want.Records++
					want.Bytes += int64(len(r.Data))
				}
			}
			f.wantUsage(tenant, want.Records, want.Bytes)
		}
	}
	check()
	if removed := f.sweep(1000); len(removed) > 0 {
		f.Errorf("second Sweep reported %d records, want none", len(removed))
	}
	check()
	if f.h.Durable {
		f.reopen()
		check()
	}
}

// testSweepMoved checks that the sweep uses the latest expiry of each record.
func testSweepMoved(f *fixture) {
	if f.h.NoSweep {
		return
	}
	sooner, later, touched := key("acme", "sooner"), key("acme", "later"), key("acme", "touched")
	deleted, reborn := key("acme", "deleted"), key("acme", "reborn")
	f.put(sooner, f.rec("x", time.Hour))
	f.put(sooner, f.rec("x", time.Minute))
	f.put(later, f.rec("x", time.Minute))
	f.put(later, f.rec("x", time.Hour))
	f.put(touched, f.rec("x", time.Minute))
	f.touch(touched, f.in(30*time.Minute))
	f.put(deleted, f.rec("x", time.Minute))
	f.delete(deleted)
	f.put(reborn, f.rec("x", time.Minute))
	f.delete(reborn)
	f.put(reborn, f.rec("x", 30*time.Minute))
	if f.h.Durable {
		f.reopen()
	}
	round := func(advance time.Duration, want ...storage.Key) {
		f.Helper()
		f.advance(advance)
		removed := f.sweep(3)
		for _, k := range want {
			if removed[k] != 1 {
				f.Errorf("Sweep reported %s %d times, want once", show(k), removed[k])
			}
		}
		if len(removed) != len(want) {
			f.Errorf("Sweep reported %d records, want %d", len(removed), len(want))
		}
	}
	round(time.Minute, sooner)
	f.wantUsage("acme", 3, 3)
	f.touch(touched, f.in(35*time.Minute)) // once more, after a sweep has examined it
	round(29*time.Minute, reborn)
	round(6*time.Minute, touched)
	round(24*time.Minute, later)
	f.wantUsage("acme", 0, 0)

	// A Put over an expired record makes the key live again.
	f.put(later, f.rec("x", time.Minute))
	f.advance(time.Minute)
	f.put(later, f.rec("y", time.Minute))
	round(0)
	f.want(later, f.rec("y", time.Minute))
	round(time.Minute, later)
}

// testSweepBounded checks that one call is bounded work, and the next one continues.
func testSweepBounded(f *fixture) {
	if f.h.NoSweep {
		return
	}
	const records, limit = 300, 10
	for i := range records {
		f.put(storage.Key{Tenant: "acme", ID: id("%d", i)}, f.rec("x", time.Minute))
	}
	f.advance(time.Hour)
	largest, total := 0, 0
	for rounds, passes := 0, 0; passes < 2; rounds++ {
		swept, err := storage.Sweep(f.ctx, f.store, limit)
		if err != nil {
			f.Fatalf("Sweep: %v", err)
		}
		largest = max(largest, len(swept.Removed))
		total += len(swept.Removed)
		if rounds == 0 && !swept.More {
			f.Errorf("Sweep(%d) of %d expired records: More = false, want true", limit, records)
		}
		if !swept.More {
			passes++
		}
		if rounds > 100*records {
			f.Fatalf("Sweep still reports More after %d rounds", rounds)
		}
	}
	if largest > 2*limit {
		f.Errorf("Sweep(%d) removed %d records in one call, want at most %d", limit, largest, 2*limit)
	}
	if total != records {
		f.Errorf("Sweep removed %d records, want %d", total, records)
	}
}

// testSweepVersusWrites checks that a sweep never removes a live record, also under concurrent writes.
func testSweepVersusWrites(f *fixture) {
	if f.h.NoSweep {
		return
	}
	for i := range 60 {
		put := storage.Key{Tenant: "acme", ID: id("put %d", i)}
		touched := storage.Key{Tenant: "acme", ID: id("touched %d", i)}
		f.put(put, f.rec("old", time.Second))
		f.advance(time.Second)
		f.put(touched, f.rec("touched", time.Second))
		fresh := f.rec("fresh", time.Hour)
		var touchErr error
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := f.store.Put(f.ctx, put, fresh); err != nil {
				f.Errorf("Put: %v", err)
			}
		})
		wg.Go(func() { touchErr = f.store.Touch(f.ctx, touched, fresh.Expires) })
		wg.Go(func() {
			for range 4 {
				if _, err := storage.Sweep(f.ctx, f.store, 100); err != nil {
					f.Errorf("Sweep: %v", err)
				}
				f.advance(time.Second)
			}
		})
		wg.Wait()
		f.want(put, fresh)
		switch {
		case touchErr == nil:
			f.want(touched, storage.Record{Data: []byte("touched"), Expires: fresh.Expires})
		case errors.Is(touchErr, storage.ErrNotFound):
			f.wantNone(touched)
		default:
			f.Errorf("Touch: %v", touchErr)
		}
		f.delete(put)
		f.delete(touched)
	}
	f.sweep(100)
	f.wantUsage("acme", 0, 0)
}

// testBacklog checks that Backlog returns the expiry of the oldest expired record, and the zero time after it was
// swept.
func testBacklog(f *fixture) {
	if f.h.NoSweep {
		return
	}
	want := func(since time.Time) {
		f.Helper()
		got, err := storage.Backlog(f.ctx, f.store)
		if err != nil || !got.Equal(since.Truncate(time.Millisecond)) && !(got.IsZero() && since.IsZero()) {
			f.Errorf("Backlog = %v, %v; want %v", got, err, since)
		}
	}
	want(time.Time{})
	first, second := f.in(time.Minute), f.in(2*time.Minute)
	f.put(key("a", "first"), storage.Record{Data: []byte("x"), Expires: first})
	f.put(key("b", "second"), storage.Record{Data: []byte("x"), Expires: second, Marker: true})
	f.put(key("b", "live"), f.rec("x", time.Hour))
	want(time.Time{})
	f.sweep(10) // examines them
	want(time.Time{})
	f.advance(3 * time.Minute)
	want(first)
	f.put(key("a", "late"), storage.Record{Data: []byte("x"), Expires: f.in(time.Second)})
	f.sweep(10)
	want(time.Time{})
	f.advance(time.Hour)
	if got, err := storage.Backlog(f.ctx, f.store); err != nil || got.IsZero() || got.After(f.now()) {
		f.Errorf("Backlog = %v, %v, want a time before %v", got, err, f.now())
	}
	f.sweep(10)
	want(time.Time{})
}
