package file

import (
	"sync"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/expiry"
)

// queue holds the expiry of every record, so that a sweep visits expired records only. It has one entry for every file
// with a valid head. The scan at the start adds the entries, and later changes are made under the record's stripe. An
// entry takes about 170 bytes.
type queue struct {
	mu      sync.Mutex // guards the fields below; the innermost lock
	entries expiry.Queue[*queueEntry]
	byKey   map[queueKey]*queueEntry
}

type queueKey struct {
	tenant *tenant
	id     storage.ID
}

type queueEntry struct {
	expiry.Entry
	queueKey
}

// set sets the expiry of a record, as Unix time in milliseconds.
func (q *queue) set(t *tenant, id storage.ID, expires int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := queueKey{t, id}
	if e := q.byKey[k]; e != nil {
		q.entries.Move(e, expires)
		return
	}
	e := &queueEntry{queueKey: k}
	q.byKey[k] = e
	q.entries.Add(e, expires)
}

// remove removes a record from the queue.
func (q *queue) remove(t *tenant, id storage.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := queueKey{t, id}
	if e := q.byKey[k]; e != nil {
		q.entries.Remove(e)
		delete(q.byKey, k)
	}
}

// due returns the record with the earliest expiry if it has expired. The record stays in the queue.
func (q *queue) due(now time.Time) (queueKey, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries.First()
	if !ok || e.Expires() > now.UnixMilli() {
		return queueKey{}, false
	}
	return e.queueKey, true
}

// first returns the earliest expiry of all records, and reports whether there is one.
func (q *queue) first() (expires time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries.First()
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMilli(e.Expires()), true
}

// len returns the number of records.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries.Len()
}
