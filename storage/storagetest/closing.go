package storagetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/storage"
)

// testOptional checks that the store implements the optional interfaces that its harness does not exclude, and returns
// errors.ErrUnsupported for the others.
func testOptional(f *fixture) {
	for _, i := range []struct {
		name     string
		excluded bool
		call     func() error
	}{
		{"Batcher", f.h.NoBatch, func() error {
			if b, ok := f.store.(storage.Batcher); ok {
				return b.PutAll(f.ctx, []storage.Entry{{Key: key("acme", "one"), Record: f.rec("x", time.Minute)}})
			}
			return errors.ErrUnsupported
		}},
		{"Sweeper", f.h.NoSweep, func() error { _, err := storage.Sweep(f.ctx, f.store, 1); return err }},
		{"Backlogger", f.h.NoSweep, func() error { _, err := storage.Backlog(f.ctx, f.store); return err }},
		{"Meter", f.h.NoUsage, func() error { _, err := storage.UsageOf(f.ctx, f.store, "acme"); return err }},
		{"Dropper", f.h.NoDrop, func() error { _, err := storage.DropTenant(f.ctx, f.store, "acme"); return err }},
	} {
		if err := i.call(); i.excluded && !errors.Is(err, errors.ErrUnsupported) {
			f.Errorf("%s: error = %v, want errors.ErrUnsupported as the harness excludes it", i.name, err)
		} else if !i.excluded && err != nil {
			f.Errorf("%s: %v", i.name, err)
		}
	}
}

// operations returns all operations of the store, including those of its optional interfaces.
func (f *fixture) operations(ctx context.Context) map[string]func() error {
	k := key("acme", "one")
	ops := map[string]func() error{
		"Get": func() error {
			_, err := f.store.Get(ctx, k)
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			return err
		},
		"Put": func() error { return f.store.Put(ctx, k, f.rec("x", time.Hour)) },
		"Touch": func() error {
			err := f.store.Touch(ctx, k, f.in(2*time.Hour))
			if errors.Is(err, storage.ErrNotFound) {
				return nil
			}
			return err
		},
		"Delete": func() error { return f.store.Delete(ctx, k) },
		"PutAll": func() error {
			return storage.PutAll(ctx, f.store, []storage.Entry{{Key: k, Record: f.rec("x", time.Hour)}})
		},
	}
	if !f.h.NoSweep {
		ops["Sweep"] = func() error { _, err := storage.Sweep(ctx, f.store, 10); return err }
	}
	if !f.h.NoUsage {
		ops["Usage"] = func() error { _, err := storage.UsageOf(ctx, f.store, "acme"); return err }
	}
	if !f.h.NoDrop {
		ops["DropTenant"] = func() error { _, err := storage.DropTenant(ctx, f.store, "other"); return err }
	}
	return ops
}

// testClose checks that after Close every method returns ErrClosed, and a second Close is harmless.
func testClose(f *fixture) {
	f.put(key("acme", "one"), f.rec("kept", time.Hour))
	f.want(key("acme", "one"), f.rec("kept", time.Hour)) // fills a cache
	for range 2 {
		if err := f.store.Close(); err != nil {
			f.Errorf("Close: %v", err)
		}
		for name, op := range f.operations(f.ctx) {
			if err := op(); !errors.Is(err, storage.ErrClosed) {
				f.Errorf("%s after Close: error = %v, want storage.ErrClosed", name, err)
			}
		}
		if !f.h.NoBatch {
			if err := storage.PutAll(f.ctx, f.store, nil); !errors.Is(err, storage.ErrClosed) {
				f.Errorf("PutAll without entries after Close: error = %v, want storage.ErrClosed", err)
			}
		}
	}
	if f.h.Durable {
		f.open()
		f.want(key("acme", "one"), f.rec("kept", time.Hour))
	}
}

// testCloseConcurrent checks that each operation in progress during Close ends as if it came before or after Close.
func testCloseConcurrent(f *fixture) {
	var closed atomic.Bool
	var acknowledged atomic.Int64
	var wg sync.WaitGroup
	k := key("acme", "versions")
	f.put(k, f.version(0))
	wg.Go(func() {
		for v := int64(1); ; v++ {
			late := closed.Load()
			err := f.store.Put(f.ctx, k, f.version(v))
			switch {
			case errors.Is(err, storage.ErrClosed):
				return
			case err != nil:
				f.Errorf("Put while closing: %v", err)
				return
			case late:
				f.Error("Put after Close returned nil, want storage.ErrClosed")
				return
			}
			acknowledged.Store(v)
		}
	})
	for name, op := range f.operations(f.ctx) {
		wg.Go(func() {
			for {
				late := closed.Load()
				err := op()
				switch {
				case errors.Is(err, storage.ErrClosed):
					return
				case err != nil:
					f.Errorf("%s while closing: %v", name, err)
					return
				case late:
					f.Errorf("%s after Close returned nil, want storage.ErrClosed", name)
					return
				}
			}
		})
	}
	for acknowledged.Load() < 20 && !f.Failed() { // until all goroutines run
		if _, err := f.store.Get(f.ctx, k); err != nil {
			f.Errorf("Get: %v", err)
		}
	}
	for range 2 { // two at once
		wg.Go(func() {
			if err := f.store.Close(); err != nil {
				f.Errorf("Close: %v", err)
			}
			closed.Store(true)
		})
	}
	wg.Wait()
	if f.h.Durable {
		f.open()
		if v := f.readVersion(k); v != acknowledged.Load() {
			f.Errorf("version after reopening = %d, want the acknowledged %d", v, acknowledged.Load())
		}
	}
}

// testReopen checks that closing and opening again changes nothing.
func testReopen(f *fixture) {
	if !f.h.Durable {
		return
	}
	want := map[storage.Key]storage.Record{
		key("acme", "empty"):  f.rec("", time.Hour),
		key("acme", "small"):  f.rec("small", time.Hour),
		key("acme", "large"):  f.rec(string(make([]byte, 300_000)), time.Hour),
		key("acme", "marker"): {Data: []byte("m"), Expires: f.in(time.Hour), Marker: true},
		key("other", "small"): f.rec("other", time.Hour),
	}
	for k, r := range want {
		f.put(k, r)
	}
	f.put(key("acme", "deleted"), f.rec("deleted", time.Hour))
	f.delete(key("acme", "deleted"))
	for range 3 {
		f.reopen()
		for k, r := range want {
			f.want(k, r)
		}
		f.wantNone(key("acme", "deleted"))
		f.wantUsage("acme", 3, 5+300_000)
		f.wantUsage("other", 1, 5)
	}
}

// testExclusive checks that a folder is open in one store at a time.
func testExclusive(f *fixture) {
	if !f.h.Exclusive {
		return
	}
	if s, err := f.h.Open(f, f.dir, f.now); err == nil {
		s.Close()
		f.Fatal("a folder in use was opened a second time")
	} else if !errors.Is(err, storage.ErrLocked) {
		f.Fatalf("opening a folder in use: error = %v, want storage.ErrLocked", err)
	}
	f.put(key("acme", "one"), f.rec("x", time.Hour)) // the first store still works
	f.reopen()                                       // Close releases the folder
	f.want(key("acme", "one"), f.rec("x", time.Hour))
}
