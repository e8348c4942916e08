package log

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"sessionserver/storage"
)

// TestIndexModel checks that a shard behaves like a map, whatever is inserted and removed.
func TestIndexModel(t *testing.T) {
	x := newIndex(func(int64) {})
	defer x.release()
	sh := &x.shards[0]
	model := map[storage.ID]position{}
	var ids []storage.ID
	for i := range 400 {
		var id storage.ID
		binary.LittleEndian.PutUint32(id[:], uint32(i))
		ids = append(ids, id)
	}
	for n := range 20_000 {
		id := ids[rand.IntN(len(ids))]
		s := sh.find(&id, 7)
		if _, ok := model[id]; ok != (s != nil) {
			t.Fatalf("find = %v, want %v", s != nil, ok)
		}
		switch {
		case s == nil:
			if err := sh.grow(1, 0); err != nil {
				t.Fatal(err)
			}
			s = sh.insert(&id, 7)
			s.pos = position(n + 1)
			model[id] = s.pos
		case rand.IntN(2) == 0:
			sh.remove(sh.place(s))
			delete(model, id)
		default:
			if s.pos != model[id] {
				t.Fatalf("position = %d, want %d", s.pos, model[id])
			}
		}
		if sh.used != len(model) {
			t.Fatalf("used = %d, want %d", sh.used, len(model))
		}
	}
	other := ids[0]
	if sh.find(&other, 8) != nil {
		t.Error("a record of another tenant was found")
	}
}

// TestExpiryRange checks that a slot keeps every expiry up to the year 10889 to the millisecond.
func TestExpiryRange(t *testing.T) {
	var s slot
	for _, c := range [][2]int64{{0, 0}, {-1, 0}, {1, 1}, {1<<32 + 5, 1<<32 + 5}, {expiryMax, expiryMax},
		{never, expiryMax}} {
		if s.setExpires(c[0]); s.expires() != c[1] {
			t.Errorf("expires = %d after %d, want %d", s.expires(), c[0], c[1])
		}
	}
}

// FuzzFrame: an encoded frame decodes to itself, and to nothing at another position, in another store or with a
// byte changed.
func FuzzFrame(f *testing.F) {
	f.Add("acme", []byte("data"), uint64(1), 0, uint8(1), int64(5), 3)
	f.Add("", []byte{}, uint64(1)<<37, 4096, uint8(0), int64(-1), 70)
	f.Fuzz(func(t *testing.T, tenant string, data []byte, segment uint64, offset int, flags uint8, expires int64,
		flip int) {
		if len(tenant) > 255 || segment >= 1<<(64-offsetBits) || offset < 0 || offset >= segmentCap {
			return // no frame can have these
		}
		s, p := newSeal([]byte("store")), at(segment, offset&^7)
		in := frame{kind: kindRecord, flags: flags, expires: expires, data: data, size: len(data),
			dataSum: dataSum(data), synced: 64}
		b := make([]byte, frameLength(len(tenant), len(data)))
		s.put(b, p, &in, tenant)
		got, ok := s.parseHead(b, p)
		if !ok || !got.fill(b) || got.kind != in.kind || got.flags != flags || got.expires != expires ||
			got.synced != 64 ||
			got.length != len(b) || string(got.tenant) != tenant || !bytes.Equal(got.data, data) {
			t.Fatalf("decoded %+v, %t", got, ok)
		}
		if p.segment() != segment || p.offset() != offset&^7 {
			t.Fatalf("position %d is segment %d at %d", p, p.segment(), p.offset())
		}
		if _, ok := s.parseHead(b, p+1); ok {
			t.Error("the frame is valid at another position")
		}
		if _, ok := newSeal([]byte("other")).parseHead(b, p); ok {
			t.Error("the frame is valid in another store")
		}
		i := (flip%len(b) + len(b)) % len(b)
		b[i] ^= 0x10
		padding := i >= frameHead+len(tenant)+len(data)
		if got, ok := s.parseHead(b, p); ok && got.fill(b) != padding {
			t.Errorf("the frame is valid: %t, with byte %d of %d changed", !padding, i, len(b))
		}
	})
}

// FuzzKeys: whatever a table of keys contains, decoding it neither panics nor takes it for another one.
func FuzzKeys(f *testing.F) {
	s := newSeal([]byte("store"))
	k := &keys{records: 3}
	numbers := map[string]int{}
	k.add(&frame{kind: kindRecord, tenant: []byte("acme"), size: 5}, 64, numbers)
	k.add(&frame{kind: kindDelete, tenant: []byte("other")}, 128, numbers)
	f.Add(k.encode(9, s), uint64(9))
	f.Add([]byte(keysMagic), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, segment uint64) {
		k, err := decodeKeys(b, segment, s)
		if err != nil {
			return
		}
		for i := range k.len() {
			k.at(i)
		}
		if again := k.encode(segment, s); !bytes.Equal(again, b) {
			t.Errorf("encoded again to %d bytes, not the %d that were decoded", len(again), len(b))
		}
	})
}
