// Package expiry orders records by the time at which they expire. Drivers use it to sweep expired records without
// visiting live ones.
//
// It must never know what a record is, nor take a lock: a [Queue] belongs to the driver's own lock. Begin reading at
// [Queue].
package expiry

import "container/heap"

// Entry is the expiry of an item and its position in a queue. A type that embeds an Entry is an [Item].
type Entry struct {
	expires  int64 // Unix time in milliseconds
	position int
}

// Expires returns the expiry that the item has in its queue, as Unix time in milliseconds.
func (e *Entry) Expires() int64 { return e.expires }

func (e *Entry) entry() *Entry { return e }

// Item is a pointer to a type that embeds an [Entry].
type Item interface{ entry() *Entry }

// Queue holds items, the earliest expiry first. An item is in at most one queue. Adding, moving and removing an item
// takes time in the logarithm of their number. The zero value is an empty queue. A Queue is not safe for concurrent
// use.
type Queue[T Item] struct{ items items[T] }

// Add adds an item with its expiry, as Unix time in milliseconds.
func (q *Queue[T]) Add(item T, expires int64) {
	item.entry().expires = expires
	heap.Push(&q.items, item)
}

// Move changes the expiry of an item in the queue.
func (q *Queue[T]) Move(item T, expires int64) {
	e := item.entry()
	e.expires = expires
	heap.Fix(&q.items, e.position)
}

// Remove removes an item from the queue.
func (q *Queue[T]) Remove(item T) { heap.Remove(&q.items, item.entry().position) }

// First returns an item with the earliest expiry, and reports whether there is one. The item stays in the queue.
func (q *Queue[T]) First() (item T, ok bool) {
	if len(q.items) == 0 {
		return item, false
	}
	return q.items[0], true
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return len(q.items) }

// items is the heap of a queue.
type items[T Item] []T

func (s items[T]) Len() int           { return len(s) }
func (s items[T]) Less(i, j int) bool { return s[i].entry().expires < s[j].entry().expires }

func (s items[T]) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].entry().position, s[j].entry().position = i, j
}

func (s *items[T]) Push(x any) {
	item := x.(T)
	item.entry().position = len(*s)
	*s = append(*s, item)
}

func (s *items[T]) Pop() any {
	last := len(*s) - 1
	item := (*s)[last]
	clear((*s)[last:]) // or the array would keep the removed item alive
	*s = (*s)[:last]
	return item
}
