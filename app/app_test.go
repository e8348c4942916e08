package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sessionserver/auth"
	"sessionserver/client"
	"sessionserver/configs"
	"sessionserver/server/servertest/require"
)

// TestEmbedded: a program can hold a whole server. It serves clients of its tenants, takes over changed files, finishes
// open sessions when its context ends, and finds the sessions again in the next one.
func TestEmbedded(t *testing.T) {
	dir := t.TempDir()
	cfg, err := configs.Parse("test.yaml", fmt.Appendf(nil, `
listen: [{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8]}]
tenants: %[1]s/tenants.d
storage: {path: %[1]s/sessions}
limits: {drain_timeout: 10s}
`, dir), Inspect)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.Tenants, 0o700); err != nil {
		t.Fatal(err)
	}
	secrets := []string{auth.NewSecret(), auth.NewSecret()}
	writeApp := func(secret string) {
		t.Helper()
		text := fmt.Sprintf("allow: [127.0.0.0/8]\napps: {shop: {role: readwrite, secrets: [%q]}}\n",
			auth.HashSecret(secret))
		if err := os.WriteFile(filepath.Join(cfg.Tenants, "acme.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeApp(secrets[0])
	start := func() (a *App, stop func() error) {
		t.Helper()
		a, err := New(t.Context(), cfg, Options{Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- errors.Join(a.Run(ctx), a.Close()) }()
		return a, func() error { cancel(); return <-ended }
	}
	dial := func(a *App, secret string) (*client.Client, error) {
		return client.Dial(t.Context(), fmt.Sprintf("tcp://shop:%s@%s/acme", secret, a.Addrs()[0]), client.Options{})
	}

	a, stop := start()
	c, err := dial(a, secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.New(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	if err := errors.Join(s.Put(t.Context(), "greeting", "hello"), s.Close(t.Context())); err != nil {
		t.Fatal(err)
	}

	writeApp(secrets[1])
	if failed := a.Reload(t.Context(), cfg, nil); len(failed) > 0 {
		t.Errorf("Reload failed for %v", failed)
	}
	if _, err := dial(a, secrets[0]); err == nil || !strings.Contains(err.Error(), "BADAUTH") {
		t.Errorf("dial with the revoked secret: error = %v, want BADAUTH", err)
	}
	if failed := a.Reload(t.Context(), nil, errors.New("a mistake")); len(failed) != 1 ||
		failed[0] != configurationReload {
		t.Errorf("Reload with an invalid configuration failed for %v, want it alone", failed)
	}
	c, err = dial(a, secrets[1])
	if err != nil {
		t.Fatal(err)
	}
	if s, err = c.Open(t.Context(), id, client.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, "the server drains", func() bool { return a.health.draining.Load() })
	if err := errors.Join(s.Put(t.Context(), "greeting", "goodbye"), s.Close(t.Context())); err != nil {
		t.Errorf("saving while the server drains: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}

	a, stop = start()
	if c, err = dial(a, secrets[1]); err != nil {
		t.Fatal(err)
	}
	if s, err = c.Open(t.Context(), id, client.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Get(t.Context(), "greeting"); err != nil || got != "goodbye" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	s.Abort(t.Context())
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestCloseTwice: Close may be called by several goroutines at once, and closes everything once.
func TestCloseTwice(t *testing.T) {
	cfg, err := configs.Parse("test.yaml", fmt.Appendf(nil, `
listen: [{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8]}]
storage: {path: %s/sessions}
`, t.TempDir()), Inspect)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := a.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	again, err := New(t.Context(), cfg, Options{Version: "test"})
	if err != nil {
		t.Fatalf("New after Close: %v", err) // such as a storage that is still locked
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestStartCancelled: a start whose context ends returns that as its reason, and nothing stays open.
func TestStartCancelled(t *testing.T) {
	cfg, err := configs.Parse("test.yaml", fmt.Appendf(nil, `
listen: [{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8]}]
storage: {path: %s/sessions}
`, t.TempDir()), Inspect)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := New(ctx, cfg, Options{Version: "test"}); a != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("New = %v, %v; want context.Canceled", a, err)
	}
}
