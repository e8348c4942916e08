package client_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/client"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// TestDenied verifies that a read-only app can read the keys that the policy allows. Everything else is ErrDenied with
// the reason of the policy, and the client remains usable.
func TestDenied(t *testing.T) {
	t.Parallel()
	acme := servertest.Tenant("acme/shop", secret)
	acme.Apps = append(acme.Apps, auth.App{
		Name: "reports", Role: auth.ReadOnly, Secrets: []auth.SecretHash{auth.HashSecret(secret)},
	})
	engine, err := opa.New(t.Context(), opa.Options{
		Timeout: time.Hour,
		Source:  opa.FS("default", configs.DefaultPolicy()), Logger: slog.New(slog.DiscardHandler),
		Tenants: []policy.Tenant{{Name: "acme", Apps: []policy.App{
			{Name: "shop", Role: "readwrite"}, {Name: "reports", Role: "readonly", Read: []string{"order.*"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := start(t, servertest.Config{Tenants: []server.Tenant{acme}, Options: server.Options{Policy: engine}})
	as := func(app string) *client.Client {
		c, err := client.Dial(t.Context(), "tcp://"+app+":"+secret+"@"+srv.Addr+"/acme", client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ctx, shop, reports := t.Context(), as("shop"), as("reports")
	s, err := shop.New(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(ctx, "order.1", "paid"), s.Put(ctx, "user.name", "ada"), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	expectDenied := func(operation string, err error) {
		t.Helper()
		var e *client.Error
		if !errors.Is(err, client.ErrDenied) || !errors.As(err, &e) || !strings.HasPrefix(e.Message, "this app may ") {
			t.Errorf("%s: error %v, want ErrDenied", operation, err)
		}
	}
	_, err = reports.New(ctx, 0)
	expectDenied("new", err)
	_, err = reports.Open(ctx, s.ID(), client.OpenOptions{})
	expectDenied("open", err)
	expectDenied("update", reports.Update(ctx, s.ID(), func(*client.Values) error { return nil }))
	values, err := reports.View(ctx, s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := values.Get("order.1"); got != "paid" {
		t.Errorf("order.1 is %q", got)
	}
	if got, found := values.Lookup("user.name"); found {
		t.Errorf("user.name is visible: %q", got)
	}
}
