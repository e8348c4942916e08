package wire

import (
	"strings"
	"testing"
)

// loop is an endless stream of the same bytes: a client that never pauses.
type loop struct {
	data string
	at   int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.data[l.at:])
	l.at = (l.at + n) % len(l.data)
	return n, nil
}

var (
	value2K = strings.Repeat("v", 2<<10)

	// typical requests, as name and arguments
	typical = []struct {
		name string
		args []string
	}{
		{"open", []string{"open", "0123456789abcdef0123456789abcdef", "rw"}},
		{"put2KiB", []string{"put", "key", value2K}},
	}

	// typical replies
	replies = []struct {
		name   string
		encode func(e *Encoder)
	}{
		{"ok", (*Encoder).OK},
		{"int", func(e *Encoder) { e.Int(1440) }},
		{"value2KiB", func(e *Encoder) { e.Value(bytes2K) }},
		{"map", func(e *Encoder) { e.Map(16, func(int) (key, value []byte) { return bytes2K[:8], bytes2K[:128] }) }},
		{"keys", func(e *Encoder) { e.Keys(16, func(int) []byte { return bytes2K[:8] }) }},
		{"error", func(e *Encoder) { e.Error(NotFound, "no such session; open it in mode rw to create it") }},
	}
	bytes2K = []byte(value2K)

	framings = []struct {
		name    string
		framing Framing
		proto   int
	}{{"line", Line, 2}, {"RESP2", RESP, 2}, {"RESP3", RESP, 3}}
)

// frame returns a request in framing f.
func frame(f Framing, args []string) string {
	if f == RESP {
		return string(AppendRequest(nil, args...))
	}
	return strings.Join(args, " ") + "\r\n"
}

func TestParsingAllocatesNothing(t *testing.T) {
	for _, test := range typical {
		for _, f := range []Framing{Line, RESP} {
			limits := DefaultLimits()
			r := NewReader(&loop{data: frame(f, test.args)}, limits, puts(limits))
			if allocs := testing.AllocsPerRun(1000, func() {
				req, err := r.Next()
				if err != nil || len(req.Args(2)) != 2 {
					t.Fatalf("%v: %v", req, err)
				}
			}); allocs != 0 {
				t.Errorf("%s in %v framing: %v allocations", test.name, f, allocs)
			}
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, test := range replies {
		for _, f := range framings {
			var e Encoder
			e.SetProto(f.proto)
			if allocs := testing.AllocsPerRun(1000, func() {
				e.Begin(f.framing)
				test.encode(&e)
				e.Reset()
			}); allocs != 0 {
				t.Errorf("%s in %s: %v allocations", test.name, f.name, allocs)
			}
		}
	}
}

func benchmarkParse(b *testing.B, f Framing) {
	for _, test := range typical {
		b.Run(test.name, func(b *testing.B) {
			limits := DefaultLimits()
			data := frame(f, test.args)
			r := NewReader(&loop{data: data}, limits, puts(limits))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				req, err := r.Next()
				if err != nil || len(req.Args(2)) != 2 {
					b.Fatal(req, err)
				}
			}
		})
	}
}

func BenchmarkParseLine(b *testing.B) { benchmarkParse(b, Line) }
func BenchmarkParseRESP(b *testing.B) { benchmarkParse(b, RESP) }

func BenchmarkEncode(b *testing.B) {
	for _, test := range replies {
		for _, f := range framings {
			b.Run(test.name+"/"+f.name, func(b *testing.B) {
				var e Encoder
				e.SetProto(f.proto)
				e.Begin(f.framing)
				test.encode(&e)
				b.SetBytes(int64(e.Len()))
				b.ReportAllocs()
				for b.Loop() {
					e.Reset()
					e.Begin(f.framing)
					test.encode(&e)
				}
			})
		}
	}
}
