package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/configs"
	"sessionserver/metrics"
	"sessionserver/storage"
)

// TestClaim checks that a folder belongs to the first driver that uses it. A mark that a crash has emptied belongs to
// no driver.
func TestClaim(t *testing.T) {
	for name, before := range map[string]*string{"new": nil, "empty": new(""), "blank": new("\n"),
		"zeroed": new("\x00\x00\x00")} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "deep", "store")
			if before != nil {
				if err := errors.Join(os.MkdirAll(folder, 0o700),
					os.WriteFile(filepath.Join(folder, "DRIVER"), []byte(*before), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := claim(folder, "log"); err != nil {
					t.Fatal(err)
				}
			}
			if err := claim(folder, "file"); err == nil ||
				!strings.Contains(err.Error(), "belongs to driver log, not file") {
				t.Errorf("claim for another driver = %v", err)
			}
			entries, err := os.ReadDir(folder)
			if err != nil || len(entries) != 1 {
				t.Fatalf("ReadDir = %v, %v; want the mark only", entries, err)
			}
			info, err := entries[0].Info()
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("the mark: %v, %v", info.Mode(), err)
			}
			if content, err := os.ReadFile(filepath.Join(folder, "DRIVER")); err != nil ||
				string(content) != "log\n" {
				t.Errorf("the mark is %q, %v", content, err)
			}
		})
	}
}

// TestFileStoreReportsItsFailure checks that a file store whose batch fails in the middle reports the failure.
func TestFileStoreReportsItsFailure(t *testing.T) {
	folder := t.TempDir()
	var reported []error
	m, err := metrics.New(metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := openStore(configs.Storage{Driver: "file", Path: folder, Sync: "never"}, openOptions{
		log:      slog.New(slog.DiscardHandler),
		observer: storageObserver{m.Storage(), func(err error) { reported = append(reported, err) }, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := w.observed
	defer s.Close()
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	second := storage.ID{2}
	// A folder in the second record's place, which cannot be set aside, lets the first be replaced and not the second.
	blocked := filepath.Join(folder, "tenants", "acme", "02", "02"+strings.Repeat("00", 31), "x")
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "damaged"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = storage.PutAll(context.Background(), s, []storage.Entry{
		{Key: storage.Key{Tenant: "acme", ID: storage.ID{1}}, Record: rec},
		{Key: storage.Key{Tenant: "acme", ID: second}, Record: rec},
	})
	if err == nil || len(reported) != 1 || !errors.Is(err, reported[0]) {
		t.Errorf("PutAll = %v, reported %v", err, reported)
	}
}

// TestClaimOtherContent checks that a folder with other files is refused, and that their modes do not change.
func TestClaimOtherContent(t *testing.T) {
	folder := t.TempDir()
	other := filepath.Join(folder, "other.db")
	if err := errors.Join(os.WriteFile(other, nil, 0o644), os.Chmod(other, 0o644),
		os.Chmod(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	m, err := metrics.New(metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := configs.Storage{Driver: "file", Path: folder, Sync: "never"}
	_, err = openStore(cfg, openOptions{log: slog.New(slog.DiscardHandler),
		observer: storageObserver{m.Storage(), nil, nil}})
	if err == nil || !strings.Contains(err.Error(), "is not a storage folder: it has no file DRIVER, but holds "+
		"other.db") {
		t.Errorf("openStore = %v", err)
	}
	for path, want := range map[string]os.FileMode{folder: 0o755, other: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
}
