package memory

import (
	"context"
	"math"
	"sync"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/expiry"
)

// item is a record in memory.
type item struct {
	expiry.Entry
	key    storage.Key
	data   []byte // never written to; a Put replaces the slice
	marker bool
}

// shard is a part of the records. The caller of its methods must hold mu, except of drop, sweep, first and close, which
// lock it.
type shard struct {
	mu    sync.Mutex
	items map[storage.Key]*item // nil after Close
	queue expiry.Queue[*item]   // exactly the items of the map
}

// live returns the item under key unless it has expired.
func (sh *shard) live(key storage.Key, now time.Time) (*item, error) {
	if sh.items == nil {
		return nil, storage.ErrClosed
	}
	it, ok := sh.items[key]
	if !ok || it.Expires() <= now.UnixMilli() {
		return nil, storage.ErrNotFound
	}
	return it, nil
}

// put stores rec, whose data the shard owns from here on, and returns the change for the ledger.
func (sh *shard) put(key storage.Key, rec storage.Record) change {
	c := change{tenant: key.Tenant}
	expires := rec.Expires.UnixMilli()
	it, ok := sh.items[key]
	if ok {
		c.add(it, -1)
		it.data, it.marker = rec.Data, rec.Marker
		sh.queue.Move(it, expires)
	} else {
		it = &item{key: key, data: rec.Data, marker: rec.Marker}
		sh.items[key] = it
		sh.queue.Add(it, expires)
	}
	c.add(it, 1)
	return c
}

func (sh *shard) remove(it *item, l *ledger) {
	delete(sh.items, it.key)
	sh.queue.Remove(it)
	c := change{tenant: it.key.Tenant}
	c.add(it, -1)
	l.apply(c)
}

// dropStep is the number of items that drop visits before it unlocks the shard for other operations.
const dropStep = 256

// drop removes all items of a tenant and returns how many of them counted in its usage.
func (sh *shard) drop(ctx context.Context, tenant string, l *ledger) (removed int64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	visited := 0
	for key, it := range sh.items { // the map may change in between; an item that stays in it is visited
		if sh.items == nil {
			break
		}
		if key.Tenant == tenant && sh.items[key] == it {
			sh.remove(it, l)
			if !it.marker {
				removed++
			}
		}
		if visited++; visited%dropStep == 0 {
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

// sweep removes expired items, at most *left of them, and subtracts their number from *left.
func (sh *shard) sweep(now time.Time, left *int, swept *storage.Swept, l *ledger) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return storage.ErrClosed
	}
	for ms := now.UnixMilli(); *left > 0; *left-- {
		it, ok := sh.queue.First()
		if !ok || it.Expires() > ms {
			break
		}
		sh.remove(it, l)
		if !it.marker {
			swept.Removed = append(swept.Removed, it.key)
		}
	}
	return nil
}

// first returns the earliest expiry of all items, or math.MaxInt64 if there is none.
func (sh *shard) first() (expires int64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.items == nil {
		return 0, storage.ErrClosed
	}
	if it, ok := sh.queue.First(); ok {
		return it.Expires(), nil
	}
	return math.MaxInt64, nil
}

func (sh *shard) close() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.items, sh.queue = nil, expiry.Queue[*item]{}
}
