package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/storage"
)

// crash unlocks the folder as the kernel does for a process that was killed.
func (s *Store) crash(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.lock.Close(), s.root.Close()); err != nil {
		t.Fatal(err)
	}
}

// tempFiles returns the temporary files and journals in a folder.
func tempFiles(t *testing.T, dir string) (temps []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, tempSuffix) || filepath.Base(path) == journalName {
			temps = append(temps, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return temps
}

// batchOf returns three entries with this data, two of which share a folder.
func batchOf(data string) []storage.Entry {
	return []storage.Entry{
		{Key: storage.Key{Tenant: "acme", ID: storage.ID{1}}, Record: record(data)},
		{Key: storage.Key{Tenant: "other", ID: storage.ID{2}}, Record: record(data)},
		{Key: storage.Key{Tenant: "acme", ID: storage.ID{1, 1}}, Record: record(data)},
	}
}

// wantBatch fails the test unless every entry of batchOf has this data, and no temporary file is left.
func wantBatch(t *testing.T, s *Store, dir, data string) {
	t.Helper()
	for _, e := range batchOf("") {
		if rec, err := s.Get(t.Context(), e.Key); err != nil || string(rec.Data) != data {
			t.Errorf("Get(%q, %x) = %q, %v; want %q", e.Key.Tenant, e.Key.ID[:2], rec.Data, err, data)
		}
	}
	wantUsage(t, s, "acme", 2, 2*int64(len(data)))
	wantUsage(t, s, "other", 1, int64(len(data)))
	if left := tempFiles(t, dir); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

// TestCrash checks that wherever a batch is interrupted, the folder contains all of it or none after it is opened
// again.
func TestCrash(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(s *Store) error // until the crash
		want string
	}{
		{"one staged", func(s *Store) error {
			_, err := s.stage(batchOf("")[0].Key, record("new"))
			return err
		}, "old one"},
		{"all staged", func(s *Store) error {
			_, err := s.stageAll(batchOf("new"))
			return err
		}, "old one"},
		{"journal written, not renamed", func(s *Store) error {
			_, err := s.stageAll(batchOf("new"))
			return errors.Join(err, s.writeFile(journalName+".x-1"+tempSuffix, []byte(journalTitle)))
		}, "old one"},
		{"journal", func(s *Store) error {
			batch, err := s.stageAll(batchOf("new"))
			return errors.Join(err, s.writeJournal(batch))
		}, "new"},
		{"journal and one rename", func(s *Store) error {
			batch, err := s.stageAll(batchOf("new"))
			err = errors.Join(err, s.writeJournal(batch))
			_, e := s.replace(batch[0])
			return errors.Join(err, e)
		}, "new"},
		{"journal and all renames", func(s *Store) error {
			batch, err := s.stageAll(batchOf("new"))
			return errors.Join(err, s.writeJournal(batch), s.replaceAll(batch))
		}, "new"},
		{"old journal, newer batch", func(s *Store) error {
			batch, err := s.stageAll(batchOf("new"))
			err = errors.Join(err, s.writeJournal(batch), s.replaceAll(batch))
			return errors.Join(err, s.putAll(batchOf("newer")), s.writeJournal(batch))
		}, "newer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			if err := s.PutAll(t.Context(), batchOf("old one")); err != nil {
				t.Fatal(err)
			}
			wantBatch(t, s, dir, "old one")
			if err := test.run(s); err != nil {
				t.Fatal(err)
			}
			s.crash(t)
			for range 2 {
				s = openStore(t, dir)
				wantBatch(t, s, dir, test.want)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestJournalDamage checks that a torn journal is ignored, and one with other paths than those of temporary files is
// refused.
func TestJournalDamage(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "short": "0000000", "torn": journalTitle + "tenants/ac"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			err := errors.Join(s.PutAll(t.Context(), batchOf("old")), s.writeFile(journalName, []byte(content)))
			if err != nil {
				t.Fatal(err)
			}
			s.crash(t)
			wantBatch(t, openStore(t, dir), dir, "old")
		})
	}
	for _, temp := range []string{"lock", "../outside.tmp", "tenants/acme/01/x.1.tmp"} {
		t.Run(temp, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			if err := s.writeJournal([]staged{{temp: temp}}); err != nil {
				t.Fatal(err)
			}
			s.crash(t)
			if s, err := Open(Options{Path: dir}); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("Open = %v, %v; want storage.ErrCorrupt", s, err)
			}
		})
	}
}

// TestIncompleteBatch checks that after a batch that can be neither completed nor undone, no writes are accepted.
// Completing the batch later would overwrite them.
func TestIncompleteBatch(t *testing.T) {
	dir := t.TempDir()
	var reports []error
	s, err := Open(Options{Path: dir, Failed: func(err error) { reports = append(reports, err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.PutAll(t.Context(), batchOf("old")); err != nil {
		t.Fatal(err)
	}
	entries := batchOf("new")
	blocked := filepath.Join(dir, s.tenants.find("other").path(entries[1].Key.ID))
	block := func(path string) {
		t.Helper()
		if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	// The blocking folder cannot be set aside either.
	if err := os.WriteFile(filepath.Join(dir, damagedFolder), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unblock := func(path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	// If the first rename fails, the batch is undone.
	first := filepath.Join(dir, s.tenants.find("acme").path(entries[0].Key.ID))
	block(first)
	if err := s.PutAll(t.Context(), entries); err == nil {
		t.Fatal("PutAll over a folder succeeded")
	}
	if left := tempFiles(t, dir); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
	unblock(first)
	if err := s.PutAll(t.Context(), batchOf("old")); err != nil {
		t.Fatal(err)
	}
	if len(reports) > 0 {
		t.Errorf("reported failures = %v, but the store still accepts writes", reports)
	}

	block(blocked)
	err = s.PutAll(t.Context(), entries)
	if err == nil {
		t.Fatal("PutAll over a folder succeeded")
	}
	if len(reports) != 1 || !errors.Is(err, reports[0]) {
		t.Errorf("reported failures = %v, want one that PutAll returned: %v", reports, err)
	}
	unblock(blocked)
	for name, err := range map[string]error{
		"Put":    s.Put(t.Context(), entries[2].Key, record("later")),
		"PutAll": s.PutAll(t.Context(), batchOf("later")),
		"Touch":  s.Touch(t.Context(), entries[0].Key, record("").Expires),
		"Delete": s.Delete(t.Context(), entries[0].Key),
	} {
		if err == nil || !strings.Contains(err.Error(), "opened again") {
			t.Errorf("%s after the failure: %v", name, err)
		}
	}
	if len(reports) != 1 {
		t.Errorf("%d failures are reported, want 1", len(reports))
	}
	if rec, err := s.Get(t.Context(), entries[0].Key); err != nil || string(rec.Data) != "new" {
		t.Errorf("Get of the first entry = %q, %v", rec.Data, err)
	}
	if rec, err := s.Get(t.Context(), entries[2].Key); err != nil || string(rec.Data) != "old" {
		t.Errorf("Get of the last entry = %q, %v", rec.Data, err)
	}
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, damagedFolder))); err != nil {
		t.Fatal(err)
	}
	wantBatch(t, openStore(t, dir), dir, "new")
}

// TestLocked checks that the error contains the path of the locked folder.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link} {
		_, err := Open(Options{Path: path})
		if !errors.Is(err, storage.ErrLocked) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("Open(%s) = %v, want storage.ErrLocked with the path", path, err)
		}
	}
	s.Close()
	openStore(t, link)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Path: t.TempDir(), Sync: "sometimes"}} {
		if s, err := Open(o); err == nil {
			s.Close()
			t.Errorf("Open(%+v) succeeded", o)
		}
	}
	s := openStore(t, t.TempDir())
	for _, tenant := range []string{"", strings.Repeat("a", 65)} {
		k := storage.Key{Tenant: tenant}
		if err := s.Put(t.Context(), k, record("x")); err == nil {
			t.Errorf("Put for tenant %q succeeded", tenant)
		}
		if _, err := s.Get(t.Context(), k); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get for tenant %q: %v", tenant, err)
		}
	}
}
