package memory

import (
	"context"
	"math"
	"sync"
	"time"

	"sessionserver/storage"
)

// item is a record in memory.
type item struct {
	key     storage.Key
	data    []byte // never written to; a Put replaces the slice
	expires int64  // Unix time in milliseconds
	marker  bool
	pos     int // where the shard's queue has it
}

// shard is a part of the records. Its methods want mu to be held, except sweep, first and close, which take it.
type shard struct {
	mu    sync.Mutex
	items map[storage.Key]*item // nil once the store has been closed
	queue queue                 // exactly the items of the map, by expiry
}

// live answers the item under key unless it has expired.
func (sh *shard) live(key storage.Key, now time.Time) (*item, error) {
	if sh.items == nil {
		return nil, storage.ErrClosed
	}
	it, ok := sh.items[key]
	if !ok || it.expires <= now.UnixMilli() {
		return nil, storage.ErrNotFound
	}
	return it, nil
}

// put keeps rec, whose data the shard owns from here on. What that changes is for the ledger.
func (sh *shard) put(key storage.Key, rec storage.Record) change {
	c := change{tenant: key.Tenant}
	expires := rec.Expires.UnixMilli()
	it, ok := sh.items[key]
	if ok {
		c.add(it, -1)
		it.data, it.marker = rec.Data, rec.Marker
		sh.queue.move(it, expires)
	} else {
		it = &item{key: key, data: rec.Data, expires: expires, marker: rec.Marker}
		sh.items[key] = it
		sh.queue.add(it)
	}
	c.add(it, 1)
	return c
}

func (sh *shard) remove(it *item, l *ledger) {
	delete(sh.items, it.key)
	sh.queue.remove(it)
	c := change{tenant: it.key.Tenant}
	c.add(it, -1)
	l.enter(c)
}

// dropStep is how many items drop looks at before it lets others have their turn.
const dropStep = 256

// drop removes all items of a tenant and answers how many of them counted.
func (sh *shard) drop(ctx context.Context, tenant string, l *ledger) (removed int64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	seen := 0
	for key, it := range sh.items { // others may change the map in between; what is there all the time is visited
		if sh.items == nil {
			break
		}
		if key.Tenant == tenant && sh.items[key] == it {
			sh.remove(it, l)
			if !it.marker {
				removed++
			}
		}
		if seen++; seen%dropStep == 0 {
			sh.mu.Unlock()
			err = ctx.Err()
			sh.mu.Lock()
		}
		if err != nil {
			return removed, err
		}
	}
	if sh.items == nil {
		return removed, storage.ErrClosed
	}
	return removed, nil
}

// sweep removes what has expired, as long as there is some of *left.
func (sh *shard) sweep(now time.Time, left *int, swept *storage.Swept, l *ledger) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return storage.ErrClosed
	}
	for ms := now.UnixMilli(); *left > 0; *left-- {
		it := sh.queue.first()
		if it == nil || it.expires > ms {
			break
		}
		sh.remove(it, l)
		if !it.marker {
			swept.Removed = append(swept.Removed, it.key)
		}
	}
	return nil
}

// first answers when the item expires that does before all others, if there is one.
func (sh *shard) first() (expires int64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return 0, storage.ErrClosed
	}
	if it := sh.queue.first(); it != nil {
		return it.expires, nil
	}
	return math.MaxInt64, nil
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.items, sh.queue = nil, queue{}
}
