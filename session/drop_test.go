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
	testManager(t, func(f *fixture) {
		var ids []string
		for range 10 {
			ids = append(ids, f.saved("k", "v"))
		}
		destroyed := f.saved("k", "v")
		f.ok(f.open(destroyed, ReadWrite).Destroy(ctx))
		writer, reader, snapshot := f.open(ids[0], ReadWrite), f.open(ids[1], Read), f.open(ids[2], Snapshot)
		_, unsaved := f.new("k", "v")
		f.put(writer, "k", "w")
		waiter1, waiter2 := f.openAsync(ids[0], ReadWrite, time.Minute), f.openAsync(ids[0], Read, time.Minute)
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
		f.wantUsage(0, 0)
		waiter1.wantErr(ErrNotFound)
		waiter2.wantErr(ErrNotFound)
		for _, s := range []*Session{writer, reader, unsaved} {
			f.wantErr(s.Close(ctx), ErrLockLost)
			f.wantErr(s.Close(ctx), ErrClosed)
		}
		f.wantValues(snapshot, "k", "v") // it is a copy
		f.ok(snapshot.Close(ctx))
		for _, id := range ids {
			f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
		}
		f.wantUsage(0, 0)

		// The tenant starts empty, without tombstones. Other tenants are not affected.
		s := f.open(destroyed, ReadWrite)
		f.put(s, "k", "new")
		f.ok(s.Close(ctx))
		f.wantSaved(destroyed, "k", "new")
		f.put(open, "k", "theirs still")
		f.ok(open.Close(ctx))
		f.tenant = &Tenant{Name: "other", Settings: acme.Settings}
		f.wantSaved(theirs, "k", "theirs still")
		n, err = f.m.DropTenant(ctx, "absent")
		f.ok(err)
		f.equal("dropped", n, int64(0))
	})
}

// TestDropTenantWaitsForSaves: saves in progress end before anything is removed, and none follows.
func TestDropTenantWaitsForSaves(t *testing.T) {
	for name, save := range map[string]func(*Session) error{
		"close":      func(s *Session) error { return s.Close(ctx) },
		"commit":     func(s *Session) error { return s.Commit(ctx) },
		"destroy":    func(s *Session) error { return s.Destroy(ctx) },
		"move":       func(s *Session) error { _, err := s.Regenerate(ctx, time.Minute); return err },
		"regenerate": func(s *Session) error { _, err := s.Regenerate(ctx, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			testManager(t, func(f *fixture) {
				id := f.saved("k", "v")
				s := f.open(id, ReadWrite)
				f.put(s, "k", "w")
				waiter := f.openAsync(id, ReadWrite, time.Hour)
				proceed := make(chan struct{})
				var dropping atomic.Bool
				f.store.Before(func(_ context.Context, op storagetest.Op, _ storage.Key) error {
					switch op {
					case storagetest.OpPut, storagetest.OpPutAll:
						<-proceed
						if dropping.Load() {
							f.Error("write while the tenant is dropped")
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
				waiter.wantErr(ErrNotFound)
				_, _, err := f.m.New(ctx, f.tenant, 0)
				f.wantErr(err, ErrNotFound)
				_, err = f.try(unusedID, ReadWrite, time.Hour)
				f.wantErr(err, ErrNotFound)
				close(proceed)
				f.ok(<-saved) // the session was saved, and is dropped afterwards
				f.ok(<-dropped)
				if !s.Ended() && name != "commit" {
					f.wantErr(s.Put([]byte("k"), []byte("late")), ErrLockLost)
				}
				f.wantUsage(0, 0)
				f.wantRefused(id, ErrNotFound, Update, Read, Snapshot)
			})
		})
	}
}

// TestDropTenantFails: the tenant is served again after the store failed or the context ended.
func TestDropTenantFails(t *testing.T) {
	testManager(t, func(f *fixture) {
		id := f.saved("k", "v")
		f.store.Fail(storagetest.OpDrop, errors.New("broken"))
		_, err := f.m.DropTenant(ctx, "acme")
		f.wantErr(err, ErrStore)
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
		f.wantErr(err, context.DeadlineExceeded)
		close(proceed)
		f.ok(<-closed)
		f.wantSaved(id, "k", "w")
		_, err = f.m.DropTenant(ctx, "acme")
		f.ok(err)
		f.wantRefused(id, ErrNotFound, Update)
	})
}
