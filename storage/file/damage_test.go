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

// record answers a live one.
func record(data string) storage.Record {
	return storage.Record{Data: []byte(data), Expires: time.Now().Add(time.Hour)}
}

// damages are those that a store has told of.
type damages []string

func (d *damages) damaged(tenant, file string, why error) {
	*d = append(*d, tenant+" "+file+" "+why.Error())
}

// wantAside wants the damaged file number n of key to be set aside, and the store to have told so without the id.
func wantAside(t *testing.T, dir string, told *damages, n int, key storage.Key) {
	t.Helper()
	if len(*told) != n {
		t.Fatalf("told of %d: %q", len(*told), *told)
	}
	last := (*told)[n-1]
	shown := fmt.Sprintf("damaged/%d.acme.", n)
	if !strings.HasPrefix(last, "acme "+shown+"* ") || strings.Contains(last, recordName(key.ID)) {
		t.Errorf("told of %q", last)
	}
	if _, err := os.Lstat(filepath.Join(dir, shown+recordName(key.ID))); err != nil {
		t.Error(err)
	}
}

// TestDamage: a file that is torn or foreign is reported, not counted and not swept, and makes room when its key is written or deleted.
func TestDamage(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 1}}
	other := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 2}}
	stranger := storage.Key{Tenant: "stranger", ID: key.ID}
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
		why    string // part of the error
	}{
		{"empty", rewrite(func([]byte) []byte { return nil }), "no whole head"},
		{"half a head", rewrite(func(b []byte) []byte { return b[:headSize/2] }), "no whole head"},
		{"no data", rewrite(func(b []byte) []byte { return b[:headSize] }), "bytes of data"},
		{"a byte short", rewrite(func(b []byte) []byte { return b[:len(b)-1] }), "bytes of data"},
		{"a byte long", rewrite(func(b []byte) []byte { return append(b, 0) }), "bytes of data"},
		{"all zero", rewrite(func(b []byte) []byte { clear(b); return b }), "not a file of this driver"},
		{"foreign", rewrite(func([]byte) []byte { return bytes.Repeat([]byte("a|s:1:\"x\";"), 20) }), "not a file of this driver"},
		{"newer version", rewrite(func(b []byte) []byte { b[7] = 2; return b }), "version 2"},
		{"expiry", rewrite(func(b []byte) []byte { b[expiryOffset]++; return b }), "checksum of the expiry"},
		{"length", rewrite(func(b []byte) []byte { b[20]++; return b }), "checksum of the head"},
		{"another id's", rewrite(func([]byte) []byte { return encode(other, record("x")) }), "checksum of the head"},
		{"another tenant's", rewrite(func([]byte) []byte { return encode(stranger, record("x")) }), "checksum of the head"},
		{"a folder", replaced(func(path string) error { return os.Mkdir(path, 0o700) }), "not a file"},
		{"a pipe", replaced(func(path string) error { return syscall.Mkfifo(path, 0o600) }), "not a file"},
		{"a link out of the folder", replaced(func(path string) error { return os.Symlink("/etc/passwd", path) }), "not a file"},
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
				if rec, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), test.why) {
					t.Errorf("Get = %q, %v; want storage.ErrCorrupt with %q", rec.Data, err, test.why)
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
					t.Errorf("Get of its neighbour = %q, %v", rec.Data, err)
				}
				wantUsage(t, s, "acme", records, records*9)
			}
			test.damage(t, path)
			check(2) // found out by reading, or else when the store is opened
			s.Close()
			s = openStore(t, dir)
			told := &damages{}
			s.damaged = told.damaged
			check(1)

			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
			}
			wantAside(t, dir, told, 1, key)
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
			s.damaged = told.damaged
			if err := s.Put(t.Context(), key, record("new")); err != nil {
				t.Fatalf("Put: %v", err)
			}
			if rec, err := s.Get(t.Context(), key); err != nil || string(rec.Data) != "new" {
				t.Errorf("Get after Put = %q, %v", rec.Data, err)
			}
			wantUsage(t, s, "acme", 2, 9+3)
			wantAside(t, dir, told, 2, key)
		})
	}
}

// TestDamagedData: data alone is not read when the store is opened, so it counts; but it is not handed out.
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

// TestDamagedDeleted: a record whose data is damaged is set aside too when its key is deleted, counts no more, and goes with its tenant.
func TestDamagedDeleted(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 1}}
	dir := t.TempDir()
	s := openStore(t, dir)
	told := &damages{}
	s.damaged = told.damaged
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
	wantAside(t, dir, told, 1, key)
	wantUsage(t, s, "acme", 0, 0)
	if _, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.DropTenant(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, damagedFolder))
	if err != nil || len(left) > 0 {
		t.Errorf("of a dropped tenant there are left %v, %v", left, err)
	}
}

// TestErrorsWithoutIDs: whatever fails, no error has the hash of a session's id, which is the name of its file.
func TestErrorsWithoutIDs(t *testing.T) {
	key := storage.Key{Tenant: "acme", ID: storage.ID{0xab, 0xcd, 1}}
	dir := t.TempDir()
	var failed error
	s, err := Open(Options{Path: dir, Failed: func(err error) { failed = err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	entries := []storage.Entry{{Key: key, Record: record("x")}, {Key: storage.Key{Tenant: "acme", ID: storage.ID{1}}, Record: record("x")}}
	if err := s.PutAll(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	// Links to themselves are in the way: the system refuses to follow them whoever asks.
	folder := filepath.Join(dir, subFolder(s.tenants.find("acme").folder, 0xab))
	if err := errors.Join(os.RemoveAll(folder), os.Symlink(folder, folder)); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(t.Context(), key)
	for what, err := range map[string]error{
		"get": getErr, "put": s.Put(t.Context(), key, record("y")), "touch": s.Touch(t.Context(), key, time.Now().Add(3*time.Hour)),
		"delete": s.Delete(t.Context(), key), "put all": s.PutAll(t.Context(), entries),
	} {
		if err == nil || regexp.MustCompile("[0-9a-f]{16}").MatchString(err.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(os.Remove(folder), os.MkdirAll(filepath.Join(folder, recordName(key.ID), "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if failed != nil && regexp.MustCompile("[0-9a-f]{16}").MatchString(failed.Error()) {
		t.Errorf("told of %v", failed)
	}
	for text, want := range map[string]string{
		"openat tenants/acme/ab/" + recordName(key.ID) + ": too many":                                           "openat tenants/acme/…: too many",
		"renameat tenants/a/ab/" + recordName(key.ID) + ".ABC-1.tmp tenants/a/ab/" + recordName(key.ID) + ": x": "renameat tenants/a/… tenants/a/…: x",
	} {
		if got := withoutIDs(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestForeignFiles: what the driver did not write stays as it is and counts for nothing.
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
		"README", "tenants/README", "tenants/Acme/ab/" + name, "tenants/=61/ab/" + name, "tenants/acme/README", "tenants/acme/abc/" + name,
		"tenants/acme/cd/" + name, "tenants/acme/ab/README", "tenants/acme/ab/" + strings.ToUpper(name), "tenants/acme/ab/x.tmp",
		"tenants/acme/ab/" + name[:62], "tenants/acme/ab/sub/x",
	}
	for _, f := range foreign {
		path := filepath.Join(dir, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, encode(key, record("x")), 0o600)); err != nil {
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

// TestModes: nobody but the owner reads a session, whatever the umask.
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
