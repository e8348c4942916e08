package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// Usage answers from memory what every write has added up. What is on disk under the usage keys is written in the same
// batch as the records and therefore agrees with them after any crash; it is read once, by Open.
func (s *Store) Usage(ctx context.Context, tenant string) (storage.Usage, error) {
	if err := s.enter(ctx, "usage"); err != nil {
		return storage.Usage{}, err
	}
	defer s.leave()
	if t := s.tenants.find(tenant); t != nil {
		return t.usage(), nil
	}
	return storage.Usage{}, nil
}

// tenant is what is kept in memory of one tenant.
type tenant struct {
	name   string
	number uint32 // stands for the name in the tables of headers

	mu   sync.Mutex // guards kept
	kept storage.Usage
}

func (t *tenant) add(d storage.Usage) {
	if d == (storage.Usage{}) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = plus(t.kept, d)
}

func (t *tenant) usage() storage.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

func plus(a, b storage.Usage) storage.Usage {
	return storage.Usage{Records: a.Records + b.Records, Bytes: a.Bytes + b.Bytes}
}

// tenants holds every tenant that has ever been written to since the store was opened, or kept something then.
type tenants struct {
	byName sync.Map // string → *tenant
	last   atomic.Uint32
}

func (ts *tenants) find(name string) *tenant {
	if t, ok := ts.byName.Load(name); ok {
		return t.(*tenant)
	}
	return nil
}

func (ts *tenants) get(name string) *tenant {
	if t := ts.find(name); t != nil {
		return t
	}
	t, _ := ts.byName.LoadOrStore(name, &tenant{name: name, number: ts.last.Add(1)})
	return t.(*tenant)
}

// loadUsage reads the usage keys, and drops those of tenants that keep nothing.
func (s *Store) loadUsage() error {
	it, err := s.db.NewIter(&pebbledb.IterOptions{LowerBound: usageFirst, UpperBound: usageLast})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		u, ok := parseUsage(v)
		if !ok {
			return fmt.Errorf("usage of tenant %q: %w", it.Key()[1:], storage.ErrCorrupt)
		}
		if u == (storage.Usage{}) {
			if err := s.db.Delete(it.Key(), pebbledb.NoSync); err != nil {
				return err
			}
			continue
		}
		s.tenants.get(string(it.Key()[1:])).add(u)
	}
	return it.Error()
}

func appendUsage(dst []byte, u storage.Usage) []byte {
	return binary.AppendVarint(binary.AppendVarint(dst, u.Records), u.Bytes)
}

func parseUsage(v []byte) (u storage.Usage, ok bool) {
	var n, m int
	if u.Records, n = binary.Varint(v); n <= 0 {
		return storage.Usage{}, false
	}
	if u.Bytes, m = binary.Varint(v[n:]); m <= 0 || n+m != len(v) {
		return storage.Usage{}, false
	}
	return u, true
}
