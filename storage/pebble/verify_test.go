package pebble

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"sessionserver/storage"
)

// epoch is where the tests' clocks begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is moved by hand.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(epoch.UnixMilli())
	return c
}

func (c *clock) now() time.Time               { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration)      { c.ms.Add(d.Milliseconds()) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }
func (c *clock) rec(data string, d time.Duration) storage.Record {
	return storage.Record{Data: []byte(data), Expires: c.in(d)}
}

func key(tenant, name string) storage.Key {
	return storage.Key{Tenant: tenant, ID: sha256.Sum256([]byte(name))}
}

// small makes flushes, compactions and new logs happen all the time.
func small(lo *pebbledb.Options) {
	lo.MemTableSize = 64 << 10
	lo.L0CompactionThreshold = 2
	lo.TargetFileSizes[0] = 32 << 10
	lo.LBaseMaxBytes = 64 << 10
	lo.MaxManifestFileSize = 1 << 10
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// verify recounts everything in a store that nobody uses meanwhile: every record has exactly one entry in the expiry
// index, at its indexed time and not after its expiry; there are no other entries; the usage on disk and in memory is
// what the records add up to; the headers in memory are those on disk.
func verify(t testing.TB, s *Store) {
	t.Helper()
	records, index := map[storage.Key]header{}, map[storage.Key]int64{}
	want, got := map[string]storage.Usage{}, map[string]storage.Usage{}
	it, err := s.db.NewIter(nil)
	must(t, err)
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		must(t, err)
		switch k := it.Key(); k[0] {
		case prefixRecord:
			key, err := parseOwner(k[1:])
			must(t, err)
			h, _, ok, err := parseRecord(v)
			if err != nil || !ok {
				t.Errorf("record %v: %v, %v", key, ok, err)
			}
			records[key] = h
			u := want[key.Tenant]
			u.Records += h.usage().Records
			u.Bytes += h.usage().Bytes
			want[key.Tenant] = u
		case prefixIndex:
			at, key, err := parseIndexKey(k)
			must(t, err)
			if other, twice := index[key]; twice {
				t.Errorf("%v is indexed at %d and %d", key, other, at)
			}
			index[key] = at
		case prefixUsage:
			u, ok := parseUsage(v)
			if !ok {
				t.Errorf("usage %q = %x", k, v)
			}
			got[string(k[1:])] = u
		default:
			if !bytes.Equal(k, layoutKey) {
				t.Errorf("unknown key %q", k)
			}
		}
	}
	must(t, it.Close())
	for k, h := range records {
		at, ok := index[k]
		if !ok || at != h.indexed || at > h.expires {
			t.Errorf("record %v: indexed at %d (%v), header %+v", k, at, ok, h)
		}
		delete(index, k)
	}
	for k, at := range index {
		t.Errorf("index entry at %d leads to %v, which is not there", at, k)
	}
	for tenant := range want {
		got[tenant] = storage.Usage{Records: got[tenant].Records, Bytes: got[tenant].Bytes}
	}
	for tenant, u := range got {
		if u != want[tenant] {
			t.Errorf("tenant %q: usage on disk %+v, counted %+v", tenant, u, want[tenant])
		}
		if m, err := s.Usage(t.Context(), tenant); err != nil || m != want[tenant] {
			t.Errorf("tenant %q: usage in memory %+v, %v, counted %+v", tenant, m, err, want[tenant])
		}
	}
	verifyHeaders(t, s, records)
}

func verifyHeaders(t testing.TB, s *Store, records map[storage.Key]header) {
	t.Helper()
	names := map[uint32]string{}
	s.tenants.byName.Range(func(name, t any) bool { names[t.(*tenant).number] = name.(string); return true })
	for i := range s.stripes {
		st := &s.stripes[i]
		st.mu.Lock()
		for hk, h := range st.headers {
			k := storage.Key{Tenant: names[hk.tenant], ID: hk.id}
			if on, ok := records[k]; !ok || on != h || stripeIndex(hk.id) != i {
				t.Errorf("header of %v in memory %+v, on disk %+v (%v)", k, h, on, ok)
			}
		}
		if len(st.headers) > s.perStripe {
			t.Errorf("stripe %d remembers %d headers, at most %d wanted", i, len(st.headers), s.perStripe)
		}
		st.mu.Unlock()
	}
}

func name(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, n) }
