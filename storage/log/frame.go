package log

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"sessionserver/storage"
)

// position is where a frame begins: the number of its segment and its offset there, in units of 8 bytes. Positions
// grow with every frame and are never used twice.
type position uint64

const (
	offsetBits = 26
	segmentCap = 8 << offsetBits // bytes of the largest possible segment: 512 MiB
)

func at(segment uint64, offset int) position {
	return position(segment<<offsetBits | uint64(offset)>>3)
}

func (p position) segment() uint64 { return uint64(p) >> offsetBits }
func (p position) offset() int     { return int(p&(1<<offsetBits-1)) << 3 }

// kind is what a frame records.
type kind uint8

const (
	kindRecord  kind = iota + 1 // a record
	kindTouch                   // a later expiry of the record under the key
	kindDelete                  // the absence of a record under the key
	kindDrop                    // the absence of all records of the tenant in frames before this one
	kindDamaged                 // a record whose data was found damaged
	kindMark                    // nothing but how much of the segment is synced and how far the store is swept
	kindEnd                     // the end of the segment
)

const (
	flagMarker    = 1 << iota // the record is a storage.Record with Marker
	flagContinues             // the frame is valid only together with the next one
)

// frameHead is the length of the head of a frame:
//
//	 0  4  CRC-32C of the position, and of the rest of the head and the tenant
//	 4  4  length of the frame, a multiple of 8; odd in the mark that ends a page
//	 8  1  kind
//	 9  1  flags
//	10  1  length of the tenant
//	11  1  zero
//	12  4  CRC-32C of the data
//	16  8  expiry in Unix milliseconds
//	24 32  id
//	56  4  length of the data
//	60  4  offset up to which the segment was synced when the frame was written, in units of 8 bytes
//
// The tenant and the data follow. All numbers are little-endian.
const frameHead = 64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// dataLimit is the length of the longest data that a frame can hold.
const dataLimit = segmentCap / 2

// frame is a decoded frame. Its slices are views of the encoded one.
type frame struct {
	kind    kind
	flags   uint8
	tenant  []byte
	id      storage.ID
	expires int64
	data    []byte // nil if only the head was decoded
	size    int    // length of the data
	dataSum uint32
	synced  int // offset in the frame's segment
	length  int // of the whole frame
}

func frameLength(tenant, data int) int { return (frameHead + tenant + data + 7) &^ 7 }

func dataSum(data []byte) uint32 { return crc32.Update(0, castagnoli, data) }

// seal seeds the checksums of frames, so that neither the frames of another store nor those of the segment that had
// the same file before can be valid.
type seal uint32

func newSeal(store []byte) seal { return seal(crc32.Update(0, castagnoli, store)) }

func (s seal) headSum(p position, head []byte) uint32 {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(p))
	return crc32.Update(crc32.Update(uint32(s), castagnoli, seed[:]), castagnoli, head)
}

// put encodes the frame at the beginning of dst, which has its length. The data is copied unless it is nil; its
// padding is cleared in either case.
func (s seal) put(dst []byte, p position, f *frame, tenant string) {
	binary.LittleEndian.PutUint32(dst[4:], uint32(len(dst)))
	dst[8], dst[9], dst[10], dst[11] = byte(f.kind), f.flags, byte(len(tenant)), 0
	binary.LittleEndian.PutUint32(dst[12:], f.dataSum)
	binary.LittleEndian.PutUint64(dst[16:], uint64(f.expires))
	copy(dst[24:], f.id[:])
	binary.LittleEndian.PutUint32(dst[56:], uint32(f.size))
	binary.LittleEndian.PutUint32(dst[60:], uint32(f.synced>>3))
	head := frameHead + copy(dst[frameHead:], tenant)
	binary.LittleEndian.PutUint32(dst, s.headSum(p, dst[4:head]))
	copy(dst[head:], f.data)
	clear(dst[head+f.size:])
}

// parseHead decodes the head and the tenant of the frame at p, of which b has at least these. It reports whether the
// head is valid.
func (s seal) parseHead(b []byte, p position) (frame, bool) {
	if len(b) < frameHead {
		return frame{}, false
	}
	head := frameHead + int(b[10])
	f := frame{
		kind: kind(b[8]), flags: b[9],
		dataSum: binary.LittleEndian.Uint32(b[12:]),
		expires: int64(binary.LittleEndian.Uint64(b[16:])),
		id:      storage.ID(b[24:56]),
		size:    int(binary.LittleEndian.Uint32(b[56:])),
		synced:  int(binary.LittleEndian.Uint32(b[60:])) << 3,
		length:  int(binary.LittleEndian.Uint32(b[4:])),
	}
	if f.kind < kindRecord || f.kind > kindEnd || head > len(b) || f.size > dataLimit ||
		f.length != frameLength(int(b[10]), f.size) || s.headSum(p, b[4:head]) != binary.LittleEndian.Uint32(b) {
		return frame{}, false
	}
	f.tenant = b[frameHead:head:head]
	return f, true
}

// fill sets the data of the frame from its encoded form, and reports whether it matches its checksum.
func (f *frame) fill(encoded []byte) bool {
	head := frameHead + len(f.tenant)
	f.data = encoded[head : head+f.size : head+f.size]
	return dataSum(f.data) == f.dataSum
}

// expiryMax is the latest expiry that the index can hold, in the year 10889. Later ones are clamped.
const expiryMax = 1<<48 - 1

// clampExpiry limits an expiry in Unix milliseconds to what the index can hold.
func clampExpiry(ms int64) int64 { return min(max(ms, 0), expiryMax) }

const never = math.MaxInt64
