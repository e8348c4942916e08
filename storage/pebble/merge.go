package pebble

import (
	"encoding/binary"
	"io"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// merger lets a write say what changes instead of what results, so that moving the expiry of a record does not write
// its data again and counting does not read. Pebble calls it while it reads, flushes and compacts, with any part of a
// key's operands that are neighbours in time; whatever it has put together stands for them.
//
// Under a record's key the base is a whole record, written with Set, and the operands are moves: two times that the
// record's may only be raised to, so that their order does not matter. Under a usage key every operand is a difference.
//
// It never refuses: an error here would stop the compactions of the whole store for the sake of one damaged value. What
// it cannot understand it leaves as it is, to be found by whoever reads that record.
var merger = &pebbledb.Merger{
	Name: "sessionserver.1", // stored with the folder, which opens with no other
	Merge: func(key, value []byte) (pebbledb.ValueMerger, error) {
		if len(key) > 0 && key[0] == prefixUsage {
			m := &usageMerger{}
			return m, m.MergeOlder(value)
		}
		m := &recordMerger{}
		return m, m.MergeOlder(value)
	},
}

var (
	_ pebbledb.ValueMerger = (*recordMerger)(nil)
	_ pebbledb.ValueMerger = (*usageMerger)(nil)
)

type recordMerger struct {
	base             []byte // the record, once it has been seen
	expires, indexed int64
}

func (m *recordMerger) MergeOlder(v []byte) error {
	if len(v) == moveLen && v[0] == valueMove {
		m.expires = max(m.expires, int64(binary.BigEndian.Uint64(v[1:])))
		m.indexed = max(m.indexed, int64(binary.BigEndian.Uint64(v[9:])))
	} else {
		m.base = append([]byte{}, v...) // not nil, even if v is empty
	}
	return nil
}

func (m *recordMerger) MergeNewer(v []byte) error { return m.MergeOlder(v) }

// Finish answers a move when it has seen no record. It must not answer that there is nothing, even if it has seen all
// there is: in a compaction that would uncover what a deletion below it has hidden.
func (m *recordMerger) Finish(bool) ([]byte, io.Closer, error) {
	if m.base == nil {
		return appendMove(nil, m.expires, m.indexed), nil, nil
	}
	if h, _, ok, err := parseRecord(m.base); err == nil && ok {
		binary.BigEndian.PutUint64(m.base[2:], uint64(max(h.expires, m.expires)))
		binary.BigEndian.PutUint64(m.base[10:], uint64(max(h.indexed, m.indexed)))
	}
	return m.base, nil, nil
}

// appendMove appends the operand that raises a record's times; 0 leaves one alone.
func appendMove(dst []byte, expires, indexed int64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, valueMove), uint64(expires))
	return binary.BigEndian.AppendUint64(dst, uint64(indexed))
}

type usageMerger struct{ sum storage.Usage }

func (m *usageMerger) MergeOlder(v []byte) error {
	d, _ := parseUsage(v)
	m.sum.Records += d.Records
	m.sum.Bytes += d.Bytes
	return nil
}

func (m *usageMerger) MergeNewer(v []byte) error { return m.MergeOlder(v) }

func (m *usageMerger) Finish(bool) ([]byte, io.Closer, error) {
	return appendUsage(nil, m.sum), nil, nil
}
