package memory

import "container/heap"

// queue holds items with the earliest expiry first. Every item knows its position, so moving or removing one costs the
// logarithm of their number, and the queue never holds more than there are records.
type queue struct{ order order }

func (q *queue) add(it *item)    { heap.Push(&q.order, it) }
func (q *queue) remove(it *item) { heap.Remove(&q.order, it.pos) }

// move gives the item another expiry.
func (q *queue) move(it *item, expires int64) {
	it.expires = expires
	heap.Fix(&q.order, it.pos)
}

// first answers the item that expires before all others, or nil.
func (q *queue) first() *item {
	if len(q.order) == 0 {
		return nil
	}
	return q.order[0]
}

// order is the heap beneath a queue.
type order []*item

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].expires < o[j].expires }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].pos, o[j].pos = i, j
}

func (o *order) Push(x any) {
	it := x.(*item)
	it.pos = len(*o)
	*o = append(*o, it)
}

func (o *order) Pop() any {
	last := len(*o) - 1
	it := (*o)[last]
	(*o)[last] = nil // or the array would keep a removed record alive
	*o = (*o)[:last]
	return it
}
