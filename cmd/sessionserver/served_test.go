package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/configs"
)

// TestAwait: a command says what it knows of servers, and waits for none for ever.
func TestAwait(t *testing.T) {
	c := newCLI(t, "")
	f, err := place{Config: c.config}.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.create(t.Context(), "acme", []byte("allow: [::1]\n")); err != nil {
		t.Fatal(err)
	}
	f.patience = 20 * time.Millisecond
	await := func(tenant string) (string, error) {
		var said bytes.Buffer
		err := f.await(t.Context(), tenant, &said)
		return said.String(), err
	}
	load := func() *configs.Tenants { return configs.LoadTenants(f.path, f.cfg, nil, inspectTenant) }

	if said, err := await("acme"); err != nil || !strings.Contains(said,
		"No server that runs with "+f.path+" was found") {
		t.Errorf("without a server: %v %s", err, said)
	}
	server, err := openServed(f.path)
	if err != nil {
		t.Fatal(err)
	}
	const late = "a running server has not taken it over"
	if said, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) || said != "" {
		t.Errorf("with a server that has nothing: %v %s", err, said)
	}
	if err := server.publish(load()); err != nil {
		t.Fatal(err)
	}
	if said, err := await("acme"); err != nil || said != "" {
		t.Errorf("with a server that has it: %v %s", err, said)
	}
	if err := os.WriteFile(filepath.Join(f.path, "acme.yaml"), []byte("allow: [127.0.0.1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) {
		t.Errorf("with a server that has it as it was: %v", err)
	}
	if err := server.publish(load()); err != nil {
		t.Fatal(err)
	}
	other, err := openServed(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := await("acme"); err == nil || !strings.Contains(err.Error(), late) {
		t.Errorf("with two servers, one of which has it: %v", err)
	}
	other.close()
	if err := f.remove(t.Context(), "acme", false); err != nil {
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
	if err := f.await(ctx, "acme", new(bytes.Buffer)); err != nil {
		t.Errorf("nothing is to be waited for: %v", err)
	}

	// A server that was killed is none, and the next one removes what it has left.
	if err := server.file.Close(); err != nil {
		t.Fatal(err)
	}
	if said, err := await("acme"); err != nil || !strings.Contains(said, "No server") {
		t.Errorf("after the server was killed: %v %s", err, said)
	}
	next, err := openServed(f.path)
	if err != nil {
		t.Fatal(err)
	}
	next.close()
	left, err := filepath.Glob(filepath.Join(f.path, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v %v", left, err)
	}
}
