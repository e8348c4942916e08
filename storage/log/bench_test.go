package log

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sessionserver/storage"
)

// BenchmarkStore is 64 callers at once on 100,000 records of 2 KiB, which is more than the default cache holds; CPU per
// operation includes flushes and compactions. An operation of getput is one of each on the same key.
func BenchmarkDriver(b *testing.B) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		benchmark(b, string(mode), Options{Sync: mode})
	}
}

func benchmark(b *testing.B, name string, o Options) {
	const callers, records = 64, 100_000
	b.Run(name, func(b *testing.B) {
		o.Path = b.TempDir()
		s, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		keys, data := make([]storage.Key, records), make([]storage.Record, 256)
		for i := range keys {
			keys[i] = storage.Key{Tenant: "acme", ID: sha256.Sum256(fmt.Append(nil, i))}
		}
		for i := range data {
			data[i] = benchRecord(i)
		}
		each := func(b *testing.B, n int, do func(i int, r *rand.Rand) error) {
			var next atomic.Int64
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(c), uint64(n)))
					for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
						if err := do(i, r); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		}
		get := func(_ int, r *rand.Rand) error {
			_, err := s.Get(b.Context(), keys[r.IntN(records)])
			return err
		}
		put := func(i int, r *rand.Rand) error {
			return s.Put(b.Context(), keys[r.IntN(records)], data[i%len(data)])
		}
		getput := func(i int, r *rand.Rand) error {
			k := keys[r.IntN(records)]
			if _, err := s.Get(b.Context(), k); err != nil {
				return err
			}
			return s.Put(b.Context(), k, data[i%len(data)])
		}
		later := time.Now().Add(2 * time.Hour)
		var touched atomic.Int64
		touch := func(_ int, r *rand.Rand) error {
			return s.Touch(b.Context(), keys[r.IntN(records)],
				later.Add(time.Duration(touched.Add(1))*time.Millisecond))
		}
		each(b, records, func(i int, _ *rand.Rand) error { return s.Put(b.Context(), keys[i], data[i%len(data)]) })
		for _, op := range []struct {
			name string
			do   func(int, *rand.Rand) error
		}{{"get", get}, {"put", put}, {"getput", getput}, {"touch", touch}} {
			b.Run(op.name, func(b *testing.B) {
				runtime.GC()
				b.ReportAllocs()
				cpu := cpuTime()
				b.ResetTimer()
				each(b, b.N, op.do)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
				b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-µs/op")
			})
		}
	})
}

// benchRecord is half random, half alike, as sessions are.
func benchRecord(i int) storage.Record {
	r := rand.NewChaCha8([32]byte{byte(i)})
	random := make([]byte, 512)
	r.Read(random)
	text := hex.EncodeToString(random) + strings.Repeat(`cart|a:2:{s:4:"item";i:7;s:3:"qty";i:1;}`, 50)
	return storage.Record{Data: []byte(text[:2<<10]), Expires: time.Now().Add(time.Hour)}
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
