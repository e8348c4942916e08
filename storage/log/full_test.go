package log

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"sessionserver/storage"
)

// TestFullDiskAtRandom fills small disks with records of all sizes, deletes some, and opens the store again on the full
// disk. Nothing acknowledged is lost. When every record is deleted, or has expired, there is room for others. With
// records that nearly fill pages, or if the process is killed while it cleans, the rest of the disk may be too small
// for the next segment to be cleaned: deletions may then fail until records expire.
func TestFullDiskAtRandom(t *testing.T) {
	seeds := []uint64{2040, 2051, 3067, 5138}
	for n := range uint64(30) {
		seeds = append(seeds, n)
	}
	for _, seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		kills := seed%3 == 0
		most := []int{50, 1000, 3000, 12000}[r.IntN(4)] // bytes of a record; a page has 4,096
		strict := !kills && most <= tiny.page/4
		d := newDisk()
		d.capacity = (100 + r.IntN(400)) << 10
		now := epoch
		open := func() *Store {
			t.Helper()
			o := diskOptions(t, d, SyncAlways)
			o.Now = func() time.Time { return now }
			s, err := Open(o)
			if err != nil {
				t.Fatalf("seed %d: Open: %v", seed, err)
			}
			return s
		}
		s := open()
		kept := map[int]storage.Record{}
		key := func(n int) storage.Key { return testKey("acme", "%d", n) }
		check := func() {
			t.Helper()
			for n, want := range kept {
				if got, err := s.Get(t.Context(), key(n)); err != nil || !bytes.Equal(got.Data, want.Data) {
					t.Fatalf("seed %d: Get(%d): %d bytes, %v; want %d bytes", seed, n, len(got.Data), err,
						len(want.Data))
				}
			}
		}
		eventually := func(what string, do func() error) {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				err := do()
				if err == nil {
					return
				}
				if !errors.Is(err, ErrFull) || time.Now().After(deadline) {
					t.Fatalf("seed %d: %s: %v", seed, what, err)
				}
			}
		}
		for range 4 {
			for full := 0; full < 5; {
				n := r.IntN(5000)
				rec := storage.Record{Data: bytes.Repeat([]byte{byte(n)}, r.IntN(most)), Expires: now.Add(time.Hour)}
				switch err := s.Put(t.Context(), key(n), rec); {
				case err == nil:
					kept[n] = rec
				case errors.Is(err, ErrFull):
					full++
				default:
					t.Fatalf("seed %d: Put: %v", seed, err)
				}
				if err := s.Touch(t.Context(), key(r.IntN(5000)), now.Add(90*time.Minute)); err != nil &&
					!errors.Is(err, storage.ErrNotFound) {
					t.Fatalf("seed %d: Touch: %v", seed, err)
				}
			}
			check()
			remaining := r.IntN(len(kept) + 1)
			for n := range kept {
				if len(kept) == remaining {
					break
				}
				if err := s.Delete(t.Context(), key(n)); !strict && errors.Is(err, ErrFull) {
					break
				}
				eventually("Delete", func() error { return s.Delete(t.Context(), key(n)) })
				delete(kept, n)
			}
			switch r.IntN(3) {
			case 0:
				if !kills {
					break
				}
				left := d.kill()
				left.capacity = d.capacity
				_ = s.Close() // its disk is gone
				d = left
				s = open()
			case 1:
				if err := s.Close(); err != nil {
					t.Fatalf("seed %d: Close: %v", seed, err)
				}
				s = open()
			}
			check()
		}
		if seed%2 == 0 && strict {
			for n := range kept {
				eventually("Delete", func() error { return s.Delete(t.Context(), key(n)) })
			}
		} else {
			now = now.Add(2 * time.Hour)
			for swept := (storage.Swept{More: true}); swept.More; {
				var err error
				if swept, err = s.Sweep(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range 50 {
			rec := storage.Record{Data: make([]byte, 500), Expires: now.Add(time.Hour)}
			eventually("Put when there is room", func() error { return s.Put(t.Context(), key(n), rec) })
		}
		if err := s.Close(); err != nil {
			t.Fatalf("seed %d: Close: %v", seed, err)
		}
	}
}
