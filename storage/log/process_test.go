package log

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// proc is a process that uses a disk, and may be killed before any operation.
type proc struct {
	*disk
	dead atomic.Bool
	ops  atomic.Int64 // left until it is killed
}

type procFile struct {
	*handle
	p *proc
}

func (p *proc) alive() error {
	if p.dead.Load() {
		return errGone
	}
	if p.ops.Add(-1) == 0 {
		p.kill()
		return errGone
	}
	return nil
}

func (p *proc) kill() {
	p.dead.Store(true)
	p.disk.mu.Lock()
	p.disk.locked = false
	p.disk.mu.Unlock()
}

func (p *proc) Open(name string) (file, error) {
	f, err := p.disk.Open(name)
	if err != nil {
		return nil, err
	}
	return procFile{f.(*handle), p}, nil
}

func (p *proc) Create(name string) (file, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	f, err := p.disk.Create(name)
	if err != nil {
		return nil, err
	}
	return procFile{f.(*handle), p}, nil
}

func (p *proc) Rename(a, b string) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.disk.Rename(a, b)
}

func (p *proc) Remove(a string) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.disk.Remove(a)
}

func (p *proc) Sync() error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.disk.Sync()
}

func (p *proc) Close() error {
	if p.dead.Load() {
		return nil
	}
	return p.disk.Close()
}

func (f procFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.p.alive(); err != nil {
		return 0, err
	}
	return f.handle.WriteAt(b, off)
}

func (f procFile) Allocate(n int64) error {
	if err := f.p.alive(); err != nil {
		return err
	}
	return f.handle.Allocate(n)
}

func (f procFile) Truncate(n int64) error {
	if err := f.p.alive(); err != nil {
		return err
	}
	return f.handle.Truncate(n)
}

func (f procFile) Sync() error {
	if err := f.p.alive(); err != nil {
		return err
	}
	return f.handle.Sync()
}

// TestKillsAndPowerFailures lets processes be killed and the power fail, in any order, before any operation on one
// disk.
func TestKillsAndPowerFailures(t *testing.T) {
	for range 40 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		d := newDisk()
		const writers = 3
		histories := make([]history, writers)
		for w := range histories {
			histories[w] = history{map[storage.Key]int{}, map[storage.Key]int{}}
		}
		for generation := range 12 {
			p := &proc{disk: d}
			limit := int64(1 << 40)
			if r.IntN(3) > 0 {
				limit = int64(1 + r.IntN(300))
				if r.IntN(4) == 0 {
					limit = int64(1 + r.IntN(10)) // while it opens
				}
			}
			opening := limit <= 10
			p.ops.Store(1 << 40)
			if opening {
				p.ops.Store(limit)
			}
			o := diskOptions(t, d, SyncAlways)
			o.Logger = nil
			o.files = p
			o.layout.reopen = time.Hour
			s, err := Open(o)
			if err != nil {
				if !p.dead.Load() {
					t.Fatalf("seed %d generation %d: Open: %v", seed, generation, err)
				}
			} else {
				if !opening {
					for w := range histories {
						histories[w].check(t, s, w)
					}
				}
				if t.Failed() {
					t.Fatalf("seed %d, generation %d", seed, generation)
				}
				p.ops.Store(limit)
				var total atomic.Int64
				var wg sync.WaitGroup
				for w := range histories {
					if opening {
						break
					}
					wr := rand.New(rand.NewPCG(seed, uint64(generation*writers+w)))
					wg.Go(func() { histories[w].write(t.Context(), s, w, wr, &total) })
				}
				n := int64(r.IntN(200))
				if r.IntN(3) == 0 {
					n = int64(r.IntN(4))
				}
				for deadline := time.Now().Add(time.Minute); !opening && total.Load() < n && !p.dead.Load(); {
					time.Sleep(100 * time.Microsecond)
					if time.Now().After(deadline) {
						t.Fatalf("seed %d, generation %d: stuck", seed, generation)
					}
				}
				if r.IntN(2) == 0 {
					time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
				}
				p.kill()
				wg.Wait()
				_ = s.Close()
			}
			if r.IntN(2) == 0 {
				d = d.powerFailure(r)
			}
		}
	}
}
