package audit

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
)

var typical = Event{
	Code: SessionCreated, Tenant: "acme", App: "shop", Address: netip.MustParseAddrPort("192.0.2.1:4711"),
	Listener: "main", Conn: 12,
	Session: [32]byte{1, 2, 3}, Command: "close",
}

func BenchmarkAppendEvent(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, LineMax)
	for b.Loop() {
		buf = appendEvent(buf[:0], &typical, 1, noon)
	}
}

// BenchmarkRecord measures Record to a file, by one goroutine and by 64.
func BenchmarkRecord(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, goroutines := range []int{1, 64} {
			b.Run("sync="+strconv.FormatBool(sync)+"/goroutines="+strconv.Itoa(goroutines), func(b *testing.B) {
				l, err := Open(Options{Output: filepath.Join(b.TempDir(), "audit.log"), Sync: sync})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				b.ReportAllocs()
				b.SetParallelism(max(goroutines/2, 1))
				if goroutines == 1 {
					for b.Loop() {
						_ = l.Record(typical)
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_ = l.Record(typical)
					}
				})
			})
		}
	}
}

func BenchmarkErr(b *testing.B) {
	l, err := Open(Options{Output: "/dev/null"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		_ = l.Err()
	}
}

// BenchmarkDecisionUnsampled measures a decision that is not recorded.
func BenchmarkDecisionUnsampled(b *testing.B) {
	d, err := OpenDecisions(DecisionOptions{Options: Options{Output: "/dev/null"}, Sample: 0})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		d.Record(Decision{Tenant: "acme", App: "shop", Command: "get", Key: []byte("k"), Allow: true})
	}
}
