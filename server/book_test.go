package server

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/session"
)

// TestAddressBookIsBounded checks that more addresses than there is room for neither grow the book nor drop limiters
// at their limit.
func TestAddressBookIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b addressBook
		r := Rate{PerSecond: 0.001, Burst: 10}
		atLimit := make([]limiterKey, 200)
		for i := range atLimit {
			atLimit[i] = limiterKey{"a", fmt.Sprintf("limit %d", i)}
			for l := b.limiter(atLimit[i], r); l.Allow(); {
			}
		}
		for i := range 3 * bookMax {
			b.limiter(limiterKey{"a", fmt.Sprint(i)}, r).Allow()
			if len(b.limiters) > bookMax {
				t.Fatalf("%d limiters in the book", len(b.limiters))
			}
		}
		for _, key := range atLimit {
			if l := b.limiters[key]; l == nil || l.Tokens() >= 1 {
				t.Errorf("limiter of %s was dropped", key.address)
			}
		}
		time.Sleep(time.Hour * 10) // all limiters are full again
		for i := range bookMax {
			b.limiter(limiterKey{"b", fmt.Sprint(i)}, r)
		}
		if n := len(b.limiters); n > bookMax/2 {
			t.Errorf("%d full limiters in the book", n)
		}
	})
}

// TestAddressBookSharesOne checks that all connections of an address share one limiter while any of them holds it,
// even if it was full.
func TestAddressBookSharesOne(t *testing.T) {
	var b addressBook
	r := Rate{PerSecond: 1, Burst: 10}
	key := limiterKey{"a", "192.0.2.1"}
	held := b.hold(key, r)
	for i := range 2 * bookMax {
		b.limiter(limiterKey{"a", fmt.Sprint(i)}, r).Allow()
	}
	if again := b.hold(key, r); again != held {
		t.Error("the second connection has a rate of its own")
	}
	b.release(held)
	b.release(held)
	for i := range bookMax {
		b.limiter(limiterKey{"b", fmt.Sprint(i)}, r)
	}
	if b.limiters[key] != nil {
		t.Error("a full limiter without a holder is not dropped")
	}
	b.release(b.hold(key, Rate{}))
	if b.hold(limiterKey{"a", ""}, r) != nil {
		t.Error("clients of a Unix socket share a rate")
	}
}

// ratedConn returns a connection under all rates at once.
func ratedConn(t testing.TB, r Rate) *conn {
	tenant := Tenant{
		Tenant: auth.Tenant{Name: "test", Access: auth.Allowlist{},
			Apps: []auth.App{{Name: "app", Role: auth.ReadWrite}}},
		Sessions: session.DefaultSettings(), Rates: Rates{Tenant: r, App: r, Address: r, SessionCreation: r},
	}
	s, err := New(Options{Policy: permissive{}, Sessions: session.NewManager(nil, session.Options{}),
		Tenants: []Tenant{tenant}})
	if err != nil {
		t.Fatal(err)
	}
	c := s.newConn(nowhere{}, &Listen{Name: "test", Anonymous: auth.Identity{Tenant: "test", App: "app"}})
	if err := c.caller.identify(c.initial()); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGatesAllocateNothing checks that the gates of a command allocate no memory.
func TestGatesAllocateNothing(t *testing.T) {
	c := ratedConn(t, Rate{PerSecond: 1e9, Burst: 1 << 30})
	call := &Call{Command: builtin().lookup([]byte("get")), conn: c}
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.caller.renew(); err != nil {
			t.Fatal(err)
		}
		if err := admitRate(call); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGates(b *testing.B) {
	for name, r := range map[string]Rate{"unlimited": {}, "limited": {PerSecond: 1e9, Burst: 1 << 30}} {
		b.Run(name, func(b *testing.B) {
			c := ratedConn(b, r)
			call := &Call{Command: builtin().lookup([]byte("ping")), conn: c}
			b.ReportAllocs()
			for b.Loop() {
				c.caller.access.admitted = true
				for i := range gates {
					if err := gates[i].admit(call); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// nowhere is a connection that has only an address.
type nowhere struct{ net.Conn }

func (nowhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
