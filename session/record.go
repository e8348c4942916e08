package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sessionserver/storage"
)

// The stored format. The first byte is the version, the second byte the kind:
//
//	session    created, saved, lifetime, version, number of values, then for each: key, value, expiry
//	alias      time until which the id leads to another one, and that id
//	tombstone  0
//
// An alias and a tombstone are two forms of one kind, the marker. Numbers are unsigned varints. Times are Unix
// milliseconds and lifetimes are seconds; 0 is none. Keys and values follow their lengths. The expiry of a record as a
// whole is kept by the store.
const recordVersion = 1

const (
	kindSession byte = 1
	kindMarker  byte = 2
)

var errRecord = errors.New("session: undecodable record")

// record is a session as it is stored.
type record struct {
	created  time.Time
	saved    time.Time
	lifetime time.Duration // of its own, or 0
	version  uint64        // number of saves
	values   values
}

// marker replaces a session under a former id. It is an alias of target until followUntil, and a tombstone from
// then on.
type marker struct {
	target      storage.ID
	followUntil time.Time // zero: a tombstone from the start
}

// recordSize estimates the number of bytes that appendRecord appends; longer records are rare.
func recordSize(r *record) int {
	const head, each = 2 + 5*binary.MaxVarintLen64, 16 // each: two lengths and an expiry, which are rarely longer
	return head + each*len(r.values.list) + r.values.bytes
}

func appendRecord(dst []byte, r *record) []byte {
	dst = append(dst, recordVersion, kindSession)
	dst = appendTime(dst, r.created)
	dst = appendTime(dst, r.saved)
	dst = binary.AppendUvarint(dst, uint64(r.lifetime/time.Second))
	dst = binary.AppendUvarint(dst, r.version)
	dst = binary.AppendUvarint(dst, uint64(len(r.values.list)))
	for _, v := range r.values.list {
		dst = appendBytes(dst, v.key)
		dst = appendBytes(dst, v.value)
		dst = appendTime(dst, v.expires)
	}
	return dst
}

func appendMarker(dst []byte, m marker) []byte {
	dst = append(dst, recordVersion, kindMarker)
	dst = appendTime(dst, m.followUntil)
	if !m.followUntil.IsZero() {
		dst = append(dst, m.target[:]...)
	}
	return dst
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(t.UnixMilli()))
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// buffers are reused to encode records. A buffer is free again as soon as the store has returned from a save.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// bufferMax is the largest buffer that is kept: that of an ordinary large session. Each save in progress uses one.
const bufferMax = 4 << 20

// encode returns the encoded record in a buffer for recycle.
func encode(r *record) *[]byte {
	buf := buffers.Get().(*[]byte)
	*buf = appendRecord(slices.Grow((*buf)[:0], recordSize(r)), r)
	return buf
}

// recycle takes back a buffer of encode. After an error of the store a buffer is left to the garbage collector.
func recycle(buf *[]byte) {
	if cap(*buf) <= bufferMax {
		buffers.Put(buf)
	}
}

// decode parses a stored record: a session into r, whose list of values is overwritten, or else a marker, which it
// returns. Keys and values are views of data.
func decode(data []byte, r *record) (*marker, error) {
	if len(data) < 2 {
		return nil, fmt.Errorf("%w: %d bytes", errRecord, len(data))
	}
	if data[0] != recordVersion {
		return nil, fmt.Errorf("%w: version %d (known: %d)", errRecord, data[0], recordVersion)
	}
	d := decoder{b: data[2:]}
	switch data[1] {
	case kindSession:
		d.record(r)
		return nil, d.finish()
	case kindMarker:
		m := marker{followUntil: d.time()}
		if !m.followUntil.IsZero() {
			copy(m.target[:], d.take(len(m.target)))
		}
		return &m, d.finish()
	}
	return nil, fmt.Errorf("%w: kind %d", errRecord, data[1])
}

// decoder reads from b. After the first failure everything is zero.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) record(r *record) {
	list := r.values.list[:0]
	*r = record{
		created:  d.time(),
		saved:    d.time(),
		lifetime: time.Duration(d.number(uint64(LifetimeMax/time.Second))) * time.Second,
		version:  d.number(1<<64 - 1),
	}
	n := d.number(min(keysMax, uint64(len(d.b))/3)) // a value takes three bytes at least, so a lie costs little memory
	r.values.list = slices.Grow(list, int(n))
	for i := uint64(0); i < n && !d.failed; i++ {
		v := value{key: d.bytes(), value: d.bytes(), expires: d.time()}
		r.values.list = append(r.values.list, v)
		r.values.bytes += v.size()
	}
}

func (d *decoder) number(limit uint64) uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > limit {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) time() time.Time {
	ms := d.number(1 << 52)
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

func (d *decoder) bytes() []byte { return d.take(int(d.number(uint64(len(d.b))))) }

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.failed, d.b = true, nil
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) finish() error {
	if d.failed || len(d.b) > 0 {
		return fmt.Errorf("%w: it is cut off or too long", errRecord)
	}
	return nil
}
