package opa

import (
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
)

// ways is the number of slots for a key.
const ways = 4

// cache is a bounded table of results, read without a lock. The hash of a key selects a few slots. If all of them are
// occupied, a random one is overwritten. A missing result is evaluated again, so any entry may be dropped at any
// time.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[entry] // their number is a power of two
}

type entry struct {
	key    string
	result result
}

// newCache returns a cache for at least this number of entries.
func newCache(entries int) *cache {
	size := ways
	for size < entries {
		size *= 2
	}
	return &cache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[entry], size)}
}

// candidates returns the slots for key.
func (c *cache) candidates(key []byte) []atomic.Pointer[entry] {
	at := maphash.Bytes(c.seed, key) & uint64(len(c.slots)-1) &^ (ways - 1)
	return c.slots[at : at+ways]
}

// get returns the result for key, or nil.
func (c *cache) get(key []byte) *result {
	slots := c.candidates(key)
	for i := range slots {
		if e := slots[i].Load(); e != nil && e.key == string(key) {
			return &e.result
		}
	}
	return nil
}

func (c *cache) put(key []byte, r result) {
	e := &entry{key: string(key), result: r}
	slots := c.candidates(key)
	for i := range slots {
		if slots[i].CompareAndSwap(nil, e) {
			return
		}
	}
	slots[rand.Uint32N(ways)].Store(e)
}
