package log

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"sessionserver/storage"
)

// slot is where the newest frame of a record lies. Slots contain no pointers: they lie outside of the Go heap.
type slot struct {
	id       storage.ID
	pos      position // 0 in a free slot
	expiryLo uint32   // 48 bits in Unix milliseconds
	size     uint32   // length of the data
	tenant   uint32   // number of the tenant
	expiryHi uint16
	flags    uint16
}

const (
	slotMarker  = 1 << iota // as in the frame
	slotTouched             // the expiry is that of a touch, which may not be committed; see shard.touched
	slotDeleted             // the frame at pos is a delete, which may not be committed
	slotDamaged             // the frame at pos is a damaged record
)

func (s *slot) expires() int64 { return int64(s.expiryHi)<<32 | int64(s.expiryLo) }

func (s *slot) setExpires(ms int64) {
	ms = clampExpiry(ms)
	s.expiryHi, s.expiryLo = uint16(ms>>32), uint32(ms)
}

func (s *slot) is(flag uint16) bool { return s.flags&flag != 0 }

// counts reports whether the slot is a record that counts in the usage of its tenant.
func (s *slot) counts() bool { return s.flags&(slotMarker|slotDeleted) == 0 }

// isMarker reports whether the slot is a marker.
func (s *slot) isMarker() bool { return s.flags&(slotMarker|slotDeleted) == slotMarker }

const (
	slotBytes  = 56
	shardCount = 1024
)

// index finds the newest frame of each record. A shard is a hash table with linear probing.
type index struct {
	seed   [2]uint64 // of this process, so that no client can choose ids with equal hashes
	bytes  atomic.Int64
	grown  func(bytes int64)
	shards [shardCount]shard
}

// shard is a part of the index.
type shard struct {
	mu      sync.Mutex
	slots   []slot
	used    int
	touched position // of the newest touch
	index   *index
}

func newIndex(grown func(bytes int64)) *index {
	x := &index{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, grown: grown}
	for i := range x.shards {
		x.shards[i].index = x
	}
	return x
}

func (x *index) hash(id *storage.ID) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:])^x.seed[0], binary.LittleEndian.Uint64(id[8:])^x.seed[1])
	return hi ^ lo
}

func (x *index) shardOf(id *storage.ID) int { return int(x.hash(id) >> (64 - 10)) }

// home is the place at which the search for id begins.
func (sh *shard) home(id *storage.ID) int {
	return int(uint64(uint32(sh.index.hash(id))) * uint64(len(sh.slots)) >> 32)
}

// find returns the slot of a record, or nil.
func (sh *shard) find(id *storage.ID, tenant uint32) *slot {
	if sh.used == 0 {
		return nil
	}
	for i := sh.home(id); ; {
		s := &sh.slots[i]
		if s.pos == 0 {
			return nil
		}
		if s.tenant == tenant && s.id == *id {
			return s
		}
		if i++; i == len(sh.slots) {
			i = 0
		}
	}
}

// grow makes room for n more slots. Slots may be more than limit bytes in all only if limit is 0.
func (sh *shard) grow(n int, limit int64) error {
	need := sh.used + n
	if need*20 <= len(sh.slots)*17 {
		return nil
	}
	size := max(len(sh.slots)*23/20, need*20/17+1, 32)
	more := int64(size-len(sh.slots)) * slotBytes
	if limit > 0 && sh.index.bytes.Load()+more > limit {
		return errIndexFull
	}
	slots, err := allocateSlots(size)
	if err != nil {
		return err
	}
	sh.index.grown(sh.index.bytes.Add(more))
	old := sh.slots
	sh.slots = slots
	for i := range old {
		if old[i].pos != 0 {
			*sh.free(&old[i].id) = old[i]
		}
	}
	releaseSlots(old)
	return nil
}

// free returns the free slot for an id that has none. There is room: see grow.
func (sh *shard) free(id *storage.ID) *slot {
	i := sh.home(id)
	for sh.slots[i].pos != 0 {
		if i++; i == len(sh.slots) {
			i = 0
		}
	}
	return &sh.slots[i]
}

// insert returns the slot for a record that has none, with its key set. The caller sets its position.
func (sh *shard) insert(id *storage.ID, tenant uint32) *slot {
	s := sh.free(id)
	*s = slot{id: *id, tenant: tenant}
	sh.used++
	return s
}

// remove frees the slot at place i. Slots behind it move forward, so that a search finds them without a gap.
func (sh *shard) remove(i int) {
	n := len(sh.slots)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		if sh.slots[j].pos == 0 {
			break
		}
		h := sh.home(&sh.slots[j].id)
		if i <= j && i < h && h <= j || i > j && (i < h || h <= j) {
			continue // the slot at j would move to a place before its home
		}
		sh.slots[i] = sh.slots[j]
		i = j
	}
	sh.slots[i] = slot{}
	sh.used--
}

// place returns the place of a slot that find returned.
func (sh *shard) place(s *slot) int {
	i := sh.home(&s.id)
	for &sh.slots[i] != s {
		if i++; i == len(sh.slots) {
			i = 0
		}
	}
	return i
}

// release frees the memory of all shards. The index is not used after it.
func (x *index) release() {
	for i := range x.shards {
		sh := &x.shards[i]
		sh.mu.Lock()
		releaseSlots(sh.slots)
		sh.slots, sh.used = nil, 0
		sh.mu.Unlock()
	}
}
