package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// judge decides by a function, and records the inputs.
type judge struct {
	mu     sync.Mutex
	inputs []string
	allow  func(in *policy.Input) bool
}

func (j *judge) Decide(_ context.Context, in *policy.Input) (policy.Decision, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	question := strings.TrimSpace(strings.Join([]string{in.Command, in.Access.String(), in.Mode, string(in.Key)}, " "))
	j.inputs = append(j.inputs, strings.Join(strings.Fields(question), " "))
	if in.Command == "stat" {
		return policy.Decision{Allow: true}, errors.New("the policy is broken")
	}
	if in.Tenant != "test" || in.App != "app" || in.Role != "readwrite" || in.Listener != "test" ||
		in.Address != netip.MustParseAddr("127.0.0.1") ||
		in.TLS != "" || in.Certificate != nil {
		return policy.Decision{}, nil
	}
	return policy.Decision{Allow: j.allow == nil || j.allow(in), Reasons: nil}, nil
}

func (j *judge) questions() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	inputs := j.inputs
	j.inputs = nil
	return inputs
}

// TestPolicyQuestions checks the policy inputs of each command, as docs/policy.md describes them.
func TestPolicyQuestions(t *testing.T) {
	j := &judge{}
	s := servertest.Start(t, servertest.Config{Options: server.Options{Policy: j}})
	p := dial(t, s)
	id := strings.TrimPrefix(p.Ask("new", "ok "), "ok ")
	for _, row := range []struct {
		line, want string
		inputs     []string
	}{
		{"put a 1", "ok", []string{"put write rw a"}},
		{"put b 2", "ok", []string{"put write rw b"}},
		{"expire b 60", "ok", []string{"expire write rw b"}},
		{"get a", "ok 1", []string{"get read rw a"}},
		{"exists a", "ok", []string{"exists read rw a"}},
		{"get_all", "ok a:2:", []string{"get_all read rw", "get_all read rw a", "get_all read rw b"}},
		{"keys", "ok a|b", []string{"keys read rw", "keys read rw a", "keys read rw b"}},
		{`put_all a:1:{s:1:"c";s:1:"3";}`, "ok", []string{"put_all write rw", "put_all write rw c",
			"put_all write rw a", "put_all write rw b"}},
		{"remove c", "ok", []string{"remove write rw c"}},
		{"lifetime", "ok", []string{"lifetime read rw"}},
		{"lifetime 60", "ok", []string{"lifetime write rw"}},
		{"regenerate_id 60", "ok", []string{"regenerate_id write rw"}},
		{"commit", "ok", []string{"commit write rw"}},
		{"get a", "err NOKEY", []string{"get read r a"}},
		{"close", "ok", []string{"close read r"}},
		{"open " + id, "ok", []string{"open write rw"}},
		{"close", "ok", []string{"close write rw"}},
		{"open " + id + " u", "ok", []string{"open write u"}},
		{"abort", "ok", []string{"abort none u"}},
		{"open " + id + " s", "ok", []string{"open read s"}},
		{"commit", "err ", []string{"commit read s"}},
		{"stat", "err UNAVAILABLE the policy made no decision", []string{"stat read s"}},
		{"abort", "ok", []string{"abort none s"}},
		{"open " + id + " r 0", "ok", []string{"open read r"}},
		{"close", "ok", []string{"close read r"}},
		{"open " + id + " x", "err BADARG ", []string{"open write rw"}},
		{"new 60", "ok", []string{"new write rw"}},
		{"destroy", "ok", []string{"destroy write rw"}},
		{"whoami", "ok", []string{"whoami none"}},
		{"ping", "ok", nil},
		{"get a", "err NOSESSION", nil},
		{"get", "err BADARG", nil},
	} {
		j.questions()
		p.Ask(row.line, row.want)
		inputs := j.questions()
		slices.Sort(inputs)
		want := slices.Sorted(slices.Values(row.inputs))
		if !slices.Equal(slices.Compact(inputs), want) {
			t.Errorf("%s: inputs %q, want %q", row.line, inputs, want)
		}
	}
}

// TestPolicyEachKey checks that the policy decides about each key of a request, and gets no value.
func TestPolicyEachKey(t *testing.T) {
	j := &judge{}
	s := servertest.Start(t, servertest.Config{Options: server.Options{Policy: j}})
	p := dial(t, s)
	p.Ask("new", "ok ")
	for _, row := range []struct {
		words, want string
		inputs      []string
	}{
		{"put a 1 b 2 c 3", "+OK", []string{"put write rw a", "put write rw b", "put write rw c"}},
		{"put a 1 b 2 c", "-BADARG", []string{"put write rw a", "put write rw b", "put write rw c"}},
		{"put d", "+OK", []string{"put write rw d"}},
		{"get a b c d", "*4", []string{"get read rw a", "get read rw b", "get read rw c", "get read rw d"}},
		{"remove c d x", ":2", []string{"remove write rw c", "remove write rw d", "remove write rw x"}},
		{"put_all a 4 e 5", "+OK", []string{"put_all write rw", "put_all write rw a", "put_all write rw b",
			"put_all write rw a", "put_all write rw e"}},
	} {
		j.questions()
		words := strings.Fields(row.words)
		request := fmt.Sprintf("*%d\r\n", len(words))
		for _, w := range words {
			request += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
		}
		p.Send(request)
		p.Want(row.want)
		for range map[string]int{"*4": 8}[row.want] {
			p.Line()
		}
		if inputs := j.questions(); !slices.Equal(inputs, row.inputs) {
			t.Errorf("%s: inputs %q, want %q", row.words, inputs, row.inputs)
		}
	}
}

// TestPolicyKeys checks that an app reads and changes only its keys. A request with any other key is refused as a
// whole and changes nothing.
func TestPolicyKeys(t *testing.T) {
	j := &judge{}
	s := servertest.Start(t, servertest.Config{Options: server.Options{Policy: j}})
	p := dial(t, s)
	id := strings.TrimPrefix(p.Ask("new", "ok "), "ok ")
	p.Ask("put  nobody's", "ok")
	p.Ask(`put_all a:5:{s:0:"";s:8:"nobody's";s:6:"user.a";s:1:"1";s:6:"user.b";s:1:"2";`+
		`s:6:"cart.a";s:1:"3";s:6:"hidden";s:1:"4";}`, "ok")
	p.Ask("close", "ok")
	j.mu.Lock()
	j.allow = func(in *policy.Input) bool {
		key := string(in.Key)
		return in.Key == nil || strings.HasPrefix(key, "cart.") ||
			in.Access == policy.Read && strings.HasPrefix(key, "user.")
	}
	j.mu.Unlock()
	p.Ask("open "+id, "ok")
	p.Ask("keys", "ok user.a|user.b|cart.a")
	p.Ask("get_all", `ok a:3:{s:6:"user.a";s:1:"1";s:6:"user.b";s:1:"2";s:6:"cart.a";s:1:"3";}`)
	p.Ask("get hidden", "err DENIED the policy does not allow this app to get (key \"hidden\")")
	p.Ask("get user.a", "ok 1")
	p.Ask("put user.a 9", "err DENIED ")
	p.Ask("remove user.a", "err DENIED ")
	p.Ask("expire hidden 9", "err DENIED ")
	// the empty key is a key in both framings
	p.Ask("get ", `err DENIED the policy does not allow this app to get (key "")`)
	p.Ask("put  x", "err DENIED ")
	p.Send("*3\r\n$3\r\nput\r\n$0\r\n\r\n$1\r\nx\r\n")
	p.Want("-DENIED ")
	p.Ask(`put_all a:1:{s:0:"";s:1:"x";}`, "err DENIED ")
	p.Ask(`put_all a:2:{s:6:"cart.b";s:1:"5";s:6:"user.a";s:1:"9";}`, "err DENIED ")
	p.Ask("keys", "ok user.a|user.b|cart.a")
	p.Ask(`put_all a:1:{s:6:"cart.b";s:1:"5";}`, "ok") // replaces cart.a and no other key
	p.Send("*5\r\n$3\r\nput\r\n$6\r\ncart.c\r\n$1\r\n1\r\n$6\r\nuser.c\r\n$1\r\n1\r\n")
	p.Want("-DENIED ")
	p.Send("*3\r\n$3\r\nget\r\n$6\r\ncart.b\r\n$6\r\nhidden\r\n")
	p.Want("-DENIED ")
	p.Ask("close", "ok")
	j.mu.Lock()
	j.allow = nil
	j.mu.Unlock()
	p.Ask("open "+id+" r", "ok")
	p.Ask("keys", "ok |user.a|user.b|hidden|cart.b")
	p.Ask("get ", "ok nobody's")
	p.Ask("get user.a", "ok 1")
}

// TestPolicyRole checks that the next command of an open connection uses the current role of its app.
func TestPolicyRole(t *testing.T) {
	var role atomic.Value
	tenant := servertest.Tenant("test/app", "secret")
	s := servertest.Start(t, servertest.Config{
		Tenants: []server.Tenant{tenant},
		Options: server.Options{Policy: hesitant(func(in *policy.Input) error { role.Store(in.Role); return nil })},
	})
	p := dial(t, s)
	p.Ask("auth test/app secret", "ok")
	for _, now := range []auth.Role{auth.ReadWrite, auth.ReadOnly, auth.Admin} {
		tenant.Apps = []auth.App{tenant.Apps[0]}
		tenant.Apps[0].Role = now
		if err := s.SetTenants([]server.Tenant{tenant}); err != nil {
			t.Fatal(err)
		}
		p.Ask("whoami", "ok tenant=test app=app role="+string(now))
		if got := role.Load(); got != string(now) {
			t.Errorf("the input has role %v, want %s", got, now)
		}
	}
}

// hesitant allows every input for which it has no error.
type hesitant func(in *policy.Input) error

func (h hesitant) Decide(_ context.Context, in *policy.Input) (policy.Decision, error) {
	err := h(in)
	return policy.Decision{Allow: err == nil}, err
}

// TestPolicyUndecided checks that a key whose decision fails is hidden from the app. A decision that exceeds its time
// refuses the whole command instead, since the visible keys must not depend on the load of the server.
func TestPolicyUndecided(t *testing.T) {
	var failure atomic.Pointer[error]
	log := new(servertest.Buffer)
	s := servertest.Start(t, servertest.Config{Options: server.Options{
		Logger: slog.New(slog.NewTextHandler(log, nil)),
		Policy: hesitant(func(in *policy.Input) error {
			if err := failure.Load(); err != nil && string(in.Key) == "b" {
				return *err
			}
			return nil
		}),
	}})
	p := dial(t, s)
	p.Ask("new", "ok ")
	p.Ask("put a 1", "ok")
	p.Ask("put b 2", "ok")
	fails := func(err error) { failure.Store(&err) }

	fails(fmt.Errorf("policy: allow: %w", policy.ErrTimeout))
	for _, line := range []string{"keys", "get_all", `put_all a:1:{s:1:"a";s:1:"3";}`,
		`put_all a:1:{s:1:"b";s:1:"3";}`, "get b"} {
		p.Ask(line, "err UNAVAILABLE the policy made no decision, and nothing was done: try again; the operator's "+
			"log has the cause")
	}
	p.Ask("get a", "ok 1")
	fails(errors.New("policy: allow: to_number: b is none"))
	p.Ask("keys", "ok a")
	p.Ask(`put_all a:1:{s:1:"a";s:1:"4";}`, "ok")
	p.Ask("get b", "err UNAVAILABLE the policy made no decision")
	for range 100 {
		p.Ask("keys", "ok a")
	}
	failure.Store(nil)
	p.Ask("get_all", `ok a:2:{s:1:"b";s:1:"2";s:1:"a";s:1:"4";}`)
	if n := strings.Count(log.String(), "policy made no decision"); n < 10 || n > 50 {
		t.Errorf("the log has %d such lines:\n%s", n, log)
	}
}
