package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/server/servertest"
)

// TestMetrics checks that the metrics cover the operations of a server, and that the linter of Prometheus accepts them.
func TestMetrics(t *testing.T) {
	promtool := servertest.Program(t, "promtool")
	file, _ := servertest.WriteConfig(t, "tenants: STATE.tenants\nstorage: {path: STATE}\n"+
		"tls: {local_ca: STATE.ca}\nadmin: {address: \"127.0.0.1:0\"}\naudit: {output: STATE.audit}\n")
	cfg, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.Tenants, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := auth.NewSecret()
	for name, app := range map[string]string{"acme": "shop", "dev": "app"} {
		text := fmt.Sprintf("allow: [127.0.0.0/8]\nquotas: {sessions: 1000}\n"+
			"apps: {%s: {role: readwrite, secrets: [%q]}}\n", app, auth.HashSecret(secret))
		if err := os.WriteFile(filepath.Join(cfg.Tenants, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := New(t.Context(), cfg, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(p.Run(ctx), p.Close()) }()
	c := servertest.Connect(t, p.listeners[0].Addr().String())
	for _, line := range []string{"auth acme/shop " + secret, "new", "put k v", "close"} {
		c.OK(line)
	}
	_, text := servertest.Get(t, http.DefaultClient, "http://"+p.operators.addr.String()+"/metrics")
	for _, want := range []string{
		`sessionserver_ready 1`, `sessionserver_tenants 2`,
		`sessionserver_tenant_operations_total{result="ok",tenant="acme"} 4`,
		`sessionserver_tenant_usage{resource="sessions",tenant="acme"} 1`,
		`sessionserver_tenant_quota{resource="sessions",tenant="acme"} 1000`,
		`sessionserver_session_events_total{event="created"} 1`,
		`sessionserver_audit_events_total{event="session.created"} 1`,
		`sessionserver_reload_last_successful{what="policy"} 1`,
		`sessionserver_reload_last_successful{what="configuration"} 1`,
		`sessionserver_reload_last_successful{what="certificates"} 1`,
		`sessionserver_reloads_total{result="failed",what="policy"} 0`,
		`sessionserver_reload_last_successful{what="tenants"} 1`,
		`sessionserver_certificate_events_total{event="loaded"} 1`, "go_goroutines ", "process_open_fds ",
		`sessionserver_storage_operation_duration_seconds_count{operation="put"} 1`,
		"sessionserver_storage_size_bytes ", "sessionserver_storage_sync_duration_seconds_count ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if output, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(output)) > 0 {
		t.Errorf("promtool: %v: %s", err, output)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
