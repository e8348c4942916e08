package session

import (
	"bytes"
	"time"
)

// values are what a session holds, in the order in which the keys came. Sessions have few keys, so a list that is searched from the front beats
// a map in time and in memory, and keeps the order.
type values struct {
	list  []value
	bytes int // of all keys and values
}

type value struct {
	key     []byte
	value   []byte
	expires time.Time // zero: with the session
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

// put sets a value, copying both slices, and takes away any lifetime of its own that it had.
func (vs *values) put(key, val []byte) {
	own := make([]byte, 0, len(key)+len(val))
	own = append(append(own, key...), val...)
	v := value{key: own[:len(key):len(key)], value: own[len(key):]}
	if i := vs.find(key); i >= 0 {
		vs.bytes += v.size() - vs.list[i].size()
		vs.list[i] = v
		return
	}
	vs.bytes += v.size()
	vs.list = append(vs.list, v)
}

func (vs *values) remove(i int) {
	vs.bytes -= vs.list[i].size()
	vs.list = append(vs.list[:i], vs.list[i+1:]...)
}

// dropExpired removes the values whose own lifetime is over.
func (vs *values) dropExpired(now time.Time) {
	kept := vs.list[:0]
	for _, v := range vs.list {
		if v.expired(now) {
			vs.bytes -= v.size()
			continue
		}
		kept = append(kept, v)
	}
	clear(vs.list[len(kept):])
	vs.list = kept
}
