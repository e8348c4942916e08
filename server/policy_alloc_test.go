package server

import (
	"log/slog"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/session"
)

// TestPolicyAllocatesNothing checks that a cached decision allocates nothing, since every command passes this gate.
func TestPolicyAllocatesNothing(t *testing.T) {
	engine, err := opa.New(t.Context(), opa.Options{
		Timeout: time.Hour,
		Logger:  slog.New(slog.DiscardHandler),
		Source:  opa.FS("default", configs.DefaultPolicy()),
		Tenants: []policy.Tenant{{Name: "test", Apps: []policy.App{{Name: "app", Role: "readwrite"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := testConn(t)
	c.server.opts.Policy = engine
	c.caller.listener.Anonymous = auth.Identity{Tenant: "test", App: "app"}
	if err := c.caller.identify(c.initial()); err != nil {
		t.Fatal(err)
	}
	c.session = &session.Session{}
	rows := builtin()
	calls := []*Call{
		{Command: rows.lookup([]byte("close")), conn: c},
		{Command: rows.lookup([]byte("get_all")), conn: c},
		{Command: rows.lookup([]byte("put")), Args: [][]byte{[]byte("a"), nil, []byte("b"), nil}, conn: c},
	}
	key := []byte("c")
	n := testing.AllocsPerRun(100, func() {
		for _, call := range calls {
			if err := admitPolicy(call); err != nil {
				t.Fatal(err)
			}
			if allowed, err := call.allowed(key); err != nil || !allowed {
				t.Fatal(allowed, err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a decision", n)
	}
}
