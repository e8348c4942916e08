package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"sessionserver/storage"
)

// goldenRecords are records of version 1, byte for byte. Existing stores hold such records, so these rows must
// never change. A new version gets rows of its own.
var goldenRecords = []struct {
	name   string
	record *record
	marker *marker
	hex    string
}{
	{
		name: "session", record: &record{
			created: time.UnixMilli(1_700_000_000_123), saved: time.UnixMilli(1_700_000_600_456),
			lifetime: 90 * time.Minute, version: 300,
			values: values{bytes: 15, list: []value{
				{key: []byte("user"), value: []byte("alice")},
				{key: []byte("flash"), value: []byte{0}, expires: time.UnixMilli(1_700_000_700_000)},
			}},
		},
		hex: "01" + "01" + "fbd095ffbc31" + "88a3baffbc31" + "982a" + "ac02" + "02" +
			"0475736572" + "05616c696365" + "00" +
			"05666c617368" + "0100" + "e0acc0ffbc31",
	},
	{
		name: "empty session", record: &record{
			created: time.UnixMilli(1), saved: time.UnixMilli(2), version: 1,
		},
		hex: "01" + "01" + "01" + "02" + "00" + "01" + "00",
	},
	{
		name: "alias", marker: &marker{
			target: storage.ID{0: 0xAB, 31: 0xCD}, followUntil: time.UnixMilli(1_700_000_000_123),
		},
		hex: "01" + "02" + "fbd095ffbc31" + "ab" + strings.Repeat("00", 30) + "cd",
	},
	{name: "tombstone", marker: &marker{}, hex: "01" + "02" + "00"},
}

// decoded returns the record or the marker in data.
func decoded(data []byte) (*record, *marker, error) {
	r := new(record)
	mk, err := decode(data, r)
	if mk != nil || err != nil {
		r = nil
	}
	return r, mk, err
}

func TestEncodingOfVersion1(t *testing.T) {
	for _, g := range goldenRecords {
		t.Run(g.name, func(t *testing.T) {
			want, err := hex.DecodeString(g.hex)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			if g.record != nil {
				got = appendRecord(nil, g.record)
			} else {
				got = appendMarker(nil, *g.marker)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded\n     %x\nwant %x", got, want)
			}
			rec, mk, err := decoded(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(rec, g.record) || !reflect.DeepEqual(mk, g.marker) {
				t.Errorf("decoded %+v %+v", rec, mk)
			}
			for n := range want {
				if _, _, err := decoded(want[:n]); !errors.Is(err, errRecord) {
					t.Errorf("truncated to %d bytes: error = %v, want %v", n, err, errRecord)
				}
			}
			if _, _, err := decoded(append(want, 0)); !errors.Is(err, errRecord) {
				t.Errorf("trailing byte: error = %v, want %v", err, errRecord)
			}
		})
	}
}

func TestInvalidRecords(t *testing.T) {
	for _, data := range []string{"", "\x01", "\x00\x01", "\x02\x01\x00\x00\x00\x00\x00", "\x01\x00", "\x01\x03"} {
		if _, _, err := decoded([]byte(data)); !errors.Is(err, errRecord) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// allocated returns the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestInvalidLengthsAllocateLittle(t *testing.T) {
	head := "\x01\x01\x01\x01\x00\x01"
	for name, data := range map[string]string{
		"number of values":      head + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"as many as bytes":      head + "\x80\x80\x40" + strings.Repeat("\x00", 4<<20),
		"as many as are known":  head + "\x80\x20" + strings.Repeat("\xff", 4<<20),
		"length of a key":       head + "\x01\xff\xff\xff\xff\x7f",
		"length beyond an int":  head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"number beyond 64 bits": head + strings.Repeat("\xff", 20),
	} {
		t.Run(name, func(t *testing.T) {
			b := []byte(data)
			var err error
			if n := allocated(func() { _, _, err = decoded(b) }); n > 1<<20 {
				t.Errorf("allocated %d bytes, want at most %d", n, 1<<20)
			}
			if !errors.Is(err, errRecord) {
				t.Errorf("error = %v, want %v", err, errRecord)
			}
		})
	}
}

// FuzzDecodeRecord: a decoded record is equal after it is encoded and decoded again, and decoding takes memory in
// proportion to the input.
func FuzzDecodeRecord(f *testing.F) {
	for _, g := range goldenRecords {
		data, _ := hex.DecodeString(g.hex)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		rec, mk, err := decoded(data)
		if !bytes.Equal(data, before) {
			t.Fatal("decoding changed its input")
		}
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		if rec != nil {
			if cap(rec.values.list) > len(data) {
				t.Fatalf("capacity of %d values for %d bytes", cap(rec.values.list), len(data))
			}
			size := 0
			for _, v := range rec.values.list {
				size += v.size()
			}
			if size != rec.values.bytes {
				t.Fatalf("bytes = %d, want %d", rec.values.bytes, size)
			}
			again = appendRecord(nil, rec)
		} else {
			again = appendMarker(nil, *mk)
		}
		if len(again) > len(data) { // numbers may have been longer than needed, never shorter
			t.Fatalf("%d bytes became %d", len(data), len(again))
		}
		rec2, mk2, err := decoded(again)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(rec, rec2) || !reflect.DeepEqual(mk, mk2) {
			t.Fatalf("%+v %+v became %+v %+v", rec, mk, rec2, mk2)
		}
	})
}
