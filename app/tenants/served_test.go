package tenants

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/configs"
)

// TestAwait checks that a command reports which servers run, and waits for none forever.
func TestAwait(t *testing.T) {
	cfg := configs.Default()
	cfg.Tenants = filepath.Join(t.TempDir(), "tenants.d")
	f := &Folder{Path: cfg.Tenants, Config: &cfg}
	if err := f.Create(t.Context(), "acme", []byte("allow: [::1]\n")); err != nil {
		t.Fatal(err)
	}
	f.patience = 20 * time.Millisecond
	await := func(tenant string) (servers int, err error) { return f.Await(t.Context(), tenant) }
	load := func() *configs.Tenants { return Load(&cfg) }

	if n, err := await("acme"); err != nil || n != 0 {
		t.Errorf("without a server: %d, %v", n, err)
	}
	server, err := openServed(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	const late = "a running server has not taken it over"
	if _, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) {
		t.Errorf("with a server that has nothing: %v", err)
	}
	if err := server.publish(load()); err != nil {
		t.Fatal(err)
	}
	if n, err := await("acme"); err != nil || n != 1 {
		t.Errorf("with a server that has it: %d, %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(f.Path, "acme.yaml"), []byte("allow: [127.0.0.1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) {
		t.Errorf("with a server that has its previous content: %v", err)
	}
	if err := server.publish(load()); err != nil {
		t.Fatal(err)
	}
	other, err := openServed(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) {
		t.Errorf("with two servers, one of which has it: %v", err)
	}
	other.close()
	if err := f.Remove(t.Context(), "acme", false); err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err == nil {
		t.Error("with a server that still has a deleted tenant: no error")
	}
	if err := server.publish(load()); err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err != nil {
		t.Errorf("with a server that has dropped it: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Await(ctx, "acme"); err != nil {
		t.Errorf("nothing is to be waited for: %v", err)
	}

	// A killed server does not count, and the next one removes its file.
	if err := server.file.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := await("acme"); err != nil || n != 0 {
		t.Errorf("after the server was killed: %d, %v", n, err)
	}
	next, err := openServed(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	next.close()
	left, err := filepath.Glob(filepath.Join(f.Path, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v %v", left, err)
	}
}
