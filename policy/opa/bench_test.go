package opa

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/fstest"

	"sessionserver/policy"
)

// thousand returns 1,000 tenants with 3 apps each.
func thousand() []policy.Tenant {
	all := make([]policy.Tenant, 1000)
	for i := range all {
		all[i] = policy.Tenant{Name: fmt.Sprint("tenant", i),
			Settings: map[string]any{"plan": "large", "blocked": []any{"203.0.113.0/24"}}, Apps: []policy.App{
				{Name: "shop", Role: "readwrite", Read: []string{"*"}, Write: []string{"cart.*", "seen"}},
				{Name: "login", Role: "readwrite"},
				{Name: "reports", Role: "readonly", Read: []string{"order.*"}},
			}}
	}
	return all
}

func defaultEngine(b testing.TB) *Engine {
	return mustStart(b, Options{Source: FS("default", fstest.MapFS{"default.rego": file(b, "default.rego")}),
		Tenants: thousand()})
}

func put() *policy.Input {
	return &policy.Input{
		Tenant: "tenant500", App: "shop", Role: "readwrite", Command: "put", Access: policy.Write, Mode: "rw",
		Key:     []byte("cart.items"),
		Address: netip.MustParseAddr("192.0.2.1"), Listener: "main", TLS: "1.3",
		Session: policy.Session{Open: true, Age: 60, Bytes: 1000, Keys: 5},
	}
}

func decide(b testing.TB, e *Engine, in *policy.Input) {
	if d, err := e.Decide(b.Context(), in); err != nil || !d.Allow {
		b.Fatal(d, err)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	e, in := defaultEngine(t), put()
	decide(t, e, in)
	if n := testing.AllocsPerRun(100, func() { decide(t, e, in) }); n != 0 {
		t.Errorf("a hit makes %v allocations", n)
	}
}

func BenchmarkHit(b *testing.B) {
	e, in := defaultEngine(b), put()
	b.ReportAllocs()
	for b.Loop() {
		decide(b, e, in)
	}
}

func BenchmarkHitWholeInput(b *testing.B) {
	e, in := mustStart(b, Options{}, "a.rego", rules("allow if count(input) > 3")), put()
	b.ReportAllocs()
	for b.Loop() {
		decide(b, e, in)
	}
}

func BenchmarkHitContended(b *testing.B) {
	e := defaultEngine(b)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		in := put()
		for pb.Next() {
			decide(b, e, in)
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	e, in := defaultEngine(b), put()
	s := e.current.Load()
	b.ReportAllocs()
	for b.Loop() {
		a, err := s.operator.evaluate(b.Context(), &s.operator.allow, s.operator.data, inputTerm(in), s.limit, nil)
		if err != nil || !a.allow {
			b.Fatal(a, err)
		}
	}
}

// BenchmarkMissInTurn measures the whole path of a miss, with another key each time.
func BenchmarkMissInTurn(b *testing.B) {
	e, in := defaultEngine(b), put()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		in.Key = fmt.Appendf(in.Key[:0], "cart.%d", i)
		decide(b, e, in)
	}
}

func BenchmarkSetTenants(b *testing.B) {
	e, all := defaultEngine(b), thousand()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.SetTenants(all); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	all := thousand()
	source := FS("default", fstest.MapFS{"default.rego": file(b, "default.rego"),
		"default_test.rego": file(b, "default_test.rego")})
	for b.Loop() {
		mustStart(b, Options{Source: source, Tenants: all})
	}
}

// BenchmarkLoadTenantPolicies loads 100 tenants with a policy of their own, each of which is compiled separately.
func BenchmarkLoadTenantPolicies(b *testing.B) {
	files := fstest.MapFS{"default.rego": file(b, "default.rego")}
	for i := range 100 {
		files[fmt.Sprintf("tenants/tenant%d/a.rego", i)] = file(b, "examples/office_hours.rego")
	}
	for b.Loop() {
		mustStart(b, Options{Source: FS("tenants", files), Tenants: thousand()})
	}
}
