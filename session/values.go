package session

import (
	"bytes"
	"slices"
	"time"
)

// values are the contents of a session, in the order in which the keys were added. Sessions have few keys. So a
// list that is searched from the front beats a map in time and memory, and keeps the order.
type values struct {
	list  []value
	bytes int // total size of all keys and values
}

type value struct {
	key     []byte
	value   []byte
	expires time.Time // zero: no lifetime of its own
}

func (v value) size() int { return len(v.key) + len(v.value) }

func (v value) expired(now time.Time) bool { return !v.expires.IsZero() && !now.Before(v.expires) }

func (vs *values) find(key []byte) int {
	for i := range vs.list {
		if bytes.Equal(vs.list[i].key, key) {
			return i
		}
	}
	return -1
}

// set copies key and val. It sets the value at index i, or appends key and value if i is -1. The value then has no
// lifetime of its own.
func (vs *values) set(i int, key, val []byte) {
	buf := slices.Concat(key, val) // does not clear the buffer first
	v := value{key: buf[:len(key):len(key)], value: buf[len(key):]}
	if i >= 0 {
		vs.bytes += v.size() - vs.list[i].size()
		vs.list[i] = v
		return
	}
	vs.bytes += v.size()
	vs.list = append(vs.list, v)
}

func (vs *values) remove(i int) {
	vs.bytes -= vs.list[i].size()
	vs.list = slices.Delete(vs.list, i, i+1)
}

// filter returns a copy of the values whose keys keep accepts.
func (vs *values) filter(keep func(key []byte) bool) values {
	var kept values
	for _, v := range vs.list {
		if keep(v.key) {
			kept.list = append(kept.list, v)
			kept.bytes += v.size()
		}
	}
	return kept
}

// dropExpired removes the expired values, and reports whether there were any.
func (vs *values) dropExpired(now time.Time) bool {
	kept := vs.list[:0]
	for _, v := range vs.list {
		if v.expired(now) {
			vs.bytes -= v.size()
			continue
		}
		kept = append(kept, v)
	}
	dropped := len(kept) < len(vs.list)
	clear(vs.list[len(kept):])
	vs.list = kept
	return dropped
}
