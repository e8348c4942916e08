package session_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"sessionserver/session"
)

// bench is a manager with sessions of 2 KiB: 16 values of 112 bytes, with keys of 16.
type bench struct {
	testing.TB
	m      *session.Manager
	tenant *session.Tenant
	ids    [][]byte
}

var (
	benchCtx   = context.Background()
	benchKey   = []byte("key-------------")[:16]
	benchValue = bytes.Repeat([]byte("v"), 112)
)

func newBench(tb testing.TB, m *session.Manager, sessions int) *bench {
	b := &bench{TB: tb, m: m, tenant: &session.Tenant{Name: "acme", Settings: session.DefaultSettings()}}
	for range sessions {
		id, s, err := m.New(benchCtx, b.tenant, 0)
		b.ok(err)
		for i := range 16 {
			b.ok(s.Put(fmt.Appendf(nil, "key-%012d", i), benchValue))
		}
		b.ok(s.Close(benchCtx))
		b.ids = append(b.ids, []byte(id))
	}
	return b
}

func (b *bench) ok(err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// cycle opens a session, reads all values, puts one and closes it, as one web request does.
func (b *bench) cycle(id []byte) {
	s, err := b.m.Open(benchCtx, b.tenant, id, session.OpenOptions{Wait: session.WaitMax})
	b.ok(err)
	n, err := s.Len()
	b.ok(err)
	for i := range n {
		if _, value := s.Pair(i); len(value) != len(benchValue) {
			b.Fatal("wrong value")
		}
	}
	b.ok(s.Put(benchKey, benchValue))
	b.ok(s.Close(benchCtx))
}

// TestOpenAllocates checks that opening a session with one value makes three objects: the session, its lock
// and the copy of the record.
func TestOpenAllocates(t *testing.T) {
	b := newBench(t, session.NewManager(open(t, drivers[0].open), session.Options{}), 0)
	id, s, err := b.m.New(benchCtx, b.tenant, 0)
	b.ok(err)
	b.ok(s.Put(benchKey, benchValue))
	b.ok(s.Close(benchCtx))
	if n := testing.AllocsPerRun(1000, func() {
		s, err := b.m.Open(benchCtx, b.tenant, []byte(id), session.OpenOptions{})
		b.ok(err)
		b.ok(s.Abort())
	}); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCycle(b *testing.B) {
	for _, d := range drivers {
		b.Run(d.name, func(b *testing.B) {
			const sessions = 1000
			bb := newBench(b, session.NewManager(open(b, d.open), session.Options{}), sessions)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				bb.cycle(bb.ids[i%sessions])
			}
		})
	}
}

// BenchmarkCycleParallel runs 32 goroutines for each processor, each in sessions of its own.
func BenchmarkCycleParallel(b *testing.B) {
	for _, d := range drivers {
		b.Run(d.name, func(b *testing.B) {
			const sessions = 1000
			bb := newBench(b, session.NewManager(open(b, d.open), session.Options{}), sessions)
			var mu sync.Mutex
			var next int
			b.ReportAllocs()
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				mu.Lock()
				next += 7
				i := next
				mu.Unlock()
				for pb.Next() {
					bb.cycle(bb.ids[i%sessions])
					i++
				}
			})
		})
	}
}

// BenchmarkSnapshot reads without a lock.
func BenchmarkSnapshot(b *testing.B) {
	bb := newBench(b, session.NewManager(open(b, drivers[0].open), session.Options{}), 1)
	b.ReportAllocs()
	for b.Loop() {
		s, err := bb.m.Open(benchCtx, bb.tenant, bb.ids[0], session.OpenOptions{Mode: session.Snapshot})
		bb.ok(err)
		bb.ok(s.Close(benchCtx))
	}
}

// BenchmarkHandOver alternates between two goroutines in one session.
func BenchmarkHandOver(b *testing.B) {
	bb := newBench(b, session.NewManager(open(b, drivers[0].open), session.Options{}), 1)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for half := range 2 {
		wg.Go(func() {
			for range (b.N + half) / 2 {
				bb.cycle(bb.ids[0])
			}
		})
	}
	wg.Wait()
}
