package session

import (
	"bytes"
	"slices"
	"time"
)

// values are what a session holds, in the order in which the keys came. Sessions have few keys, so a list that is
// searched from the front beats a map in time and in memory, and keeps the order.
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

// set sets the value of the key at place i, or appends both if i is -1, copying both slices. The value has no
// lifetime of its own then.
func (vs *values) set(i int, key, val []byte) {
	own := make([]byte, 0, len(key)+len(val))
	own = append(append(own, key...), val...)
	v := value{key: own[:len(key):len(key)], value: own[len(key):]}
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

// only returns the values whose keys are kept, in a list of its own.
func (vs *values) only(keep func(key []byte) bool) values {
	var kept values
	for _, v := range vs.list {
		if keep(v.key) {
			kept.list = append(kept.list, v)
			kept.bytes += v.size()
		}
	}
	return kept
}

// dropExpired removes the values whose own lifetime is over, and reports whether there were any.
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
