package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/storage"
)

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func wantUsage(t *testing.T, s *Store, tenant string, records, bytes int64) {
	t.Helper()
	want := storage.Usage{Records: records, Bytes: bytes}
	if got, err := s.Usage(t.Context(), tenant); err != nil || got != want {
		t.Errorf("Usage(%q) = %+v, %v; want %+v", tenant, got, err, want)
	}
}

// record returns a live record.
func record(data string) storage.Record {
	return storage.Record{Data: []byte(data), Expires: time.Now().Add(time.Hour)}
}

// damageReports are the calls of Options.Damaged.
type damageReports []string

func (d *damageReports) add(tenant, file string, cause error) {
	*d = append(*d, tenant+" "+file+" "+cause.Error())
}

// wantSetAside fails the test unless damaged file number n of key was set aside, and was reported without the id.
func wantSetAside(t *testing.T, dir string, reports *damageReports, n int, key storage.Key) {
	t.Helper()
	if len(*reports) != n {
		t.Fatalf("%d damaged files are reported, want %d: %q", len(*reports), n, *reports)
	}
	last := (*reports)[n-1]
	name := fmt.Sprintf("damaged/%d.acme.", n)
	if !strings.HasPrefix(last, "acme "+name+"* ") || strings.Contains(last, recordName(key.ID)) {
		t.Errorf("report = %q, want %q without the id", last, "acme "+name+"* …")
	}
	if _, err := os.Lstat(filepath.Join(dir, name+recordName(key.ID))); err != nil {
		t.Error(err)
	}
}

// TestDamage checks that a torn or foreign file is reported, does not count and is not swept. It is set aside when its
// key is written or deleted.
func TestDamage(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 1}}
	other := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 2}}
	foreign := storage.Key{Tenant: "other", ID: key.ID}
	rewrite := func(change func(content []byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			content, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	replaced := func(by func(path string) error) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), by(path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
		want   string // part of the error
	}{
		{"empty", rewrite(func([]byte) []byte { return nil }), "head of 0 bytes"},
		{"half a head", rewrite(func(b []byte) []byte { return b[:headSize/2] }), "head of 20 bytes"},
		{"no data", rewrite(func(b []byte) []byte { return b[:headSize] }), "bytes of data"},
		{"a byte short", rewrite(func(b []byte) []byte { return b[:len(b)-1] }), "bytes of data"},
		{"a byte long", rewrite(func(b []byte) []byte { return append(b, 0) }), "bytes of data"},
		{"all zero", rewrite(func(b []byte) []byte { clear(b); return b }), "not a file of this driver"},
		{"foreign", rewrite(func([]byte) []byte { return bytes.Repeat([]byte("a|s:1:\"x\";"), 20) }),
			"not a file of this driver"},
		{"newer version", rewrite(func(b []byte) []byte { b[7] = 2; return b }), "version 2"},
		{"expiry", rewrite(func(b []byte) []byte { b[expiryOffset]++; return b }), "checksum of the expiry"},
		{"length", rewrite(func(b []byte) []byte { b[20]++; return b }), "checksum of the head"},
		{"other id", rewrite(func([]byte) []byte { return encode(other, record("x")) }), "checksum of the head"},
		{"other tenant", rewrite(func([]byte) []byte { return encode(foreign, record("x")) }), "checksum of the head"},
		{"folder", replaced(func(path string) error { return os.Mkdir(path, 0o700) }), "not a file"},
		{"pipe", replaced(func(path string) error { return syscall.Mkfifo(path, 0o600) }), "not a file"},
		{"link out of the folder", replaced(func(path string) error { return os.Symlink("/etc/passwd", path) }),
			"not a file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			for _, k := range []storage.Key{key, other} {
				if err := s.Put(t.Context(), k, record("some data")); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, s.tenants.find("acme").path(key.ID))
			check := func(records int64) {
				t.Helper()
				rec, err := s.Get(t.Context(), key)
				if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Get = %q, %v; want storage.ErrCorrupt with %q", rec.Data, err, test.want)
				}
				if err := s.Touch(t.Context(), key, time.Now().Add(2*time.Hour)); !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("Touch = %v, want storage.ErrCorrupt", err)
				}
				if swept, err := s.Sweep(t.Context(), 1000); err != nil || len(swept.Removed) > 0 {
					t.Errorf("Sweep = %v, %v", swept, err)
				}
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("the damaged file is gone: %v", err)
				}
				if rec, err := s.Get(t.Context(), other); err != nil || string(rec.Data) != "some data" {
					t.Errorf("Get of the other record = %q, %v", rec.Data, err)
				}
				wantUsage(t, s, "acme", records, records*9)
			}
			test.damage(t, path)
			check(2) // the usage changes when the store is opened again
			s.Close()
			s = openStore(t, dir)
			reports := &damageReports{}
			s.reportDamaged = reports.add
			check(1)

			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
			}
			wantSetAside(t, dir, reports, 1, key)
			if _, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Get after Delete: %v", err)
			}
			wantUsage(t, s, "acme", 1, 9)

			if err := s.Put(t.Context(), key, record("some data")); err != nil {
				t.Fatal(err)
			}
			test.damage(t, path)
			s.Close()
			s = openStore(t, dir)
			s.reportDamaged = reports.add
			if err := s.Put(t.Context(), key, record("new")); err != nil {
				t.Fatalf("Put: %v", err)
			}
			if rec, err := s.Get(t.Context(), key); err != nil || string(rec.Data) != "new" {
				t.Errorf("Get after Put = %q, %v", rec.Data, err)
			}
			wantUsage(t, s, "acme", 2, 9+3)
			wantSetAside(t, dir, reports, 2, key)
		})
	}
}

// TestDamagedData checks that opening the store does not read the data, so a record with damaged data counts. Get does
// not return it.
func TestDamagedData(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 1}}
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := s.Put(t.Context(), key, record("some data")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, s.tenants.find("acme").path(key.ID))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[headSize]++
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if rec, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("Get = %q, %v; want storage.ErrCorrupt", rec.Data, err)
		}
		wantUsage(t, s, "acme", 1, 9)
		s.Close()
		s = openStore(t, dir)
	}
}

// TestDamagedDeleted checks that a record with damaged data is set aside when its key is deleted, and does not count
// any more. DropTenant removes it.
func TestDamagedDeleted(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 1}}
	dir := t.TempDir()
	s := openStore(t, dir)
	reports := &damageReports{}
	s.reportDamaged = reports.add
	if err := s.Put(t.Context(), key, record("some data")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, s.tenants.find("acme").path(key.ID))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[headSize]++
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	wantSetAside(t, dir, reports, 1, key)
	wantUsage(t, s, "acme", 0, 0)
	if _, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.DropTenant(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, damagedFolder))
	if err != nil || len(left) > 0 {
		t.Errorf("damaged files of the dropped tenant are left: %v, %v", left, err)
	}
}

// TestErrorsWithoutIDs checks that no error contains the hash of a session id, which is the name of a file.
func TestErrorsWithoutIDs(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 0xcd, 1}}
	dir := t.TempDir()
	var failed error
	s, err := Open(Options{Path: dir, Failed: func(err error) { failed = err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	entries := []storage.Entry{
		{Key: key, Record: record("x")},
		{Key: storage.Key{Tenant: "acme", ID: storage.ID{1}}, Record: record("x")},
	}
	if err := s.PutAll(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	// A link to itself replaces the folder, which no process can follow, not even as root.
	folder := filepath.Join(dir, subFolder(s.tenants.find("acme").folder, 0xab))
	if err := errors.Join(os.RemoveAll(folder), os.Symlink(folder, folder)); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(t.Context(), key)
	id := regexp.MustCompile("[0-9a-f]{16}")
	for operation, err := range map[string]error{
		"get": getErr, "put": s.Put(t.Context(), key, record("y")),
		"touch":  s.Touch(t.Context(), key, time.Now().Add(3*time.Hour)),
		"delete": s.Delete(t.Context(), key), "put all": s.PutAll(t.Context(), entries),
	} {
		if err == nil || id.MatchString(err.Error()) {
			t.Errorf("%s: error = %v, want one without an id", operation, err)
		}
	}
	record := filepath.Join(folder, recordName(key.ID))
	if err := errors.Join(os.Remove(folder), os.MkdirAll(filepath.Join(record, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if failed != nil && id.MatchString(failed.Error()) {
		t.Errorf("the reported failure contains an id: %v", failed)
	}
	name := recordName(key.ID)
	for _, row := range []struct{ text, want string }{
		{"openat tenants/acme/ab/" + name + ": too many", "openat tenants/acme/…: too many"},
		{
			"renameat tenants/a/ab/" + name + ".ABC-1.tmp tenants/a/ab/" + name + ": x",
			"renameat tenants/a/… tenants/a/…: x",
		},
	} {
		if got := withoutIDs(row.text); got != row.want {
			t.Errorf("withoutIDs(%q) = %q, want %q", row.text, got, row.want)
		}
	}
}

// TestForeignFiles checks that files that the driver did not write stay unchanged and do not count.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab}}
	if err := s.Put(t.Context(), key, record("x")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	name := recordName(key.ID)
	foreign := []string{
		"README", "tenants/README", "tenants/Acme/ab/" + name, "tenants/=61/ab/" + name, "tenants/acme/README",
		"tenants/acme/abc/" + name, "tenants/acme/cd/" + name, "tenants/acme/ab/README",
		"tenants/acme/ab/" + strings.ToUpper(name), "tenants/acme/ab/x.tmp", "tenants/acme/ab/" + name[:62],
		"tenants/acme/ab/sub/x",
	}
	for _, f := range foreign {
		path, content := filepath.Join(dir, f), encode(key, record("x"))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir)
	wantUsage(t, s, "acme", 1, 1)
	wantUsage(t, s, "Acme", 0, 0)
	wantUsage(t, s, "a", 0, 0)
	s.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
	if swept, err := s.Sweep(t.Context(), 1000); err != nil || len(swept.Removed) != 1 || swept.More {
		t.Errorf("Sweep = %v, %v", swept, err)
	}
	for _, f := range foreign {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
}

// TestModes checks that only the owner can read files and folders, whatever the umask.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "store")
	s := openStore(t, dir)
	for _, tenant := range []string{"acme", "../x"} {
		if err := s.Put(t.Context(), storage.Key{Tenant: tenant}, record("x")); err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = fs.ModeDir | 0o700
		} else {
			files++
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		return nil
	})
	if err != nil || files != 3 {
		t.Errorf("%d files, want two records and the lock: %v", files, err)
	}
}
