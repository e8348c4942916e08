package log

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testKey(tenant, format string, args ...any) storage.Key {
	return storage.Key{Tenant: tenant, ID: sha256.Sum256(fmt.Appendf(nil, format, args...))}
}

func openDisk(t testing.TB, d *disk, mode SyncMode) *Store {
	t.Helper()
	s, err := Open(diskOptions(t, d, mode))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func diskOptions(t testing.TB, d *disk, mode SyncMode) Options {
	return Options{
		files: d, Sync: mode, SyncInterval: time.Millisecond, layout: tiny, Now: func() time.Time { return epoch },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// versionRecord is version n of a key of writer w. Its data shows whether it is complete.
func versionRecord(w, n int) storage.Record {
	data := fmt.Sprintf("%d/%d %s", w, n, strings.Repeat(string(rune('a'+n%26)), (w*7919+n*131)%3000))
	return storage.Record{Data: []byte(data), Expires: epoch.Add(time.Hour)}
}

// history is what a writer has asked for and what was acknowledged, for each of its keys. Version 0 is absence.
type history struct {
	started, acknowledged map[storage.Key]int
}

// write makes a writer work until the store fails.
func (h *history) write(ctx context.Context, s *Store, w int, r *rand.Rand, total *atomic.Int64) {
	for n := h.next(); ; n++ {
		keys := []storage.Key{testKey("acme", "%d/%d", w, r.IntN(8))}
		version := n
		var err error
		switch r.IntN(10) {
		case 0:
			version = -n // a deletion
			h.start(keys, version)
			err = s.Delete(ctx, keys[0])
		case 1, 2:
			keys = append(keys, testKey("other", "%d/%d", w, r.IntN(8)))
			h.start(keys, version)
			err = s.PutAll(ctx, []storage.Entry{{Key: keys[0], Record: versionRecord(w, n)},
				{Key: keys[1], Record: versionRecord(w, n)}})
		case 3:
			_, err = s.Get(ctx, keys[0])
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			keys = nil
		default:
			h.start(keys, version)
			err = s.Put(ctx, keys[0], versionRecord(w, n))
		}
		if err != nil {
			return
		}
		for _, k := range keys {
			h.acknowledged[k] = version
		}
		total.Add(1)
	}
}

func (h *history) next() (n int) {
	for _, v := range h.started {
		n = max(n, v, -v)
	}
	return n + 1
}

func (h *history) start(keys []storage.Key, version int) {
	for _, k := range keys {
		h.started[k] = version
	}
}

// check fails unless every key has the version that was acknowledged, or the one that was started after it. It takes
// what it finds for acknowledged.
func (h *history) check(t *testing.T, s *Store, w int) {
	t.Helper()
	for k, started := range h.started {
		rec, err := s.Get(t.Context(), k)
		found := 0
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			t.Errorf("writer %d: %v", w, err)
			continue
		default:
			var who int
			if _, err := fmt.Sscanf(string(rec.Data), "%d/%d ", &who, &found); err != nil || who != w ||
				string(rec.Data) != string(versionRecord(w, found).Data) {
				t.Errorf("writer %d: a record that was never written: %.40q", w, rec.Data)
				continue
			}
		}
		acknowledged := max(h.acknowledged[k], 0)
		if found != acknowledged && found != max(started, 0) {
			t.Errorf("writer %d: version %d of %x, acknowledged %d, started %d", w, found, k.ID[:4],
				h.acknowledged[k], started)
		}
		h.acknowledged[k] = found
		h.started[k] = found
	}
}

// TestPowerFailure checks that with SyncAlways an acknowledged write survives a power failure that loses a random part
// of what was not synced; a kill of the process loses nothing in any mode. The same folder fails again and again.
func TestPowerFailure(t *testing.T) {
	for _, c := range []struct {
		name string
		mode SyncMode
		kill bool
	}{{"power/always", SyncAlways, false}, {"kill/always", SyncAlways, true}, {"kill/interval", SyncInterval, true},
		{"kill/never", SyncNever, true}} {
		t.Run(c.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			d := newDisk()
			const writers = 4
			histories := make([]history, writers)
			for w := range histories {
				histories[w] = history{map[storage.Key]int{}, map[storage.Key]int{}}
			}
			for generation := range 60 {
				s := openDisk(t, d, c.mode)
				for w := range histories {
					histories[w].check(t, s, w)
				}
				if t.Failed() {
					t.Fatalf("in generation %d", generation)
				}
				var total atomic.Int64
				var wg sync.WaitGroup
				for w := range histories {
					wr := rand.New(rand.NewPCG(seed, uint64(generation*writers+w)))
					wg.Go(func() { histories[w].write(t.Context(), s, w, wr, &total) })
				}
				for limit := int64(r.IntN(400)); total.Load() < limit; {
					time.Sleep(100 * time.Microsecond)
				}
				left := d.kill
				if !c.kill {
					left = func() *disk { return d.powerFailure(r) }
				}
				d = left()
				wg.Wait()
				_ = s.Close() // its disk is gone
			}
		})
	}
}

// TestIntervalKeepsPrefix checks that with SyncInterval a power failure may undo the last writes, but never one before
// another that is left.
func TestIntervalKeepsPrefix(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		d := newDisk()
		s := openDisk(t, d, SyncInterval)
		n := 1 + r.IntN(300)
		for i := range n {
			if err := s.Put(t.Context(), testKey("acme", "%d", i), versionRecord(1, i)); err != nil {
				t.Fatal(err)
			}
		}
		d2 := d.powerFailure(r)
		_ = s.Close() // its disk is gone
		s = openDisk(t, d2, SyncInterval)
		missing := -1
		for i := range n {
			_, err := s.Get(t.Context(), testKey("acme", "%d", i))
			if errors.Is(err, storage.ErrNotFound) && missing < 0 {
				missing = i
			}
			if err == nil && missing >= 0 {
				t.Fatalf("write %d is left and write %d before it is not", i, missing)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
