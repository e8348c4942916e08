package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
)

// seedVariable is the environment variable that repeats a random run.
const seedVariable = "STORAGETEST_SEED"

// testRandom runs the same random operations on the store and on the memory driver, and compares their results.
func testRandom(f *fixture) {
	seed := rand.Uint64()
	if s := os.Getenv(seedVariable); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			f.Fatalf("%s: %v", seedVariable, err)
		}
	}
	run := &randomRun{
		fixture: f,
		rng:     rand.New(rand.NewPCG(seed, 0)),
		model:   memory.New(memory.Options{Now: f.now}),
		tenants: []string{"a", "ab", "A", "a/b"},
	}
	for i := range 6 {
		run.ids = append(run.ids, id("%d", i))
	}
	f.Cleanup(func() {
		if f.Failed() {
			f.Logf("%s=%d repeats this run; its last operations were:\n%s",
				seedVariable, seed, strings.Join(run.log, "\n"))
		}
	})
	for range 24 {
		run.sweeping = run.rng.IntN(2) == 0
		for range 50 {
			run.step()
			if f.Failed() {
				return
			}
		}
		run.checkpoint()
		if f.Failed() {
			return
		}
	}
}

type randomRun struct {
	*fixture
	rng      *rand.Rand
	model    *memory.Store
	tenants  []string
	ids      []storage.ID
	sweeping bool     // sweeps occur until the next checkpoint, so usage is not comparable in between
	log      []string // the last operations
}

func (r *randomRun) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%s: %s", r.now().UTC().Format("15:04:05.000000"), fmt.Sprintf(format, args...)))
	if len(r.log) > 40 {
		r.log = slices.Delete(r.log, 0, 1)
	}
}

func (r *randomRun) key() storage.Key {
	return storage.Key{Tenant: r.tenants[r.rng.IntN(len(r.tenants))], ID: r.ids[r.rng.IntN(len(r.ids))]}
}

// expiry returns the time after one of a few steps, so that many expiries are equal.
func (r *randomRun) expiry() time.Time {
	const ms = time.Millisecond
	steps := []time.Duration{ms, 2 * ms, 1500 * time.Microsecond, 10 * ms, time.Second, time.Minute}
	if r.sweeping { // a driver may count a record that is put after its expiry until a sweep, or not
		steps = append(steps, 0, -time.Second)
	}
	return r.in(steps[r.rng.IntN(len(steps))])
}

func (r *randomRun) record() storage.Record {
	size := r.rng.IntN(100)
	if r.rng.IntN(20) == 0 {
		size = r.rng.IntN(20_000)
	}
	return storage.Record{
		Data:    bytes.Repeat([]byte{byte(r.rng.Uint32())}, size),
		Expires: r.expiry(),
		Marker:  r.rng.IntN(8) == 0,
	}
}

// step runs one random operation on both stores.
func (r *randomRun) step() {
	k := r.key()
	switch n := r.rng.IntN(100); {
	case n < 30:
		rec := r.record()
		r.note("Put(%s, %d bytes, expires %v, marker %t)", show(k), len(rec.Data), rec.Expires.UTC(), rec.Marker)
		r.same(r.store.Put(r.ctx, k, rec), r.model.Put(r.ctx, k, rec))
	case n < 40:
		var entries []storage.Entry
		for range r.rng.IntN(4) {
			entries = append(entries, storage.Entry{Key: r.key(), Record: r.record()})
			last := entries[len(entries)-1]
			r.note("  entry %s, expires %v", show(last.Key), last.Record.Expires.UTC())
		}
		r.note("PutAll(%d)", len(entries))
		r.same(storage.PutAll(r.ctx, r.store, entries), r.model.PutAll(r.ctx, entries))
	case n < 55:
		expires := r.expiry()
		r.note("Touch(%s, %v)", show(k), expires.UTC())
		r.same(r.store.Touch(r.ctx, k, expires), r.model.Touch(r.ctx, k, expires))
	case n < 65:
		r.note("Delete(%s)", show(k))
		r.same(r.store.Delete(r.ctx, k), r.model.Delete(r.ctx, k))
	case n < 80:
		r.note("Get(%s)", show(k))
		r.compare(k)
	case n < 92:
		const us = time.Microsecond
		d := []time.Duration{us, 500 * us, 1000 * us, 9000 * us, time.Second}[r.rng.IntN(5)]
		r.note("advance %v", d)
		r.advance(d)
	case n < 94:
		r.note("advance to a minute")
		r.advance(time.Minute)
	case n < 98:
		r.sweepSome()
	case n < 99:
		if r.h.NoDrop || r.rng.IntN(3) > 0 {
			return
		}
		r.note("DropTenant(%q)", k.Tenant)
		want, err := r.model.DropTenant(r.ctx, k.Tenant)
		if err != nil {
			r.Fatal(err)
		}
		// Between sweeps, the number of expired records that are left depends on the driver.
		if got := r.drop(k.Tenant); got != want && !r.sweeping {
			r.Errorf("DropTenant(%q) = %d, want %d as of the memory driver", k.Tenant, got, want)
		}
	default:
		if r.h.Durable {
			r.note("reopen")
			r.reopen()
		}
	}
	if !r.sweeping && !r.h.NoUsage {
		r.compareUsage()
	}
}

// sweepSome runs one round of sweeping, which may remove only records that have expired in the model.
func (r *randomRun) sweepSome() {
	if !r.sweeping || r.h.NoSweep {
		return
	}
	limit := 1 + r.rng.IntN(20)
	r.note("Sweep(%d)", limit)
	swept, err := storage.Sweep(r.ctx, r.store, limit)
	if err != nil {
		r.Errorf("Sweep: %v", err)
	}
	for _, k := range swept.Removed {
		if _, err := r.model.Get(r.ctx, k); !errors.Is(err, storage.ErrNotFound) {
			r.Errorf("Sweep removed %s, which is live", show(k))
		}
	}
}

// checkpoint sweeps both stores and compares all records.
func (r *randomRun) checkpoint() {
	r.note("checkpoint")
	if r.h.Durable && r.rng.IntN(2) == 0 {
		r.note("reopen")
		r.reopen()
	}
	for k := range r.sweep(1 + r.rng.IntN(50)) {
		if _, err := r.model.Get(r.ctx, k); !errors.Is(err, storage.ErrNotFound) {
			r.Errorf("Sweep removed %s, which is live", show(k))
		}
	}
	if _, err := r.model.Sweep(r.ctx, 1_000_000); err != nil {
		r.Fatal(err)
	}
	for _, tenant := range r.tenants {
		for _, id := range r.ids {
			r.compare(storage.Key{Tenant: tenant, ID: id})
		}
	}
	if !r.h.NoUsage && !r.h.NoSweep {
		r.compareUsage()
	}
}

// same compares two errors. The error of the model is nil or ErrNotFound.
func (r *randomRun) same(got, want error) {
	r.Helper()
	if want == nil && got != nil || !errors.Is(got, want) {
		r.Errorf("error = %v, want %v as of the memory driver", got, want)
	}
}

func (r *randomRun) compare(k storage.Key) {
	r.Helper()
	got, err := r.store.Get(r.ctx, k)
	want, wantErr := r.model.Get(r.ctx, k)
	r.same(err, wantErr)
	if diff := difference(got, want); err == nil && diff != "" {
		r.Errorf("Get(%s): %s as of the memory driver", show(k), diff)
	}
}

func (r *randomRun) compareUsage() {
	r.Helper()
	for _, tenant := range r.tenants {
		want, err := r.model.Usage(r.ctx, tenant)
		if err != nil {
			r.Fatal(err)
		}
		r.wantUsage(tenant, want.Records, want.Bytes)
	}
}
