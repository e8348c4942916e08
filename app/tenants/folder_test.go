package tenants

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sessionserver/configs"
)

// TestLockEnds checks that a command that waits for another one ends when its context does.
func TestLockEnds(t *testing.T) {
	cfg := configs.Default()
	f := &Folder{Path: filepath.Join(t.TempDir(), "tenants.d"), Config: &cfg}
	if err := os.Mkdir(f.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.lock(ctx); err != context.DeadlineExceeded {
		t.Errorf("lock of a locked folder: error = %v, want context.DeadlineExceeded", err)
	}
	l.close()
	l, err = f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.close()
}
