package cache

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"sessionserver/storage"
)

// entry is a record in memory.
type entry struct {
	data    []byte // never written to
	expires int64  // Unix time in milliseconds
	marker  bool
}

func (e entry) record() storage.Record {
	return storage.Record{Data: e.data, Expires: time.UnixMilli(e.expires), Marker: e.marker}
}

// overhead is what keeping an entry costs beyond its data and its tenant's name: its element of the list, 144 bytes,
// and its slot in the map, 57 bytes in a table that may be half empty. A test compares it with the heap.
const overhead = 272

// cost answers the bytes that an entry takes. Of the data it is the capacity that counts, which is what was allocated.
func cost(key storage.Key, data int) int64 { return overhead + int64(len(key.Tenant)) + int64(data) }

// fenceCount is how many fences a shard has. Keys that share one are taken for the same by writes that overlap, which
// costs a miss.
const fenceCount = 64

// shard is a part of the entries. All its fields but share are guarded by mu, which is never held while the wrapped
// store is asked.
type shard struct {
	share  int64 // of the memory, in bytes
	mu     sync.Mutex
	lru    *simplelru.LRU[storage.Key, entry]
	bytes  int64 // the sum of the entries' costs
	fences [fenceCount]fence
	drops  map[string]int // tenants being dropped, and by how many at once
	hits   uint64
	misses uint64
	closed bool
}

// fence knows of the writes to the keys that share it.
type fence struct {
	begun    uint64 // writes that have begun, ever
	underWay int
}

func (sh *shard) fence(key storage.Key) *fence { return &sh.fences[key.ID[1]%fenceCount] }

// since is the state of a fence when a load or a write began. What it brings may be kept only if no other write was
// under way then, and none has begun since: otherwise nobody here knows which of them the wrapped store has done last.
type since struct {
	begun uint64
	alone bool
}

func (f *fence) state() since { return since{begun: f.begun, alone: f.underWay == 0} }

func (f *fence) unchanged(s since) bool { return s.alone && f.begun == s.begun }

// get answers the entry under key. If there is none it answers a permit for loaded.
func (sh *shard) get(key storage.Key, now time.Time) (e entry, permit since, hit bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e, hit = sh.lru.Get(key)
	if hit && e.expires <= now.UnixMilli() {
		sh.lru.Remove(key)
		hit = false
	}
	if hit {
		sh.hits++
	} else {
		sh.misses++
	}
	return e, sh.fence(key).state(), hit
}

// loaded keeps what the wrapped store answered, unless a write was under way in the meantime. It takes nil for nothing
// to keep.
func (sh *shard) loaded(key storage.Key, permit since, e *entry) {
	if e == nil {
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.fence(key).unchanged(permit) {
		sh.add(key, *e)
	}
}

// write is a write under way.
type write struct {
	since since
	had   *entry // the key's entry when the write began, which the write may change
	keep  *entry // what the write is to leave in the cache, or nil
}

// begin takes the key's entry out. Every begin is followed by an end.
func (sh *shard) begin(key storage.Key) write {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f := sh.fence(key)
	var w write
	w.since.alone = f.underWay == 0
	f.begun++
	w.since.begun = f.begun
	f.underWay++
	if e, ok := sh.lru.Peek(key); ok {
		w.had = &e
		sh.lru.Remove(key)
	}
	return w
}

// end puts what the write is to leave into the cache, unless it overlapped with another.
func (sh *shard) end(key storage.Key, w write) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f := sh.fence(key)
	f.underWay--
	if w.keep != nil && f.unchanged(w.since) {
		sh.add(key, *w.keep)
	}
}

// add keeps an entry and evicts the ones used least recently until all fit. The caller holds mu.
func (sh *shard) add(key storage.Key, e entry) {
	if sh.closed || sh.drops[key.Tenant] > 0 || sh.lru.Contains(key) { // the last: two loads of the same record
		return
	}
	sh.lru.Add(key, e)
	sh.bytes += cost(key, cap(e.data))
	for sh.bytes > sh.share {
		sh.lru.RemoveOldest()
	}
}

// evicted is called by the list for every entry that leaves it.
func (sh *shard) evicted(key storage.Key, e entry) { sh.bytes -= cost(key, cap(e.data)) }

func (sh *shard) drop(key storage.Key) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.lru.Remove(key)
}

// beginDrop takes out all entries of a tenant. It is a write to all keys that the tenant may have, and followed by an
// endDrop.
func (sh *shard) beginDrop(tenant string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.drops[tenant]++
	for _, key := range sh.lru.Keys() {
		if key.Tenant == tenant {
			sh.lru.Remove(key)
		}
	}
}

// endDrop lets entries of the tenant in again, but nothing that was loaded before.
func (sh *shard) endDrop(tenant string) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.drops[tenant]--; sh.drops[tenant] == 0 {
		delete(sh.drops, tenant)
	}
	for i := range sh.fences {
		sh.fences[i].begun++ // for other tenants a miss, at most
	}
}

func (sh *shard) addTo(sum *Stats) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sum.Hits += sh.hits
	sum.Misses += sh.misses
	sum.Bytes += sh.bytes
	sum.Entries += sh.lru.Len()
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	sh.lru.Purge()
}
