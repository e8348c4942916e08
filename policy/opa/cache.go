package opa

import (
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
)

// ways is how many places there are for a key.
const ways = 4

// cache is a bounded table of answers that is read without a lock. A key has a few places, chosen by its hash; if they are taken, one of those who
// stand there makes room. What is not found is asked again, which is right at any time.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[entry] // a power of two of them
}

type entry struct {
	key    string
	answer answer
}

// newCache makes a cache for about so many answers.
func newCache(entries int) *cache {
	size := ways
	for size < entries {
		size *= 2
	}
	return &cache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[entry], size)}
}

// places are where key may stand.
func (c *cache) places(key []byte) []atomic.Pointer[entry] {
	at := maphash.Bytes(c.seed, key) & uint64(len(c.slots)-1) &^ (ways - 1)
	return c.slots[at : at+ways]
}

// get answers nil for what is not there.
func (c *cache) get(key []byte) *answer {
	places := c.places(key)
	for i := range places {
		if e := places[i].Load(); e != nil && e.key == string(key) {
			return &e.answer
		}
	}
	return nil
}

func (c *cache) put(key []byte, a answer) {
	e := &entry{key: string(key), answer: a}
	places := c.places(key)
	for i := range places {
		if places[i].CompareAndSwap(nil, e) {
			return
		}
	}
	places[rand.Uint32N(ways)].Store(e)
}
