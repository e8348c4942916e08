package log

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// smallStore returns a disk with n records, as it is after a kill, or after Close.
func smallStore(t *testing.T, mode SyncMode, n int, closed bool) *disk {
	t.Helper()
	d := newDisk()
	s := openDisk(t, d, mode)
	for i := range n {
		if err := s.Put(t.Context(), testKey("acme", "%d", i), versionRecord(0, i)); err != nil {
			t.Fatal(err)
		}
	}
	if closed {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return d.kill()
	}
	left := d.kill()
	_ = s.Close() // its disk is gone
	return left
}

// newestSegment returns the name of the newest segment that has frames.
func newestSegment(d *disk) string {
	name := ""
	for n := range d.names {
		if strings.HasSuffix(n, ".seg") && n > name {
			name = n
		}
	}
	return name
}

// TestCutAnywhere checks that everything before a write is there, whatever part of the write a crash has left, and the
// last record is the complete one or absent.
func TestCutAnywhere(t *testing.T) {
	const n = 4
	whole := smallStore(t, SyncNever, n, false)
	name := newestSegment(whole)
	content := whole.names[name].content
	seg := &segment{number: 1<<32 - 10, file: &handle{disk: whole, inode: whole.names[name]}, size: len(content),
		unit: tiny.page}
	sc := &scanner{segment: seg, seal: newSeal(whole.names[formatName].content)}
	var last, end int
	for {
		f, _, offset, err := sc.next()
		if err != nil {
			break
		}
		if f.kind == kindRecord {
			last, end = offset, offset+f.length
		}
	}
	if end == 0 {
		t.Fatal("no frame was found")
	}
	for _, rest := range []byte{0, 0xff} {
		for cut := last; cut < end; cut++ {
			d := whole.kill()
			c := d.names[name].content
			for i := cut; i < len(c); i++ {
				c[i] = rest
			}
			s := openDisk(t, d, SyncNever)
			for i := range n - 1 {
				if rec, err := s.Get(t.Context(), testKey("acme", "%d", i)); err != nil ||
					!bytes.Equal(rec.Data, versionRecord(0, i).Data) {
					t.Fatalf("cut at %d: record %d: %v", cut-last, i, err)
				}
			}
			rec, err := s.Get(t.Context(), testKey("acme", "%d", n-1))
			if err == nil && !bytes.Equal(rec.Data, versionRecord(0, n-1).Data) || err != nil &&
				!errors.Is(err, storage.ErrNotFound) {
				t.Fatalf("cut at %d: the last record: %.40q, %v", cut-last, rec.Data, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFlippedBits checks that, with a flipped bit anywhere in a store, opening fails, or each record is the right one
// or storage.ErrCorrupt. No acknowledged record is silently absent, and no other content appears.
func TestFlippedBits(t *testing.T) {
	const n = 6
	for _, closed := range []bool{true, false} {
		whole := smallStore(t, SyncAlways, n, closed)
		if !closed { // what was synced is known to a later frame, but for the last group
			s := openDisk(t, whole, SyncAlways)
			deadline := time.Now().Add(time.Minute)
			for !s.quiet() && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if err := s.Put(t.Context(), testKey("acme", "%d", 0), versionRecord(0, 0)); err != nil {
				t.Fatal(err)
			}
			for !s.quiet() && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			left := whole.kill()
			_ = s.Close() // its disk is gone
			whole = left
		}
		opened, refused, corrupt := 0, 0, 0
		for name, node := range whole.names {
			step := 1
			if len(node.content) > 4<<10 {
				step = 7 // it meets every byte of a head in some frame
			}
			for i := 0; i < len(node.content); i += step {
				if strings.HasSuffix(name, spareSuffix) && i > 100 {
					break
				}
				d := whole.kill()
				d.names[name].content[i] ^= 1 << (i % 8)
				o := diskOptions(t, d, SyncAlways)
				o.Logger = nil
				s, err := Open(o)
				if err != nil {
					refused++
					continue
				}
				opened++
				for k := range n {
					rec, err := s.Get(t.Context(), testKey("acme", "%d", k))
					switch {
					case errors.Is(err, storage.ErrCorrupt):
						corrupt++
					case err != nil:
						t.Fatalf("closed %t: bit in %s at %d: record %d: %v", closed, name, i, k, err)
					case !bytes.Equal(rec.Data, versionRecord(0, k).Data):
						t.Fatalf("closed %t: bit in %s at %d: record %d is another: %.40q", closed, name, i, k,
							rec.Data)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if opened == 0 || refused == 0 || corrupt == 0 {
			t.Errorf("closed %t: %d opened, %d refused, %d corrupt records; want some of each", closed, opened,
				refused, corrupt)
		}
	}
}

// quiet reports whether everything durable is known to be so by the newest frame.
func (s *Store) quiet() bool {
	l := &s.engine.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.page == nil || !l.unmarked() && len(l.groups) == 0
}

var errInjected = errors.New("injected")

// TestFaults checks that, whichever operation on a file fails, once, every acknowledged write is there, the store
// reports that it has failed if it refuses writes, and it works again without help.
func TestFaults(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			for n := int64(1); ; n++ {
				if !faultAt(t, mode, n) {
					if n < 20 {
						t.Errorf("only %d operations were tried", n)
					}
					return
				}
				if t.Failed() {
					t.Fatalf("with a failure of operation %d", n)
				}
			}
		})
	}
}

// faultAt makes the nth operation fail, and reports whether there was one.
func faultAt(t *testing.T, mode SyncMode, n int64) bool {
	d := newDisk()
	o := diskOptions(t, d, mode)
	o.Logger = nil
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	d.mu.Lock()
	d.fault = func(op, name string) error {
		if calls.Add(1) == n {
			return fmt.Errorf("%w: %s %s", errInjected, op, name)
		}
		return nil
	}
	d.mu.Unlock()
	r := rand.New(rand.NewPCG(uint64(n), 0))
	acknowledged, started := map[int]int{}, map[int]int{}
	for i := range 60 {
		k := r.IntN(10)
		started[k] = i
		if err := s.Put(t.Context(), testKey("acme", "%d", k), versionRecord(k, i)); err == nil {
			acknowledged[k] = i
		} else if !errors.Is(err, ErrFailed) && !errors.Is(err, ErrFull) {
			t.Errorf("Put: %v", err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for k := 0; ; k++ { // it works again
		err := s.Put(t.Context(), testKey("acme", "after"), versionRecord(0, 0))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the store does not work again: %v", err)
			break
		}
		time.Sleep(time.Millisecond)
	}
	check := func(s *Store, when string) {
		t.Helper()
		for k, a := range acknowledged {
			rec, err := s.Get(t.Context(), testKey("acme", "%d", k))
			if err != nil {
				t.Errorf("%s: key %d: %v", when, k, err)
				continue
			}
			var who, found int
			if _, err := fmt.Sscanf(string(rec.Data), "%d/%d ", &who, &found); err != nil || who != k || found < a ||
				found > started[k] {
				t.Errorf("%s: key %d has version %d, acknowledged %d, started %d", when, k, found, a, started[k])
			}
		}
	}
	check(s, "after the failure")
	left := d.kill()
	_ = s.Close() // its disk is gone
	o.files = left
	s, err = Open(o)
	if err != nil {
		t.Errorf("open again: %v", err)
		return true
	}
	check(s, "after a kill")
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return calls.Load() >= n
}
