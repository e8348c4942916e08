package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionserver/storage"
)

// TestClockSetBack checks that no live record is lost by a restart after a sweep whose clock was a day ahead.
func TestClockSetBack(t *testing.T) {
	d := newDisk()
	now := epoch.Add(24 * time.Hour)
	o := diskOptions(t, d, SyncAlways)
	o.Now = func() time.Time { return now }
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		sw, err := s.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		more = sw.More
	}
	now = epoch // the clock is corrected
	key := testKey("acme", "x")
	if err := s.Put(t.Context(), key, storage.Record{Data: []byte("v"), Expires: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(t.Context(), key); err != nil {
		t.Errorf("an acknowledged live record is lost by a clean restart: %v", err)
	}
}

// TestKillBeforeSync kills the process at each sync of a file, opens the store, and lets the power fail. Every record
// that was visible after the kill is still there.
func TestKillBeforeSync(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval} {
		d := newDisk()
		o := diskOptions(t, d, mode)
		o.Logger = nil
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		snapshots := d.copyAtSyncs()
		for i := range 12 {
			if err := s.Put(t.Context(), testKey("acme", "%d", i), versionRecord(0, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		refused, lost := 0, 0
		for n, left := range snapshots() {
			o.files = left
			if s, err = Open(o); err != nil {
				t.Fatal(err)
			}
			seen := map[int]bool{}
			for i := range 12 {
				_, err := s.Get(t.Context(), testKey("acme", "%d", i))
				seen[i] = err == nil // visible means durable
			}
			if err := s.Put(t.Context(), testKey("acme", "after"), versionRecord(0, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // many intervals
			left2 := left.powerFailure(rand.New(rand.NewPCG(uint64(n), 0)))
			_ = s.Close()
			o.files = left2
			if s, err = Open(o); err != nil {
				refused++
				t.Logf("%s, kill at sync %d: start refused: %v", mode, n, err)
				continue
			}
			for i := range 12 {
				if _, err := getSafely(t, s, testKey("acme", "%d", i)); seen[i] && err != nil {
					lost++
					t.Logf("%s, kill at sync %d: record %d was visible: %v", mode, n, i, err)
				}
			}
			_ = s.Close()
		}
		if refused+lost > 0 {
			t.Errorf("%s: of %d kills: %d starts refused, %d records lost", mode, len(snapshots()), refused, lost)
		}
	}
}

// TestAcceptLossGap checks that a store without one of its segments returns its other records with AcceptLoss.
func TestAcceptLossGap(t *testing.T) {
	d := newDisk()
	s := openDisk(t, d, SyncAlways)
	for i := range 60 {
		if err := s.Put(t.Context(), testKey("acme", "%d", i), versionRecord(0, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left := d.kill()
	var segs []string
	for n := range left.names {
		if strings.HasSuffix(n, ".seg") {
			segs = append(segs, n)
		}
	}
	if len(segs) < 4 {
		t.Fatal(segs)
	}
	slices.Sort(segs)
	second := segs[1]
	delete(left.names, second)
	delete(left.names, strings.TrimSuffix(second, ".seg")+".keys")
	o := diskOptions(t, left, SyncAlways)
	o.AcceptLoss = true
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	hung, found, missing := 0, 0, 0
	for i := range 60 {
		done := make(chan error, 1)
		go func() {
			rec, err := getSafely(t, s, testKey("acme", "%d", i))
			if err == nil && !bytes.Equal(rec.Data, versionRecord(0, i).Data) {
				err = errors.New("wrong")
			}
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				found++
			} else {
				missing++
				if !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("Get(%d): %v", i, err)
				}
			}
		case <-time.After(time.Minute):
			hung++
		}
		if hung > 1 {
			break
		}
	}
	if hung > 0 || found < 40 || missing == 0 {
		t.Errorf("of 60 records %d were found and %d not; %d calls of Get did not return", found, missing, hung)
	}
}

// TestTwoFailures checks that no acknowledged write is lost if opening the folder again fails as well.
func TestTwoFailures(t *testing.T) {
	for i := range 30 {
		second := []string{"rename", "sync", "create"}[i%3]
		d := newDisk()
		o := diskOptions(t, d, SyncInterval)
		o.Logger = nil
		o.SyncInterval = 3 * time.Millisecond
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		key := testKey("acme", "x")
		if err := s.Put(t.Context(), key, versionRecord(0, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		state := 0
		d.mu.Lock()
		d.fault = func(op, name string) error {
			if state == 0 && op == "syncfile" {
				state = 1
				return errInjected
			}
			if state == 1 && op == second {
				state = 2
				return errInjected
			}
			return nil
		}
		d.mu.Unlock()
		key2 := testKey("acme", "y")
		if err := s.Put(t.Context(), key2, versionRecord(0, 2)); err != nil {
			_ = s.Close()
			continue // the sync came first
		}
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if s.Put(t.Context(), testKey("acme", "after"), versionRecord(0, 0)) == nil {
				d.mu.Lock()
				st := state
				d.mu.Unlock()
				if st == 2 {
					break
				}
			}
		}
		if _, err := s.Get(t.Context(), key2); err != nil {
			t.Errorf("%s: an acknowledged write is lost without any crash: %v (state %d)", second, err, state)
		}
		_ = s.Close()
	}
}

// getSafely is Get with a panic as an error.
func getSafely(t *testing.T, s *Store, key storage.Key) (rec storage.Record, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.Get(t.Context(), key)
}

// TestShortSegment checks that a segment shorter than its table of keys is damage.
func TestShortSegment(t *testing.T) {
	left := smallStore(t, SyncAlways, 6, true)
	for name, n := range left.names {
		if strings.HasSuffix(name, ".seg") {
			n.content = n.content[:0]
		}
	}
	s, err := Open(diskOptions(t, left, SyncAlways))
	if err != nil {
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Error(err)
		}
		return
	}
	for i := range 6 {
		if _, err := getSafely(t, s, testKey("acme", "%d", i)); err == nil || strings.HasPrefix(err.Error(), "panic") {
			t.Errorf("Get: %v", err)
		}
	}
}

// TestMarkersAfterDrop checks that a tenant that had too many markers keeps later ones.
func TestMarkersAfterDrop(t *testing.T) {
	now := epoch
	o := diskOptions(t, newDisk(), SyncNever)
	o.Now = func() time.Time { return now }
	o.layout = defaultLayout
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sweep := func() {
		for more := true; more; {
			sw, err := s.Sweep(t.Context(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			more = sw.More
		}
	}
	for n := range markersMin + 2000 {
		now = now.Add(time.Second)
		if err := s.Put(t.Context(), testKey("acme", "%d", n),
			storage.Record{Expires: now.Add(24 * time.Hour), Marker: true}); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if _, err := s.DropTenant(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	key := testKey("acme", "new") // the only marker of the tenant; its lifetime was made shorter
	if err := s.Put(t.Context(), key, storage.Record{Expires: now.Add(time.Hour), Marker: true}); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := s.Get(t.Context(), key); err != nil {
		t.Errorf("the only marker of a tenant, live for another hour, is removed by a sweep: %v", err)
	}
}
