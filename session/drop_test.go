package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/storagetest"
)

func TestDropTenant(t *testing.T) {
	play(t, func(f *fixture) {
		var ids []string
		for range 10 {
			ids = append(ids, f.saved("k", "v"))
		}
		burnt := f.saved("k", "v")
		f.ok(f.open(burnt, ReadWrite).Destroy(ctx))
		writer, reader, snapshot := f.open(ids[0], ReadWrite), f.open(ids[1], Read), f.open(ids[2], Snapshot)
		_, unsaved := f.new("k", "v")
		f.put(writer, "k", "w")
		waits, also := f.later(ids[0], ReadWrite, time.Minute), f.later(ids[0], Read, time.Minute)
		acme := f.tenant
		f.tenant = &Tenant{Name: "other", Settings: acme.Settings}
		theirs := f.saved("k", "theirs")
		open := f.open(theirs, ReadWrite)
		f.tenant = acme

		n, err := f.m.DropTenant(ctx, "acme")
		f.ok(err)
		f.equal("dropped", n, int64(10))
		f.equal("events", f.count(TenantDropped), 1)
		f.equal("locks lost", f.count(LockLost), 3)
		f.uses(0, 0)
		waits.refused(ErrNotFound)
		also.refused(ErrNotFound)
		for _, s := range []*Session{writer, reader, unsaved} {
			f.is(s.Close(ctx), ErrLockLost)
			f.is(s.Close(ctx), ErrClosed)
		}
		f.has(snapshot, "k", "v") // it is a copy
		f.ok(snapshot.Close(ctx))
		for _, id := range ids {
			f.refused(id, ErrNotFound, Update, Read, Snapshot)
		}
		f.uses(0, 0)

		// The tenant begins anew, also under ids that were burnt; others have noticed nothing.
		s := f.open(burnt, ReadWrite)
		f.put(s, "k", "new")
		f.ok(s.Close(ctx))
		f.holds(burnt, "k", "new")
		f.put(open, "k", "theirs still")
		f.ok(open.Close(ctx))
		f.tenant = &Tenant{Name: "other", Settings: acme.Settings}
		f.holds(theirs, "k", "theirs still")
		n, err = f.m.DropTenant(ctx, "nobody")
		f.ok(err)
		f.equal("dropped", n, int64(0))
	})
}

// Saves under way are over before anything is removed, and none comes after.
func TestDropTenantWaitsForSaves(t *testing.T) {
	for name, save := range map[string]func(*Session) error{
		"close":      func(s *Session) error { return s.Close(ctx) },
		"commit":     func(s *Session) error { return s.Commit(ctx) },
		"destroy":    func(s *Session) error { return s.Destroy(ctx) },
		"move":       func(s *Session) error { _, err := s.Regenerate(ctx, time.Minute); return err },
		"regenerate": func(s *Session) error { _, err := s.Regenerate(ctx, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(f *fixture) {
				id := f.saved("k", "v")
				s := f.open(id, ReadWrite)
				f.put(s, "k", "w")
				waits := f.later(id, ReadWrite, time.Hour)
				proceed := make(chan struct{})
				var dropping atomic.Bool
				f.store.Before(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
					switch op {
					case storagetest.OpPut, storagetest.OpPutAll:
						<-proceed
						if dropping.Load() {
							f.Error("something is written while the tenant is dropped")
						}
					case storagetest.OpDrop:
						dropping.Store(true)
						time.Sleep(time.Second)
						dropping.Store(false)
					}
					return nil
				})
				saved, dropped := make(chan error, 1), make(chan error, 1)
				go func() { saved <- save(s) }()
				synctest.Wait()
				go func() { _, err := f.m.DropTenant(ctx, "acme"); dropped <- err }()
				synctest.Wait()
				waits.refused(ErrNotFound)
				_, _, err := f.m.New(ctx, f.tenant, 0)
				f.is(err, ErrNotFound)
				_, err = f.try(unknown, ReadWrite, time.Hour)
				f.is(err, ErrNotFound)
				close(proceed)
				f.ok(<-saved) // it was there, and is dropped then
				f.ok(<-dropped)
				if !s.Ended() && name != "commit" {
					f.is(s.Put([]byte("k"), []byte("late")), ErrLockLost)
				}
				f.uses(0, 0)
				f.refused(id, ErrNotFound, Update, Read, Snapshot)
			})
		})
	}
}

// When the store fails, or nobody wants to wait any longer, the tenant is served again.
func TestDropTenantFails(t *testing.T) {
	play(t, func(f *fixture) {
		id := f.saved("k", "v")
		f.store.Fail(storagetest.OpDrop, errors.New("broken"))
		_, err := f.m.DropTenant(ctx, "acme")
		f.is(err, ErrStore)
		f.equal("events", f.count(TenantDropped), 0)
		f.store.Fail(storagetest.OpDrop, nil)
		s := f.open(id, ReadWrite)
		f.put(s, "k", "w")
		proceed := make(chan struct{})
		f.hook(func(op storagetest.Op) error {
			if op == storagetest.OpPut {
				<-proceed
			}
			return nil
		})
		closed := make(chan error)
		go func() { closed <- s.Close(ctx) }()
		synctest.Wait()
		gone, leave := context.WithTimeout(ctx, time.Second)
		defer leave()
		_, err = f.m.DropTenant(gone, "acme")
		f.is(err, context.DeadlineExceeded)
		close(proceed)
		f.ok(<-closed)
		f.holds(id, "k", "w")
		_, err = f.m.DropTenant(ctx, "acme")
		f.ok(err)
		f.refused(id, ErrNotFound, Update)
	})
}
