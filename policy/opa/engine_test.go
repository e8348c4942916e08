package opa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"sessionserver/policy"
)

// start returns an engine for files, given as alternating names and texts. Its time limit is long, so that a busy
// machine does not fail a decision.
func start(t testing.TB, opts Options, files ...string) (*Engine, error) {
	t.Helper()
	if opts.Source == nil {
		opts.Source = FS("test", mapFS(files...))
	}
	if opts.Timeout == 0 {
		opts.Timeout = time.Hour
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	return New(t.Context(), opts)
}

func mustStart(t testing.TB, opts Options, files ...string) *Engine {
	t.Helper()
	e, err := start(t, opts, files...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mapFS(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

// rules returns a module of the operator.
func rules(text string) string { return "package sessionserver.authz\n\n" + text + "\n" }

// own returns a module of a tenant.
func own(text string) string { return "package sessionserver.tenant\n\n" + text + "\n" }

func TestDenyIsTheDefault(t *testing.T) {
	slow := "allow if {\n\tcount([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a * b " +
		"== 7.5]) == 0\n}"
	for name, test := range map[string]struct {
		rules   string
		failure string // part of the error; "" for none
	}{
		"undefined":         {`allow if input.tenant == "nobody"`, ""},
		"false":             {`default allow := false`, ""},
		"no boolean":        {`allow := "yes"`, "value is neither true nor false"},
		"a set":             {`allow contains "yes"`, "value is neither true nor false"},
		"conflict":          {"allow := true\n\nallow := false if input.app == \"shop\"", "conflict"},
		"builtin fails":     {"allow if not forbidden\n\nforbidden if to_number(input.app) == 1", "to_number"},
		"takes too long":    {slow, policy.ErrTimeout.Error()},
		"reasons fail":      {"allow if false\n\nreasons contains \"x\" if to_number(input.app) == 1", "to_number"},
		"reasons are wrong": {"allow if false\n\nreasons := 7", "value is not a set of strings"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{}
			if test.rules == slow {
				opts.Timeout = 50 * time.Millisecond
			}
			e := mustStart(t, opts, "a.rego", rules(test.rules))
			for range 2 { // the second decision may be cached
				d, err := e.Decide(t.Context(), &policy.Input{Tenant: "acme", App: "shop"})
				if d.Allow || (err != nil) != (test.failure != "") ||
					err != nil && !strings.Contains(err.Error(), test.failure) {
					t.Errorf("got %v %v, want an error with %q", d, err, test.failure)
				}
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		e := mustStart(t, Options{Timeout: time.Hour}, "a.rego", rules(slow))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if d, err := e.Decide(ctx, &policy.Input{}); d.Allow || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v %v", d, err)
		}
	})
}

func TestReasons(t *testing.T) {
	e := mustStart(t, Options{}, "a.rego", rules(`
reasons contains "first"
reasons contains "a\nline"
reasons contains "nothing" if input.app == "other"
reasons contains 7
allow if input.app == "good"
reasons contains sprintf("%s%d", [concat("", [x | some _ in numbers.range(1, 30); x := "0123456789"]), 1])
`))
	d, err := e.Decide(t.Context(), &policy.Input{App: "shop"})
	if err != nil || d.Allow || len(d.Reasons) != 3 || d.Reasons[1] != "a line" || len(d.Reasons[0]) != reasonMax ||
		d.Reasons[2] != "first" {
		t.Errorf("got %+v %v", d, err)
	}
	if d, err := e.Decide(t.Context(), &policy.Input{App: "good"}); err != nil || !d.Allow || d.Reasons != nil {
		t.Errorf("got %v %v", d, err)
	}
}

// TestRefused checks policies that must never be in force.
func TestRefused(t *testing.T) {
	good := rules("allow if true")
	for name, test := range map[string]struct {
		files []string
		want  string
	}{
		"nothing":  {nil, "no rule allow"},
		"no allow": {[]string{"a.rego", rules("deny if true")}, "no rule allow"},
		"syntax":   {[]string{"a.rego", rules("allow if {")}, "a.rego:4"},
		"typo in input": {[]string{"a.rego", rules(`allow if input.tenat == "a"`)},
			"undefined ref: input.tenat"},
		"typo below input": {[]string{"a.rego", rules(`allow if input.tls.certificate.issuer == "a"`)},
			"undefined ref"},
		"type of input": {[]string{"a.rego", rules(`allow if input.session.age_s == "a"`)}, "match error"},
		"typo in a tenant": {[]string{"a.rego", rules(`allow if data.tenants[input.tenant].setings.x`)},
			"setings"},
		"typo in an app": {[]string{"a.rego",
			rules(`allow if data.tenants.acme.apps[input.app].roles == "a"`)}, "roles"},
		"reaches out": {[]string{"a.rego",
			rules(`allow if http.send({"url": "http://localhost", "method": "get"})`)}, "undefined function http.send"},
		"reads the environment": {[]string{"a.rego", rules(`allow if opa.runtime().env.HOME`)},
			"undefined function opa.runtime"},
		"unsafe": {[]string{"a.rego", rules(`allow if x == 1`)}, "unsafe"},
		"test fails": {[]string{"a.rego", good, "a_test.rego", "package x\n\ntest_a if false"},
			"test data.x.test_a failed"},
		"test meets an error": {[]string{"a.rego", good, "a_test.rego",
			"package x\n\ntest_a if not to_number(\"a\")"}, "to_number"},
		"no test in a test file": {[]string{"a.rego", good, "a_test.rego", "package x\n\ntst_a if true"}, "no test"},
		"operator in tenant": {[]string{"a.rego", good, "tenants/acme/a.rego", good},
			"tenants/acme: no rule allow in package sessionserver.tenant"},
		"tenant in operator": {[]string{"a.rego", good, "b.rego", own("allow if true")},
			"is for the policies of tenants"},
		"tenant not at the root": {[]string{"a.rego", good, "policies/tenants/acme/b.rego", own("allow if true")},
			"/b.rego:1: package sessionserver.tenant is for the policies of tenants, and tenants/NAME/ for these " +
				"must be at the root of the folder or bundle, not in policies/: "},
		"annotated twice": {[]string{"a.rego", "# METADATA\n# title: a\n" + good, "b.rego",
			"# METADATA\n# title: b\n" + rules("x := 1")},
			"test: b.rego:1: rego_type_error: package annotation redeclared: "},
		"another schema": {[]string{"a.rego",
			rules("# METADATA\n# schemas:\n# - input: {type: object, additionalProperties: true}\n" +
				"allow if input.tenat")}, "undefined ref: input.tenat"},
		"tenant without a folder": {[]string{"a.rego", good, "tenants/a.rego", good}, "folder"},
		"tenant's typo": {[]string{"a.rego", good, "tenants/acme/a.rego", own("allow if input.x")},
			"test: tenants/acme/a.rego:3: "},
		"data of tenants": {[]string{"a.rego", good, "data.json", `{"tenants": {"acme": {"apps": {}}}}`},
			"without a policy"},
		"data is garbage": {[]string{"a.rego", good, "data.json", `{`}, "data.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := start(t, Options{}, test.files...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestDraft checks that a draft explains decisions although its tests fail or do not compile, and reports that. The
// policies themselves must compile.
func TestDraft(t *testing.T) {
	for want, files := range map[string][]string{
		"": {"a.rego", rules("allow if input.app == \"shop\""), "a_test.rego", "package a\n\ntest_a if true"},
		"test: a_test.rego:3: test data.a.test_a failed": {"a.rego", rules("allow if input.app == \"shop\""),
			"a_test.rego", "package a\n\ntest_a if false"},
		"test: a_test.rego:3: rego_unsafe_var_error": {"a.rego", rules("allow if input.app == \"shop\""),
			"a_test.rego", "package a\n\ntest_a if x"},
		"rego_type_error: undefined ref: input.ap ": {"a.rego", rules("allow if input.ap == \"shop\"")},
		"no rule allow": {"b.rego", rules("deny if true")},
	} {
		e, tests, err := Draft(t.Context(), Options{Source: FS("test", mapFS(files...))})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if (e != nil) != (len(files) == 4) {
			t.Errorf("%s: engine returned: %v", want, e != nil)
		}
		if e == nil {
			continue
		}
		if d, _, err := e.Explain(t.Context(), &policy.Input{App: "shop"}); err != nil || !d.Allow {
			t.Errorf("%s: got %v %v", want, d, err)
		}
		if n := len(tests); n != 1 && !strings.Contains(want, "unsafe") {
			t.Errorf("%s: %d tests", want, n)
		}
	}
}

// TestMetadata checks that rules can read their annotations, as in the opa program.
func TestMetadata(t *testing.T) {
	e := mustStart(t, Options{}, "a.rego", rules("# METADATA\n# title: one\n"+
		"allow if rego.metadata.rule().title == input.app"))
	for app, want := range map[string]bool{"one": true, "two": false} {
		allows(t, e, policy.Input{App: app}, want)
	}
}

// TestTenantsPolicy checks that both policies decide, and that each sees only its own data.
func TestTenantsPolicy(t *testing.T) {
	tenants := []policy.Tenant{
		{Name: "acme", Settings: map[string]any{"secret": "of acme"}},
		{Name: "evil", Settings: map[string]any{"n": 1}}, {Name: "plain"},
	}
	e := mustStart(t, Options{Tenants: tenants},
		"a.rego", rules("allow if data.shared.open\n\nreasons contains \"the operator\""),
		"shared/data.yaml", "open: true\nhidden: 1\n",
		"b.rego", "package lib\n\nanswer := 42\n",
		"tenants/evil/a.rego", own(`
allow if {
	input.app == "good"
	data.own.x == 7
	data.tenants.evil.settings.n == 1
	not leaks
}
leaks if data.tenants.acme
leaks if count(data.tenants) != 1
leaks if data.lib.answer != 666
leaks if data.shared
leaks if data.sessionserver.authz.allow
reasons contains sprintf("evil returns %v", [data.own.x])`),
		"tenants/evil/b.rego", "package lib\n\nanswer := 666\n\nallow if true\n",
		"tenants/evil/c.rego", "package sessionserver.authz\n\nignored := 1\n",
		"tenants/evil/own/data.json", `{"x": 7}`,
		"tenants/acme/a.rego", own("allow if {\n\tnot data.own\n\tnot data.lib\n"+
			"\tdata.tenants.acme.settings.secret\n}"),
	)
	for id, want := range map[[2]string]string{
		{"plain", "x"}:   "true []",
		{"acme", "x"}:    "true []",
		{"evil", "good"}: "true []",
		{"evil", "x"}:    "false [evil returns 7]",
	} {
		for range 2 {
			if d, err := e.Decide(t.Context(), &policy.Input{Tenant: id[0], App: id[1]}); err != nil ||
				fmt.Sprint(d.Allow, d.Reasons) != want {
				t.Errorf("%v: got %v %v, want %s", id, d, err, want)
			}
		}
	}
}

// TestGlobsApart checks that no glob is confused with another one, neither across policies nor within one, despite
// OPA's names for them.
func TestGlobsApart(t *testing.T) {
	e := mustStart(t, Options{Tenants: []policy.Tenant{
		{Name: "other", Settings: map[string]any{"pattern": "*"}},
		{Name: "strict", Settings: map[string]any{"pattern": "user.*-"}},
	}},
		"a.rego", rules(`
allow if glob.match(data.tenants[input.tenant].settings.pattern, null, input.key)
reasons contains "unlike" if glob.match("user.*", ["-"], input.key)
reasons contains "likewise" if regex.match("user.*-", input.key)`),
		"tenants/other/a.rego", own(`allow if glob.match("user.*", ["-"], input.key)`))
	for _, row := range []struct{ tenant, key, want string }{
		{"other", "user.name", "true []"},
		{"strict", "user.name", "false [unlike]"},
		{"strict", "user.namf", "false [unlike]"},
		{"strict", "user.name-", "true []"},
		{"other", "user.name-", "false []"},
		{"strict", "cart", "false []"},
	} {
		if d, err := e.Decide(t.Context(), &policy.Input{Tenant: row.tenant, Key: []byte(row.key)}); err != nil ||
			fmt.Sprint(d.Allow, d.Reasons) != row.want {
			t.Errorf("%s, %s: got %v %v, want %s", row.tenant, row.key, d, err, row.want)
		}
	}
}

// TestTenants replaces data.tenants between decisions. Each decision must be correct for the current data.
func TestTenants(t *testing.T) {
	e := mustStart(t, Options{}, "a.rego", rules("allow if data.tenants[input.tenant].settings.open"))
	in := &policy.Input{Tenant: "acme"}
	for _, open := range []bool{true, false, true} {
		if err := e.SetTenants([]policy.Tenant{{Name: "acme", Settings: map[string]any{"open": open}}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if d, err := e.Decide(t.Context(), in); err != nil || d.Allow != open {
				t.Errorf("got %v %v, want %v", d, err, open)
			}
		}
	}
	if err := e.SetTenants([]policy.Tenant{{Name: "acme", Settings: map[string]any{"f": func() {}}}}); err == nil {
		t.Error("a function is accepted as a setting")
	}
}

// TestNotCached checks that a decision that depends on the time is not cached.
func TestNotCached(t *testing.T) {
	e := mustStart(t, Options{}, "a.rego", rules("now := time.now_ns()\n\nallow if {\n"+
		"\tx := data.sessionserver[\"authz\"].now\n\tx % 2 == 0\n}\n\nreasons contains \"x\""))
	results := map[bool]bool{}
	for i := 0; len(results) < 2 && i < 10000; i++ {
		d, err := e.Decide(t.Context(), &policy.Input{})
		if err != nil {
			t.Fatal(err)
		}
		results[d.Allow] = true
	}
	if len(results) != 2 {
		t.Errorf("got the same decision 10,000 times: %v", e.Status().Caching)
	}
}

func TestReads(t *testing.T) {
	for rules, want := range map[string]string{
		`allow if input.tenant == "a"`: "cached by tenant",
		`allow if true`:                "cached by nothing",
		`allow if input.tls.version`:   "cached by tls.version",
		`allow if input.session`: "cached by session.open, " +
			"session.new, session.age_s, session.bytes, session.keys",
		`allow if input.tls.certificate.dns_names[_] == "a"`:                    "cached by tls.certificate.dns_names",
		`allow if input[_] == "a"`:                                              "cached by the whole input",
		`allow if walk(input, [_, "a"])`:                                        "cached by the whole input",
		"allow if {\n\tx := input\n\tx.tenant == \"a\"\n}":                      "cached by the whole input",
		`allow if data.tenants[input.tenant].apps[input.app].role == "a"`:       "cached by tenant, app",
		"allow if f(input.app)\n\nf(x) if x == input.key":                       "cached by app, key",
		"allow if other with input.app as \"a\"\n\nother if input.app == \"a\"": "cached by app",
		"allow if o.a == 1\n\no[input.app] := 1":                                "cached by app",
		"allow if o.a.b\n\no[x][input.key] := 1 if some x in [input.app]":       "cached by app, key",
		"allow if o.a.b == 1\n\no[x].b := 1 if some x in [input.app]":           "cached by app",
		"allow if f == \"ab\"\n\nf := $\"{input.app}b\"":                        "cached by app",
		`allow if time.now_ns() > 1`: "not cached, because it calls " +
			"time.now_ns",
		"allow if count(\"a\") == 1 with count as f\n\n" +
			"f(_) := time.now_ns()": "not cached, because it calls time.now_ns",
		"allow if input.app == \"a\"\n\nunrelated if input.key == \"b\"": "cached by app",
	} {
		p, err := compileText("package sessionserver.authz\n\n" + rules + "\n")
		if err != nil {
			t.Errorf("%s: %v", rules, err)
		} else if got := p.allow.reads.String(); got != want {
			t.Errorf("%s\ngot %s, want %s", rules, got, want)
		}
	}
}

// TestBuiltins compares the allowed builtins with a reviewed list, so that no builtin of another version of OPA is
// added unnoticed.
func TestBuiltins(t *testing.T) {
	var names []string
	for _, b := range capabilities.Builtins {
		names = append(names, b.Name)
	}
	golden(t, "testdata/builtins.txt", strings.Join(names, "\n")+"\n")
}

func TestExplain(t *testing.T) {
	e := mustStart(t, Options{}, "a.rego", rules("allow if input.app == \"shop\""), "tenants/acme/a.rego",
		own("allow if input.command == \"get\"\n\nreasons contains \"no\""))
	d, text, err := e.Explain(t.Context(), &policy.Input{Tenant: "acme", App: "shop", Command: "put"})
	if err != nil || d.Allow || d.Reasons[0] != "no" {
		t.Error(d, err)
	}
	for _, want := range []string{"policy of the operator: allow, cached by app",
		"policy of tenant acme: allow, cached by command", "a.rego:3", `reasons are ["no"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// recorder holds what the observers and the decision log receive.
type recorder struct {
	mu        sync.Mutex
	evaluated []policy.Evaluation
	reloaded  []error
	logged    []string
}

func (s *recorder) recordReload(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reloaded = append(s.reloaded, err)
}

func (s *recorder) recordDecision(e policy.Evaluation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evaluated = append(s.evaluated, e)
}

type decisionLog struct{ *recorder }

func (l decisionLog) Decided(in *policy.Input, d policy.Decision, e policy.Evaluation, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logged = append(l.logged, fmt.Sprint(in.App, d.Allow, e.Cached, err != nil))
}

func TestObserver(t *testing.T) {
	s := &recorder{}
	e := mustStart(t, Options{Decided: s.recordDecision, Reloaded: s.recordReload, Log: decisionLog{s}}, "a.rego",
		rules(`allow if input.app == "shop"`+"\n\n"+`allow := false if to_number(input.app) == 1`))
	for _, app := range []string{"1", "1", "x"} {
		_, _ = e.Decide(t.Context(), &policy.Input{App: app})
	}
	want := []policy.Evaluation{{Outcome: policy.Denied}, {Outcome: policy.Denied, Cached: true},
		{Outcome: policy.Failed}}
	for i, got := range s.evaluated {
		if got.Outcome != want[i].Outcome || got.Cached != want[i].Cached || got.Cached != (got.Duration == 0) {
			t.Errorf("%d: got %+v, want %+v", i, got, want[i])
		}
	}
	if len(s.evaluated) != 3 || len(s.reloaded) != 1 || s.reloaded[0] != nil ||
		fmt.Sprint(s.logged) != "[1false false false 1false true false xfalse false true]" {
		t.Errorf("got %+v", s)
	}
}

// TestRace runs decisions, reloads and changes of tenants at the same time. Policy and data of a version belong
// together, so a mixture would deny.
func TestRace(t *testing.T) {
	versions := &versions{}
	e := mustStart(t, Options{Source: versions}, "")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				in := &policy.Input{Tenant: "acme", App: fmt.Sprint(i % 100), Address: netip.MustParseAddr("192.0.2.1")}
				if d, err := e.Decide(t.Context(), in); err != nil || !d.Allow {
					t.Errorf("got %v %v", d, err)
					return
				}
			}
		})
	}
	for i := range 30 {
		versions.n.Add(1)
		if err := e.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if err := e.SetTenants([]policy.Tenant{{Name: "acme", Settings: map[string]any{"n": i}}}); err != nil {
			t.Error(err)
		}
		_ = e.Status()
	}
	stop.Store(true)
	wg.Wait()
}

// versions is a source whose policy requires the data of the same version.
type versions struct {
	files
	n atomic.Int64
}

func (v *versions) String() string { return "versions" }

func (v *versions) load(ctx context.Context) (*contents, error) {
	f := files{name: "versions", fsys: mapFS(
		"a.rego", rules(fmt.Sprintf("allow if {\n\tdata.version == %d\n\tinput.address == \"192.0.2.1\"\n"+
			"\tinput.app\n}", v.n.Load())),
		"data.json", fmt.Sprintf(`{"version": %d}`, v.n.Load()))}
	return f.load(ctx)
}
