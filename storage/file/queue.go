package file

import (
	"container/heap"
	"sync"
	"time"

	"sessionserver/storage"
)

// queue knows when which record expires, so that a sweep looks at those only whose time has come. It holds one entry for every
// file with a sound head: the scan at the start puts it there, and who holds the record's stripe keeps it true. It takes
// about 170 bytes a record.
type queue struct {
	mu    sync.Mutex // guards all below; the last lock anybody takes
	order order
	byKey map[queueKey]*queued
}

type queueKey struct {
	tenant *tenant
	id     storage.ID
}

// queued is one record in the queue.
type queued struct {
	queueKey
	at  int64 // when it is due, Unix time in milliseconds
	pos int   // in the heap
}

// set says when a record is due.
func (q *queue) set(t *tenant, id storage.ID, at int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := queueKey{t, id}
	if it := q.byKey[k]; it != nil {
		it.at = at
		heap.Fix(&q.order, it.pos)
		return
	}
	it := &queued{queueKey: k, at: at}
	q.byKey[k] = it
	heap.Push(&q.order, it)
}

// drop forgets a record.
func (q *queue) drop(t *tenant, id storage.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := queueKey{t, id}
	if it := q.byKey[k]; it != nil {
		heap.Remove(&q.order, it.pos)
		delete(q.byKey, k)
	}
}

// due answers the record that is due before all others, if its time has come. It stays in the queue.
func (q *queue) due(now time.Time) (queueKey, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 || q.order[0].at > now.UnixMilli() {
		return queueKey{}, false
	}
	return q.order[0].queueKey, true
}

// first answers when the record is due that is before all others; there may be none.
func (q *queue) first() (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(q.order[0].at), true
}

// len is the number of records.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order)
}

// order is the heap beneath a queue.
type order []*queued

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].at < o[j].at }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].pos, o[j].pos = i, j
}

func (o *order) Push(x any) {
	it := x.(*queued)
	it.pos = len(*o)
	*o = append(*o, it)
}

func (o *order) Pop() any {
	last := len(*o) - 1
	it := (*o)[last]
	(*o)[last] = nil // or the array would keep it alive
	*o = (*o)[:last]
	return it
}
