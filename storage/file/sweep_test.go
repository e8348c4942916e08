package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sessionserver/storage"
)

// TestSweepQueue checks that the queue holds exactly the records that have a file, also after reopening. One round of
// sweeping is enough to find that none has expired.
func TestSweepQueue(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range 100 {
		k, rec := storage.Key{Tenant: "acme", ID: storage.ID{byte(i), 1}}, record("x")
		rec.Marker = i%10 == 0
		for range 2 {
			if err := s.Put(t.Context(), k, rec); err != nil {
				t.Fatal(err)
			}
		}
		if i%4 == 0 {
			if err := s.Delete(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if swept, err := s.Sweep(t.Context(), 1); err != nil || len(swept.Removed) > 0 || swept.More {
			t.Errorf("Sweep of live records = %+v, %v", swept, err)
		}
		if n := s.queue.len(); n != 75 || len(s.queue.byKey) != n {
			t.Errorf("the queue has %d records and %d keys, want 75", n, len(s.queue.byKey))
		}
		s.Close()
		s = openStore(t, dir)
	}
	s.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if swept, err := s.Sweep(t.Context(), 1000); err != nil || len(swept.Removed) != 70 || swept.More {
		t.Errorf("Sweep = %+v, %v; want 70 records", swept, err)
	}
	if n := s.queue.len(); n != 0 || len(s.queue.byKey) != 0 {
		t.Errorf("the queue has %d records and %d keys, want none", n, len(s.queue.byKey))
	}
}

// TestSweepError checks that a record that cannot be removed is tried again later, and does not block the sweep of
// others.
func TestSweepError(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	first, second := storage.Key{Tenant: "acme", ID: storage.ID{1}}, storage.Key{Tenant: "acme", ID: storage.ID{2}}
	sooner := record("x")
	sooner.Expires = sooner.Expires.Add(-time.Minute)
	if err := errors.Join(s.Put(t.Context(), first, sooner), s.Put(t.Context(), second, record("x"))); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, subFolder(s.tenants.find("acme").folder, 1))
	if err := errors.Join(os.Rename(folder, folder+".aside"), os.WriteFile(folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(2 * time.Hour)
	s.now = func() time.Time { return later }
	want := func(keys ...storage.Key) {
		t.Helper()
		swept, err := s.Sweep(t.Context(), 10)
		if err != nil || len(swept.Removed) != len(keys) || len(keys) > 0 && swept.Removed[0] != keys[0] {
			t.Errorf("Sweep = %+v, %v; want %v", swept, err, keys)
		}
	}
	if swept, err := s.Sweep(t.Context(), 10); err == nil {
		t.Errorf("Sweep of an unreadable record = %+v, want an error", swept)
	}
	want(second)
	if err := errors.Join(os.Remove(folder), os.Rename(folder+".aside", folder)); err != nil {
		t.Fatal(err)
	}
	want()
	later = later.Add(retryAfter)
	want(first)
}
