package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// hold makes writes of files wait until the returned function is called.
func (d *disk) hold(ops ...string) (release func()) {
	ch := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = func(op, _ string) error {
		for _, o := range ops {
			if o == op {
				d.mu.Unlock()
				<-ch
				d.mu.Lock()
			}
		}
		return nil
	}
	return sync.OnceFunc(func() { close(ch) })
}

// TestVisibleMeansDurable checks that no reader is shown a record, its deletion or the drop of its tenant before it is
// durable. Until then a reader waits, with its context; afterwards it is shown exactly that.
func TestVisibleMeansDurable(t *testing.T) {
	key, ctx := testKey("acme", "one"), t.Context()
	first, second := versionRecord(1, 1), versionRecord(1, 2)
	for name, c := range map[string]struct {
		change func(s *Store) error
		want   error
		data   []byte
	}{
		"record":   {func(s *Store) error { return s.Put(ctx, key, second) }, nil, second.Data},
		"deletion": {func(s *Store) error { return s.Delete(ctx, key) }, storage.ErrNotFound, nil},
		"drop": {func(s *Store) error {
			_, err := s.DropTenant(ctx, "acme")
			return err
		}, storage.ErrNotFound, nil},
		"batch": {func(s *Store) error {
			return s.PutAll(ctx, []storage.Entry{{Key: testKey("acme", "two"), Record: first},
				{Key: key, Record: second}})
		}, nil, second.Data},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			s := openDisk(t, d, SyncAlways)
			defer s.Close()
			if err := s.Put(ctx, key, first); err != nil {
				t.Fatal(err)
			}
			release := d.hold("syncfile")
			defer release()
			done := make(chan error, 1)
			go func() { done <- c.change(s) }()
			for {
				s.engine.log.mu.Lock()
				n := len(s.engine.log.groups)
				s.engine.log.mu.Unlock()
				if n > 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			if rec, err := s.Get(short, key); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get before it is durable: %.20q, %v; want it to wait", rec.Data, err)
			}
			got := make(chan error, 1)
			go func() {
				rec, err := s.Get(ctx, key)
				if err == nil && !bytes.Equal(rec.Data, c.data) {
					err = fmt.Errorf("data = %.20q", rec.Data)
				}
				got <- err
			}()
			release()
			if err := <-done; err != nil {
				t.Errorf("the change: %v", err)
			}
			if err := <-got; !errors.Is(err, c.want) {
				t.Errorf("Get afterwards: %v, want %v", err, c.want)
			}
		})
	}
}

// TestLargeValuesInSmallMemory writes many large records at once, with a tail of the log that holds two of them.
func TestLargeValuesInSmallMemory(t *testing.T) {
	o := diskOptions(t, newDisk(), SyncInterval)
	o.layout.page, o.layout.segmentMin, o.layout.segmentMax, o.layout.group = 64<<10, 128<<10, 512<<10, 64<<10
	o.MemoryBytes = 1
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const writers, size = 64, 100 << 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rec := storage.Record{Data: bytes.Repeat([]byte{byte(w)}, size), Expires: epoch.Add(time.Hour)}
			for range 3 {
				key := testKey("acme", "%d", w%48)
				if err := s.Put(t.Context(), key, rec); err != nil {
					t.Errorf("Put: %v", err)
				}
				got, err := s.Get(t.Context(), key)
				if err != nil || len(got.Data) != size || !bytes.Equal(got.Data, bytes.Repeat(got.Data[:1], size)) {
					t.Errorf("Get: %d bytes, %v", len(got.Data), err)
				}
			}
		})
	}
	wg.Wait()
}

// TestReadersVersusCleaning checks that readers get complete records while their segments are cleaned and their files
// used again.
func TestReadersVersusCleaning(t *testing.T) {
	s := openDisk(t, newDisk(), SyncNever)
	defer s.Close()
	const keys = 20
	for k := range keys {
		if err := s.Put(t.Context(), testKey("acme", "%d", k), versionRecord(k, 0)); err != nil {
			t.Fatal(err)
		}
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !done.Load() {
				k := rand.IntN(keys)
				rec, err := s.Get(t.Context(), testKey("acme", "%d", k))
				var who, n int
				if err == nil {
					_, err = fmt.Sscanf(string(rec.Data), "%d/%d ", &who, &n)
				}
				if err != nil || who != k || !bytes.Equal(rec.Data, versionRecord(k, n).Data) {
					t.Errorf("Get(%d): %.20q, %v", k, rec.Data, err)
					return
				}
			}
		})
	}
	first := (*s.engine.log.segments.Load())[0].number
	for n := 1; n < 2000 || (*s.engine.log.segments.Load())[0].number < first+20; n++ {
		k := rand.IntN(keys / 2) // the other half is copied by the cleaner
		if err := s.Put(t.Context(), testKey("acme", "%d", k), versionRecord(k, n)); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	wg.Wait()
	l := &s.engine.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total > max(2*l.live, l.live+6*int64(tiny.segmentMax)) {
		t.Errorf("the log has %d bytes for %d that live", l.total, l.live)
	}
}

// TestExpiredTombstoneStays checks that a tombstone that has expired still replaces the record before it when the
// folder is opened again, also if that record expires later.
func TestExpiredTombstoneStays(t *testing.T) {
	d := newDisk()
	now := epoch
	o := diskOptions(t, d, SyncAlways)
	o.Now = func() time.Time { return now }
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	key := testKey("acme", "one")
	if err := s.Put(t.Context(), key, storage.Record{Data: []byte("x"), Expires: epoch.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), key, storage.Record{Expires: epoch.Add(time.Minute), Marker: true}); err != nil {
		t.Fatal(err)
	}
	now = epoch.Add(2 * time.Minute)
	for range 3 {
		o.files = d.kill()
		d = o.files.(*disk)
		_ = s.Close() // its disk is gone
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		if rec, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get: %q, %v; want storage.ErrNotFound", rec.Data, err)
		}
	}
	_ = s.Close()
}

// TestFullDisk checks that records are refused on a full disk, while reads and deletions succeed; with room again all
// works, without opening the store again. Acknowledged records stay.
func TestFullDisk(t *testing.T) {
	d := newDisk()
	d.capacity = 400 << 10
	s := openDisk(t, d, SyncAlways)
	kept := map[int]bool{}
	full := 0
	for n := 0; full < 20; n++ {
		err := s.Put(t.Context(), testKey("acme", "%d", n), versionRecord(1, n))
		switch {
		case err == nil:
			kept[n] = true
		case errors.Is(err, ErrFull):
			full++
		default:
			t.Fatalf("Put: %v", err)
		}
		if n > 10_000 {
			t.Fatal("the disk is never full")
		}
	}
	check := func() {
		t.Helper()
		for n := range kept {
			if rec, err := s.Get(t.Context(), testKey("acme", "%d", n)); err != nil ||
				!bytes.Equal(rec.Data, versionRecord(1, n).Data) {
				t.Fatalf("Get(%d): %v", n, err)
			}
		}
	}
	check()
	for n := range kept { // deletions make room
		// In these tiny segments the room for deletions is for some dozens, until the cleaner has made more.
		deadline := time.Now().Add(time.Minute)
		for err := errors.New(""); err != nil; {
			if err = s.Delete(t.Context(), testKey("acme", "%d", n)); err != nil && time.Now().After(deadline) {
				t.Fatalf("Delete on a full disk: %v", err)
			}
		}
		delete(kept, n)
		if len(kept) < 20 {
			break
		}
	}
	again := func(n int) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			err := s.Put(t.Context(), testKey("acme", "%d", n), versionRecord(1, n))
			if err == nil {
				kept[n] = true
				return
			}
			if !errors.Is(err, ErrFull) || time.Now().After(deadline) {
				t.Fatalf("Put when there is room: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	for n := range 30 {
		again(20_000 + n)
	}
	check()
	left := d.kill() // it has no bound
	_ = s.Close()    // its disk is gone
	left.capacity = left.size()
	s = openDisk(t, left, SyncAlways) // a start on a full disk
	check()
	left.mu.Lock()
	left.capacity = 0
	left.mu.Unlock()
	for n := range 200 {
		again(30_000 + n)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDropIsOneFrame checks that a drop of a tenant is complete at once, also after a kill.
func TestDropIsOneFrame(t *testing.T) {
	d := newDisk()
	s := openDisk(t, d, SyncAlways)
	for n := range 500 {
		if err := s.Put(t.Context(), testKey("acme", "%d", n), versionRecord(1, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), testKey("other", "1"), versionRecord(1, 1)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.DropTenant(t.Context(), "acme"); n != 500 || err != nil {
		t.Fatalf("DropTenant = %d, %v", n, err)
	}
	if err := s.Put(t.Context(), testKey("acme", "1"), versionRecord(1, 1)); err != nil {
		t.Fatal(err)
	}
	left := d.kill()
	_ = s.Close() // its disk is gone
	s = openDisk(t, left, SyncAlways)
	defer s.Close()
	if u, err := s.Usage(t.Context(),
		"acme"); u != (storage.Usage{Records: 1, Bytes: int64(len(versionRecord(1, 1).Data))}) || err != nil {
		t.Errorf("Usage = %+v, %v", u, err)
	}
	if _, err := s.Get(t.Context(), testKey("other", "1")); err != nil {
		t.Error(err)
	}
}

// TestIndexLimit checks that beyond MaxIndexBytes no record is added, while others may be replaced.
func TestIndexLimit(t *testing.T) {
	o := diskOptions(t, newDisk(), SyncNever)
	o.MaxIndexBytes = 100 * 32 * slotBytes // about 100 shards
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var refused, first int
	for n := range 2000 {
		err := s.Put(t.Context(), testKey("acme", "%d", n), versionRecord(0, n%7))
		if errors.Is(err, ErrFull) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		} else {
			first = n
		}
	}
	if refused == 0 {
		t.Error("no record was refused")
	}
	if err := s.Put(t.Context(), testKey("acme", "%d", first), versionRecord(0, 1)); err != nil {
		t.Errorf("replacing a record: %v", err)
	}
}

// TestMarkersAreBounded checks that a tenant with many more markers than records keeps the newest of them.
func TestMarkersAreBounded(t *testing.T) {
	now := epoch
	o := diskOptions(t, newDisk(), SyncNever)
	o.Now = func() time.Time { return now }
	o.layout = defaultLayout
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const records, markers = 1000, markersMin + markersPerRecord*1000 + 5000
	put := func(tenant string, n int, marker bool) {
		t.Helper()
		rec := storage.Record{Expires: now.Add(24 * time.Hour), Marker: marker}
		if err := s.Put(t.Context(), testKey(tenant, "%d", n), rec); err != nil {
			t.Fatal(err)
		}
	}
	for n := range records {
		put("acme", n, false)
		put("other", n, true)
	}
	for n := range markers {
		now = now.Add(time.Second)
		put("acme", records+n, true)
	}
	for swept := (storage.Swept{More: true}); swept.More; {
		if swept, err = s.Sweep(t.Context(), 1000); err != nil || len(swept.Removed) > 0 {
			t.Fatalf("Sweep: %d records, %v", len(swept.Removed), err)
		}
	}
	exists := func(tenant string, n int) bool {
		_, err := s.Get(t.Context(), testKey(tenant, "%d", n))
		return err == nil
	}
	left := 0
	for n := range markers {
		if exists("acme", records+n) {
			left++
		} else if left > 0 {
			t.Fatalf("marker %d is gone, and an older one is not", n)
		}
	}
	if limit := markersMin + markersPerRecord*records; left > limit || left < limit/2 {
		t.Errorf("%d markers are left, want at most %d", left, limit)
	}
	if got := s.Stats().Markers; got != int64(markers-left) {
		t.Errorf("Stats().Markers = %d, want %d", got, markers-left)
	}
	for n := range records {
		if !exists("acme", n) || !exists("other", n) {
			t.Fatalf("record or marker %d of a tenant within its bound is gone", n)
		}
	}
}
