package pebble

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sessionserver/storage"
)

// observed counts what an Observer is told.
type observed struct{ synced, failed atomic.Int64 }

func (o *observed) WALSynced(time.Duration) { o.synced.Add(1) }
func (o *observed) Stalled(time.Duration)   {}
func (o *observed) Failed(error)            { o.failed.Add(1) }

// Wherever writing fails, and for good from there on, the store answers ErrFailed without hanging or ending the
// process, and the folder opens again with everything that was acknowledged.
func TestDiskFails(t *testing.T) {
	kinds := map[string]func(op errorfs.Op) bool{
		"any write": func(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite },
		"log":       func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") },
		"table":     func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") },
		"manifest":  func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") },
		"marker":    func(op errorfs.Op) bool { return strings.Contains(op.Path, "marker") },
		"folder": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync && !strings.Contains(op.Path, ".")
		},
	}
	for what, matches := range kinds {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			// Each round lets some more operations succeed, until the load ends before the first that would fail.
			modes := []SyncMode{SyncAlways, SyncNever}
			failures := 0
			for ok := int64(0); ; ok += ok/2 + 1 {
				var n atomic.Int64
				failing := errorfs.InjectorFunc(func(op errorfs.Op) error {
					if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && matches(op) &&
						n.Add(1) > ok {
						return errorfs.ErrInjected
					}
					return nil
				})
				opened, failed := diskFailure(t, modes[ok%2], failing)
				if failed {
					failures++
				} else if opened {
					break
				}
			}
			if failures == 0 {
				t.Error("the disk never failed while the store was open")
			}
		})
	}
}

// diskFailure loads a store on a failing disk, and answers whether it could be opened, and whether it failed after
// that.
func diskFailure(t *testing.T, mode SyncMode, failing errorfs.Injector) (opened, failed bool) {
	t.Helper()
	c, sound, seen := newClock(), vfs.NewMem(), new(observed)
	o := Options{Path: "store", Sync: mode, Now: c.now, tune: small, fs: errorfs.Wrap(sound, failing), Observer: seen}
	var mu sync.Mutex
	acknowledged, total := map[int]int{}, 0
	if s, err := Open(o); err == nil {
		opened = true
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for w := range 8 {
			wg.Go(func() {
				err := crashWrite(ctx, s, c, w, 1, func(n int) {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[w] = n
					if total++; total == 400 {
						cancel()
					}
				})
				if !errors.Is(err, ErrFailed) && !errors.Is(err, context.Canceled) {
					t.Errorf("writer: %v", err)
				}
			})
		}
		wg.Wait()
		cancel()
		failed = s.Err() != nil
		if _, err := s.Get(t.Context(), key("acme", "k")); errors.Is(err, ErrFailed) != failed {
			t.Errorf("Get of a store that has failed (%t) = %v", failed, err)
		}
		if err := s.Close(); (err != nil) != (s.Err() != nil) {
			t.Errorf("Close = %v, Err = %v", err, s.Err())
		}
		if n := seen.failed.Load(); (n == 1) != (s.Err() != nil) {
			t.Errorf("the observer was told of %d failures, Err = %v", n, s.Err())
		}
	}
	o.fs = sound
	s := mustOpen(t, o)
	crashCheck(t, s, c, acknowledged)
	must(t, s.Close())
	return opened, failed
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(Options{Path: file}); err == nil || errors.Is(err, storage.ErrLocked) ||
		!strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file = %v", err)
	}
	for _, o := range []Options{{}, {Path: dir, Sync: "sometimes"}, {Path: dir, CacheBytes: -1}} {
		if s, err := Open(o); err == nil {
			s.Close()
			t.Errorf("Open(%+v) succeeded", o)
		}
	}
	_, err := ParseSyncMode("sometimes")
	if want := `sync mode "sometimes" (allowed: always, interval, never)`; err == nil || err.Error() != want {
		t.Errorf("ParseSyncMode = %v, want %s", err, want)
	}
}

// A damaged table is an error of those who read what is damaged, not the end of the process.
func TestDamagedTable(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	s := mustOpen(t, Options{Path: dir, Now: c.now, Sync: SyncNever})
	const n = 100
	for i := range n {
		data := make([]byte, 4<<10)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data) // nothing to compress
		must(t, s.Put(t.Context(), key("acme", name("k", i)), c.rec(string(data), time.Hour)))
	}
	must(t, s.db.Flush())
	must(t, s.Close())
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".sst") {
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
		}
		return err
	}))
	s = mustOpen(t, Options{Path: dir, Now: c.now})
	damaged := 0
	for i := range n {
		k := key("acme", name("k", i))
		_, err := s.Get(t.Context(), k)
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Get = %v, want storage.ErrCorrupt or none", err)
		}
		if err != nil {
			damaged++
		}
		must(t, s.Put(t.Context(), k, c.rec("new", time.Hour)))
		if rec, err := s.Get(t.Context(), k); err != nil || string(rec.Data) != "new" {
			t.Errorf("Get after Put = %q, %v", rec.Data, err)
		}
	}
	if damaged == 0 || damaged > n/2 {
		t.Errorf("%d of %d records are damaged", damaged, n)
	}
}

// The observer is told of each sync of the log.
func TestObserver(t *testing.T) {
	for mode, want := range map[SyncMode]bool{SyncAlways: true, SyncNever: false} {
		seen := new(observed)
		s := mustOpen(t, Options{Path: t.TempDir(), Sync: mode, Observer: seen})
		before := seen.synced.Load()
		must(t, s.Put(t.Context(), key("acme", "k"), storage.Record{Expires: time.Now().Add(time.Hour)}))
		if (seen.synced.Load() > before) != want {
			t.Errorf("%s: %d syncs", mode, seen.synced.Load()-before)
		}
	}
}
