package storagetest

import (
	"errors"
	"time"

	"sessionserver/storage"
)

// recount returns the expected usage by reading the given keys, which must be all of the tenant's.
func (f *fixture) recount(tenant string, keys ...storage.Key) storage.Usage {
	f.Helper()
	var u storage.Usage
	for _, k := range keys {
		r, err := f.store.Get(f.ctx, k)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			f.Fatalf("Get(%s): %v", show(k), err)
		}
		if k.Tenant == tenant && !r.Marker {
			u.Records++
			u.Bytes += int64(len(r.Data))
		}
	}
	return u
}

// testUsage checks that usage counts a tenant's records and bytes, and nothing else.
func testUsage(f *fixture) {
	if f.h.NoUsage {
		return
	}
	f.wantUsage("acme", 0, 0) // a tenant without records
	k1, k2 := key("acme", "one"), key("acme", "two")
	f.put(k1, f.rec("12345", time.Minute))
	f.wantUsage("acme", 1, 5)
	f.put(k1, f.rec("123", time.Minute)) // replaces the record
	f.wantUsage("acme", 1, 3)
	f.put(k2, f.rec("", time.Hour)) // no bytes, but a record
	f.wantUsage("acme", 2, 3)
	f.wantUsage("acm", 0, 0)
	f.wantUsage("acme2", 0, 0)
	f.touch(k2, f.in(2*time.Hour))
	f.wantUsage("acme", 2, 3)
	f.wantNoTouch(key("acme", "three"), f.in(time.Hour))
	f.wantUsage("acme", 2, 3)
	f.advance(time.Minute) // the first has expired, but has not been swept
	f.wantNone(k1)
	f.wantNoTouch(k1, f.in(time.Hour))
	f.wantUsage("acme", 2, 3)
	f.put(k1, f.rec("1234567", time.Minute)) // replaces the expired record
	f.wantUsage("acme", 2, 7)
	f.advance(time.Minute)
	f.delete(k1) // an expired record
	f.wantUsage("acme", 1, 0)
	f.delete(k1)
	f.wantUsage("acme", 1, 0)
	f.delete(k2)
	f.wantUsage("acme", 0, 0)
	if f.h.Durable {
		f.put(k1, f.rec("1234", time.Minute))
		f.advance(time.Minute)
		f.reopen()
		f.wantUsage("acme", 1, 4) // not swept yet
	}
}
