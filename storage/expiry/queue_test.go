package expiry_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"sessionserver/storage/expiry"
)

type record struct {
	expiry.Entry
	id int
}

// TestQueue compares random operations with a list. Few different expiries make many of them equal.
func TestQueue(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q expiry.Queue[*record]
	var list []*record
	for i := range 10_000 {
		at := int64(rnd.IntN(40)) - 20
		switch n := len(list); {
		case n == 0 || n < 100 && rnd.IntN(2) == 0:
			r := &record{id: i}
			q.Add(r, at)
			list = append(list, r)
		case rnd.IntN(2) == 0:
			q.Move(list[rnd.IntN(n)], at)
		default:
			i := rnd.IntN(n)
			q.Remove(list[i])
			list = slices.Delete(list, i, i+1)
		}
		if q.Len() != len(list) {
			t.Fatalf("Len = %d, want %d", q.Len(), len(list))
		}
		first, ok := q.First()
		if ok != (len(list) > 0) {
			t.Fatalf("First: ok = %t with %d items", ok, len(list))
		}
		for _, r := range list {
			if r.Expires() < first.Expires() {
				t.Fatalf("First expires at %d, item %d at %d", first.Expires(), r.id, r.Expires())
			}
		}
	}
	last := int64(-100)
	for len(list) > 0 {
		first, _ := q.First()
		i := slices.Index(list, first)
		if i < 0 || first.Expires() < last {
			t.Fatalf("First is a removed item, or expires at %d after %d", first.Expires(), last)
		}
		last = first.Expires()
		q.Remove(first)
		list = slices.Delete(list, i, i+1)
	}
	if r, ok := q.First(); ok || r != nil || q.Len() != 0 {
		t.Errorf("First of an empty queue = %v, %t, Len = %d", r, ok, q.Len())
	}
}

// TestRemovedItemIsReleased checks that the queue's array does not keep removed items alive.
func TestRemovedItemIsReleased(t *testing.T) {
	var q expiry.Queue[*record]
	q.Add(&record{}, 1)
	released := make(chan struct{})
	func() {
		r := &record{}
		runtime.AddCleanup(r, func(c chan struct{}) { close(c) }, released)
		q.Add(r, 2)
		q.Remove(r)
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-released:
			runtime.KeepAlive(&q)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the removed item is still reachable")
}
