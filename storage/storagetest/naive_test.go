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

// faults are mistakes that a driver can contain. Each is one place in naive.
var faults = []string{
	"keeps the caller's slice", "returns its own slice", "keeps a batch's slices", "expires a moment late",
	"expires a moment early", "keeps seconds only", "keeps nanoseconds", "loses far dates", "touch shortens",
	"touch moves markers", "touch creates records", "touch revives expired records", "touch accepts absent records",
	"tenants ignore case", "tenants end at NUL", "tenants are trimmed", "usage matches by prefix", "counts markers",
	"does not count expired records", "counts replaced records", "get removes expired records",
	"sweep removes live records", "sweep is unbounded", "sweep reports markers", "sweep reports nothing",
	"sweep never reports more", "sweep always reports more", "sweep skips the last record", "batch in reverse",
	"batch becomes visible in reverse", "batch keeps the first", "batch loses the last", "works when closed",
	"get works when closed", "usage works when closed", "second close fails", "delete of an absent record fails",
	"empty data counts as absent", "data ends at newline", "large data is truncated", "put never shortens",
	"marker is lost", "lacks usage", "drop matches by prefix", "drop keeps markers", "drop keeps expired records",
	"drop counts markers", "drop removes half", "drop works when closed", "usage counts a batch in steps",
	"lacks drop",
}

// naive implements the contract in its simplest form: one lock, one map. Its fault, if it has one, breaks one
// sentence of the contract.
type naive struct {
	fault string
	now   func() time.Time

	mu       sync.Mutex
	records  map[storage.Key]storage.Record // with expired records, until they are swept
	replaced int64                          // replaced records, for the fault that counts them
	closed   bool
}

// has reports whether the store has that fault. It panics for a fault that is not in the list.
func (n *naive) has(fault string) bool {
	for _, f := range faults {
		if f == fault {
			return n.fault == fault
		}
	}
	panic("not in the list: " + fault)
}

func (n *naive) key(k storage.Key) storage.Key {
	switch {
	case n.has("tenants ignore case"):
		k.Tenant = strings.ToLower(k.Tenant)
	case n.has("tenants end at NUL"):
		k.Tenant, _, _ = strings.Cut(k.Tenant, "\x00")
	case n.has("tenants are trimmed"):
		k.Tenant = strings.TrimSpace(k.Tenant)
	}
	return k
}

func (n *naive) isLive(r storage.Record) bool {
	now := n.now()
	switch {
	case n.has("expires a moment late"):
		return !now.After(r.Expires)
	case n.has("expires a moment early"):
		return now.Add(time.Nanosecond).Before(r.Expires)
	case n.has("loses far dates") && r.Expires.Year() > 2262:
		return false
	}
	return now.Before(r.Expires)
}

func (n *naive) isClosed() bool { return n.closed && !n.has("works when closed") }

func (n *naive) Get(_ context.Context, k storage.Key) (storage.Record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.isClosed() && !n.has("get works when closed") {
		return storage.Record{}, storage.ErrClosed
	}
	r, ok := n.records[n.key(k)]
	if ok && !n.isLive(r) && n.has("get removes expired records") {
		delete(n.records, n.key(k))
	}
	if !ok || !n.isLive(r) || n.has("empty data counts as absent") && len(r.Data) == 0 {
		return storage.Record{}, storage.ErrNotFound
	}
	if !n.has("returns its own slice") {
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
	if !n.has("keeps the caller's slice") {
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
	case n.has("keeps seconds only"):
		unit = time.Second
	case n.has("keeps nanoseconds"):
		unit = 1
	case n.has("data ends at newline"):
		r.Data, _, _ = bytes.Cut(r.Data, []byte("\n"))
	case n.has("large data is truncated"):
		r.Data = r.Data[:min(len(r.Data), 1<<20)]
	case n.has("marker is lost"):
		r.Marker = false
	case n.has("put never shortens") && ok && old.Expires.After(r.Expires):
		r.Expires = old.Expires
	case n.has("counts replaced records") && ok:
		n.replaced++
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
	written := make(map[storage.Key]bool)
	for i := range entries {
		if n.has("batch in reverse") || n.has("batch becomes visible in reverse") {
			i = len(entries) - 1 - i
		}
		e := entries[i]
		if n.has("batch keeps the first") && written[e.Key] || n.has("batch loses the last") && i == len(entries)-1 {
			continue
		}
		written[e.Key] = true
		if !n.has("keeps a batch's slices") {
			e.Record.Data = bytes.Clone(e.Record.Data)
		}
		n.put(e.Key, e.Record)
		if n.has("batch becomes visible in reverse") || n.has("usage counts a batch in steps") {
			n.mu.Unlock()
			for range 10 {
				runtime.Gosched() // the fault: other operations can proceed here
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
	case !ok && n.has("touch creates records"):
		n.put(k, storage.Record{Expires: expires})
		return nil
	case n.has("touch accepts absent records") && !ok:
		return nil
	case !ok, !n.isLive(r) && !n.has("touch revives expired records"), r.Marker && !n.has("touch moves markers"):
		return storage.ErrNotFound
	}
	if expires.After(r.Expires) || n.has("touch shortens") {
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
	if _, ok := n.records[n.key(k)]; !ok && n.has("delete of an absent record fails") {
		return storage.ErrNotFound
	}
	delete(n.records, n.key(k))
	return nil
}

func (n *naive) Backlog(context.Context) (since time.Time, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.records {
		if !n.isLive(r) && (since.IsZero() || r.Expires.Before(since)) {
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
	if n.has("sweep is unbounded") {
		limit = 1 << 30
	}
	var swept storage.Swept
	removed := 0
	for k, r := range n.records {
		if n.isLive(r) && !n.has("sweep removes live records") {
			continue
		}
		if n.has("sweep skips the last record") && len(n.records) == 1 {
			continue
		}
		if removed == limit {
			swept.More = !n.has("sweep never reports more")
			break
		}
		delete(n.records, k)
		removed++
		if (!r.Marker || n.has("sweep reports markers")) && !n.has("sweep reports nothing") {
			swept.Removed = append(swept.Removed, k)
		}
	}
	swept.More = swept.More || n.has("sweep always reports more")
	return swept, nil
}

func (n *naive) Usage(_ context.Context, tenant string) (storage.Usage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.has("lacks usage") {
		return storage.Usage{}, errors.ErrUnsupported
	}
	if n.isClosed() && !n.has("usage works when closed") {
		return storage.Usage{}, storage.ErrClosed
	}
	u := storage.Usage{Records: n.replaced}
	tenant = n.key(storage.Key{Tenant: tenant}).Tenant
	for k, r := range n.records {
		matches := k.Tenant == tenant || n.has("usage matches by prefix") && strings.HasPrefix(k.Tenant, tenant)
		counts := (!r.Marker || n.has("counts markers")) && (n.isLive(r) || !n.has("does not count expired records"))
		if matches && counts {
			u.Records++
			u.Bytes += int64(len(r.Data))
		}
	}
	return u, nil
}

func (n *naive) DropTenant(_ context.Context, tenant string) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.has("lacks drop") {
		return 0, errors.ErrUnsupported
	}
	if n.isClosed() && !n.has("drop works when closed") {
		return 0, storage.ErrClosed
	}
	removed, left := int64(0), len(n.records)
	tenant = n.key(storage.Key{Tenant: tenant}).Tenant
	for k, r := range n.records {
		matches := k.Tenant == tenant || n.has("drop matches by prefix") && strings.HasPrefix(k.Tenant, tenant)
		switch {
		case !matches, n.has("drop keeps markers") && r.Marker, n.has("drop keeps expired records") && !n.isLive(r),
			n.has("drop removes half") && left%2 == 0:
		default:
			delete(n.records, k)
			if !r.Marker || n.has("drop counts markers") {
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
	if n.closed && n.has("second close fails") {
		return storage.ErrClosed
	}
	n.closed = true
	return nil
}
