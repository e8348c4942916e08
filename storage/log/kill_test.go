package log

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestKillBeforeSyncOfGroups is TestKillBeforeSync with groups of several writers.
func TestKillBeforeSyncOfGroups(t *testing.T) {
	refused, lost, kills := 0, 0, 0
	for seed := range uint64(10) {
		d := newDisk()
		o := diskOptions(t, d, SyncAlways)
		o.Logger = nil
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		snapshots := d.copyAtSyncs()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 5 {
					if err := s.Put(t.Context(), testKey("acme", "%d", w*5+i), versionRecord(0, w*5+i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for n, left := range snapshots() {
			kills++
			o.files = left
			if s, err = Open(o); err != nil {
				t.Fatal(err)
			}
			seen := map[int]bool{}
			for i := range 40 {
				_, err := getSafely(t, s, testKey("acme", "%d", i))
				seen[i] = err == nil // visible means durable
			}
			if err := s.Put(t.Context(), testKey("acme", "after"), versionRecord(0, 1)); err != nil {
				t.Fatal(err)
			}
			left2 := left.powerFailure(rand.New(rand.NewPCG(seed, uint64(n))))
			_ = s.Close()
			o.files = left2
			if s, err = Open(o); err != nil {
				refused++
				t.Logf("kill at sync %d: start refused: %v", n, err)
				continue
			}
			for i := range 40 {
				if _, err := getSafely(t, s, testKey("acme", "%d", i)); seen[i] && err != nil {
					lost++
					t.Logf("kill at sync %d: record %d was visible: %v", n, i, err)
				}
			}
			_ = s.Close()
		}
	}
	if refused+lost > 0 {
		t.Errorf("of %d kills: %d starts refused, %d visible records lost", kills, refused, lost)
	}
}

// TestLateLeader checks that a leader that was delayed before it wrote its group writes nothing after the store was
// opened again.
func TestLateLeader(t *testing.T) {
	d := newDisk()
	s := openDisk(t, d, SyncAlways)
	key := testKey("acme", "x")
	if err := s.Put(t.Context(), key, versionRecord(0, 1)); err != nil {
		t.Fatal(err)
	}
	e := s.engine
	l := &e.log
	l.mu.Lock()
	g := l.open()
	g.copies.Add(1) // the leader is delayed in writeGroup, before it locks writing
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), key, versionRecord(0, 2)) }()
	for {
		l.mu.Lock()
		closed := g.closed && g.bytes > 0
		l.mu.Unlock()
		if closed {
			break
		}
	}
	l.fail(errInjected) // as the sync of the cleaner or of the ticker does
	for {               // the store is opened again
		d.mu.Lock()
		ended := false
		for name, i := range d.names {
			if strings.HasSuffix(name, ".seg") && len(i.content)%tiny.page != 0 {
				ended = true // completed and shrunk
			}
		}
		d.mu.Unlock()
		if ended {
			break
		}
	}
	g.copies.Done()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	after := testKey("acme", "after")
	for s.Put(t.Context(), after, versionRecord(0, 3)) != nil {
	}
	got, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	left := d.kill()
	left.names = maps.Clone(left.names)
	_ = s.Close()
	for name := range left.names { // the table of keys is not written yet
		if strings.HasSuffix(name, ".keys") {
			delete(left.names, name)
		}
	}
	s, err = Open(diskOptions(t, left, SyncAlways))
	if err != nil {
		t.Fatalf("start refused: %v", err)
	}
	again, err := s.Get(t.Context(), key)
	if err != nil || !bytes.Equal(again.Data, got.Data) {
		t.Errorf("after the restart %.8q, %v", again.Data, err)
	}
	s.Close()
}
