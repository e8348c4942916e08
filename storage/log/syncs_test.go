package log

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/storage"
)

// syncOnce is a disk whose files report a failed writeback as Linux does: once for each open file. Of two calls of
// fdatasync at the same time, one returns the error and the other none.
type syncOnce struct {
	*disk
	armed   atomic.Bool
	arrived atomic.Int32
	both    chan struct{}
	first   chan struct{}
}

type syncOnceFile struct {
	*handle
	d *syncOnce
}

func (d *syncOnce) Open(name string) (file, error) {
	f, err := d.disk.Open(name)
	if err != nil {
		return nil, err
	}
	return syncOnceFile{f.(*handle), d}, nil
}

func (d *syncOnce) Create(name string) (file, error) {
	f, err := d.disk.Create(name)
	if err != nil {
		return nil, err
	}
	return syncOnceFile{f.(*handle), d}, nil
}

// sync writes what is dirty. Linux takes it for clean afterwards, written or not.
func (f syncOnceFile) sync(written bool) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	i := f.inode
	if more := len(i.content) - len(i.durable); more > 0 {
		i.durable = append(i.durable, make([]byte, more)...)
	}
	for s := range i.dirty {
		if from, to := s*sector, min((s+1)*sector, len(i.content)); written && from < to {
			copy(i.durable[from:to], i.content[from:to])
		}
	}
	i.dirty = map[int]bool{}
	return nil
}

func (f syncOnceFile) Sync() error {
	if !f.d.armed.Load() {
		return f.sync(true)
	}
	switch f.d.arrived.Add(1) {
	case 1: // the leader: its pages were not written, but the other call reports that
		select {
		case <-f.d.both:
			return nil
		case <-time.After(100 * time.Millisecond):
			f.d.armed.Store(false)
			_ = f.sync(false)
			return errInjected // alone, it gets the error
		}
	case 2: // the cleaner
		f.d.armed.Store(false)
		_ = f.sync(false)
		close(f.d.both)
		<-f.d.first
		return errInjected
	}
	return f.sync(true)
}

// TestTwoSyncs checks that no write is acknowledged if the leader and the cleaner sync the same file at the same time,
// and the disk fails.
func TestTwoSyncs(t *testing.T) {
	d := &syncOnce{disk: newDisk(), both: make(chan struct{}), first: make(chan struct{})}
	o := diskOptions(t, d.disk, SyncAlways)
	o.files = d
	o.layout.segmentMin = 32 << 10
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), testKey("acme", "a"), versionRecord(0, 1)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	d.armed.Store(true)
	l := &s.engine.log
	key := testKey("acme", "x")
	done := make(chan error, 1)
	rec := storage.Record{Data: bytes.Repeat([]byte("x"), 10<<10), Expires: epoch.Add(time.Hour)}
	go func() { done <- s.Put(t.Context(), key, rec) }()
	for d.arrived.Load() == 0 {
	}
	cleaner := make(chan error, 1)
	go func() { // as settleAll does
		err := l.sync((*l.segments.Load())[len(*l.segments.Load())-1])
		if err != nil {
			l.fail(err)
		}
		cleaner <- err
	}()
	err = <-done
	close(d.first)
	if <-cleaner; err != nil {
		_ = s.Close()
		return
	}
	for s.Put(t.Context(), testKey("acme", "b"), versionRecord(0, 1)) != nil {
	}
	for seed := range uint64(20) {
		d.gone = false
		left := d.powerFailure(rand.New(rand.NewPCG(seed, 0)))
		o.files = left
		s, err := Open(o)
		if err != nil {
			t.Errorf("start: %v", err)
			continue
		}
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("a write acknowledged in always is lost: %v", err)
		}
		_ = s.Close()
	}
}
