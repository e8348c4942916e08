package storagetest_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"time"

	"sessionserver/storage"
)

// faults are what a driver's author gets wrong; each is a place in naive.
var faults = []string{
	"keeps the caller's slice", "hands out its own slice", "keeps a batch's slices",
	"expires a moment late", "expires a moment early", "keeps seconds only", "keeps nanoseconds", "forgets far dates",
	"touch shortens", "touch moves markers", "touch creates", "touch revives expired", "touch finds the absent",
	"tenants fold case", "tenants end at NUL", "tenants are trimmed", "usage goes by prefix",
	"counts markers", "counts no expired", "adds what it replaces", "get forgets the expired",
	"sweep takes live records", "sweep is unbounded", "sweep reports markers", "sweep reports nothing", "sweep says nothing of more",
	"sweep always wants more", "sweep misses the last",
	"batch in reverse", "batch seen in reverse", "batch keeps the first", "batch forgets the last",
	"works when closed", "get works when closed", "usage works when closed", "closes once", "delete wants a record",
	"empty data is none", "data ends at newline", "large data is cut", "put never shortens", "marker forgotten", "lacks usage",
	"drop goes by prefix", "drop keeps markers", "drop keeps the expired", "drop counts markers", "drop takes half",
	"drop works when closed", "usage counts a batch in steps", "lacks drop",
}

// naive is the contract in its plainest form: one lock, one map. Its fault, if it has one, breaks one sentence of it.
type naive struct {
	fault string
	now   func() time.Time

	mu      sync.Mutex
	records map[storage.Key]storage.Record // expired ones included, until they are swept
	added   int64                          // what "adds what it replaces" has added
	closed  bool
}

// is tells whether the store has that fault. It panics for one that the list lacks.
func (n *naive) is(fault string) bool {
	for _, f := range faults {
		if f == fault {
			return n.fault == fault
		}
	}
	panic("not in the list: " + fault)
}

func (n *naive) key(k storage.Key) storage.Key {
	switch {
	case n.is("tenants fold case"):
		k.Tenant = strings.ToLower(k.Tenant)
	case n.is("tenants end at NUL"):
		k.Tenant, _, _ = strings.Cut(k.Tenant, "\x00")
	case n.is("tenants are trimmed"):
		k.Tenant = strings.TrimSpace(k.Tenant)
	}
	return k
}

func (n *naive) alive(r storage.Record) bool {
	now := n.now()
	switch {
	case n.is("expires a moment late"):
		return !now.After(r.Expires)
	case n.is("expires a moment early"):
		return now.Add(time.Nanosecond).Before(r.Expires)
	case n.is("forgets far dates") && r.Expires.Year() > 2262:
		return false
	}
	return now.Before(r.Expires)
}

func (n *naive) isClosed() bool { return n.closed && !n.is("works when closed") }

func (n *naive) Get(_ context.Context, k storage.Key) (storage.Record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() && !n.is("get works when closed") {
		return storage.Record{}, storage.ErrClosed
	}
	r, ok := n.records[n.key(k)]
	if ok && !n.alive(r) && n.is("get forgets the expired") {
		delete(n.records, n.key(k))
	}
	if !ok || !n.alive(r) || n.is("empty data is none") && len(r.Data) == 0 {
		return storage.Record{}, storage.ErrNotFound
	}
	if !n.is("hands out its own slice") {
		r.Data = bytes.Clone(r.Data)
	}
	return r, nil
}

func (n *naive) Put(_ context.Context, k storage.Key, r storage.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() {
		return storage.ErrClosed
	}
	if !n.is("keeps the caller's slice") {
		r.Data = bytes.Clone(r.Data)
	}
	n.put(k, r)
	return nil
}

func (n *naive) put(k storage.Key, r storage.Record) {
	k = n.key(k)
	old, ok := n.records[k]
	unit := time.Millisecond
	switch {
	case n.is("keeps seconds only"):
		unit = time.Second
	case n.is("keeps nanoseconds"):
		unit = 1
	case n.is("data ends at newline"):
		r.Data, _, _ = bytes.Cut(r.Data, []byte("\n"))
	case n.is("large data is cut"):
		r.Data = r.Data[:min(len(r.Data), 1<<20)]
	case n.is("marker forgotten"):
		r.Marker = false
	case n.is("put never shortens") && ok && old.Expires.After(r.Expires):
		r.Expires = old.Expires
	case n.is("adds what it replaces") && ok:
		n.added++
	}
	r.Expires = r.Expires.Truncate(unit)
	n.records[k] = r
}

func (n *naive) PutAll(_ context.Context, entries []storage.Entry) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() {
		return storage.ErrClosed
	}
	seen := make(map[storage.Key]bool)
	for i := range entries {
		if n.is("batch in reverse") || n.is("batch seen in reverse") {
			i = len(entries) - 1 - i
		}
		e := entries[i]
		if n.is("batch keeps the first") && seen[e.Key] || n.is("batch forgets the last") && i == len(entries)-1 {
			continue
		}
		seen[e.Key] = true
		if !n.is("keeps a batch's slices") {
			e.Record.Data = bytes.Clone(e.Record.Data)
		}
		n.put(e.Key, e.Record)
		if n.is("batch seen in reverse") || n.is("usage counts a batch in steps") {
			n.mu.Unlock()
			for range 10 {
				runtime.Gosched() // the fault is to let others in here
			}
			n.mu.Lock()
		}
	}
	return nil
}

func (n *naive) Touch(_ context.Context, k storage.Key, expires time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() {
		return storage.ErrClosed
	}
	r, ok := n.records[n.key(k)]
	switch {
	case !ok && n.is("touch creates"):
		n.put(k, storage.Record{Expires: expires})
		return nil
	case n.is("touch finds the absent") && !ok:
		return nil
	case !ok, !n.alive(r) && !n.is("touch revives expired"), r.Marker && !n.is("touch moves markers"):
		return storage.ErrNotFound
	}
	if expires.After(r.Expires) || n.is("touch shortens") {
		r.Expires = expires
		n.put(k, r)
	}
	return nil
}

func (n *naive) Delete(_ context.Context, k storage.Key) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() {
		return storage.ErrClosed
	}
	if _, ok := n.records[n.key(k)]; !ok && n.is("delete wants a record") {
		return storage.ErrNotFound
	}
	delete(n.records, n.key(k))
	return nil
}

func (n *naive) Backlog(context.Context) (since time.Time, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.records {
		if !n.alive(r) && (since.IsZero() || r.Expires.Before(since)) {
			since = r.Expires.Truncate(time.Millisecond)
		}
	}
	return since, nil
}

func (n *naive) Sweep(_ context.Context, limit int) (storage.Swept, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() {
		return storage.Swept{}, storage.ErrClosed
	}
	if n.is("sweep is unbounded") {
		limit = 1 << 30
	}
	var swept storage.Swept
	removed := 0
	for k, r := range n.records {
		if n.alive(r) && !n.is("sweep takes live records") {
			continue
		}
		if n.is("sweep misses the last") && len(n.records) == 1 {
			continue
		}
		if removed == limit {
			swept.More = !n.is("sweep says nothing of more")
			break
		}
		delete(n.records, k)
		removed++
		if (!r.Marker || n.is("sweep reports markers")) && !n.is("sweep reports nothing") {
			swept.Removed = append(swept.Removed, k)
		}
	}
	swept.More = swept.More || n.is("sweep always wants more")
	return swept, nil
}

func (n *naive) Usage(_ context.Context, tenant string) (storage.Usage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.is("lacks usage") {
		return storage.Usage{}, errors.ErrUnsupported
	}
	if n.isClosed() && !n.is("usage works when closed") {
		return storage.Usage{}, storage.ErrClosed
	}
	u := storage.Usage{Records: n.added}
	tenant = n.key(storage.Key{Tenant: tenant}).Tenant
	for k, r := range n.records {
		mine := k.Tenant == tenant || n.is("usage goes by prefix") && strings.HasPrefix(k.Tenant, tenant)
		if mine && (!r.Marker || n.is("counts markers")) && (n.alive(r) || !n.is("counts no expired")) {
			u.Records++
			u.Bytes += int64(len(r.Data))
		}
	}
	return u, nil
}

func (n *naive) DropTenant(_ context.Context, tenant string) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.is("lacks drop") {
		return 0, errors.ErrUnsupported
	}
	if n.isClosed() && !n.is("drop works when closed") {
		return 0, storage.ErrClosed
	}
	removed, left := int64(0), len(n.records)
	tenant = n.key(storage.Key{Tenant: tenant}).Tenant
	for k, r := range n.records {
		mine := k.Tenant == tenant || n.is("drop goes by prefix") && strings.HasPrefix(k.Tenant, tenant)
		switch {
		case !mine, n.is("drop keeps markers") && r.Marker, n.is("drop keeps the expired") && !n.alive(r),
			n.is("drop takes half") && left%2 == 0:
		default:
			delete(n.records, k)
			if !r.Marker || n.is("drop counts markers") {
				removed++
			}
		}
		left--
	}
	return removed, nil
}

func (n *naive) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed && n.is("closes once") {
		return storage.ErrClosed
	}
	n.closed = true
	return nil
}
