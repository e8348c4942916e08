package opa

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"sessionserver/policy"
)

// TestSoundness compares cached with evaluated decisions, for random policies and for inputs that differ in a few
// facts.
func TestSoundness(t *testing.T) {
	policies, inputs := 400, 150
	if testing.Short() {
		policies = 60
	}
	compiled, compared, hits, outcomes := 0, 0, 0, [3]int{}
	for seed := range uint64(policies) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 5)), wide: seed%4 == 0}
		text := g.policy()
		p, err := compileText(text)
		if err != nil {
			t.Logf("seed %d: %v", seed, err)
			continue
		}
		compiled++
		terms, err := tenantTerms(g.tenants())
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSnapshot(&programs{operator: p}, terms, 1<<12, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		base := g.input()
		for i := range inputs {
			if i%50 == 49 {
				base = g.input()
			}
			in := g.near(base)
			got, took, gotErr := s.decide(t.Context(), in)
			want, wantErr := plain(t.Context(), s, in)
			if got.Allow != want.Allow || !slices.Equal(got.Reasons, want.Reasons) ||
				(gotErr == nil) != (wantErr == nil) {
				t.Fatalf("seed %d: cached %v %v, evaluated %v %v\ninput %v\n%s\nallow: %v\nreasons: %v", seed, got,
					gotErr, want, wantErr,
					inputTerm(in), text, p.allow.reads, p.reasons.reads)
			}
			compared++
			if took == 0 {
				hits++
			}
			switch {
			case wantErr != nil:
				outcomes[policy.Failed]++
			case want.Allow:
				outcomes[policy.Allowed]++
			default:
				outcomes[policy.Denied]++
			}
		}
	}
	t.Logf("%d of %d policies compiled; %d decisions, %d cached; failed, denied, allowed: %v", compiled, policies,
		compared, hits, outcomes)
	if compiled < policies*3/4 || hits < compared/5 || outcomes[policy.Allowed] < compared/20 ||
		outcomes[policy.Denied] < compared/20 {
		t.Error("too few cached decisions for a meaningful result")
	}
}

// plain decides without the cache of s.
func plain(ctx context.Context, s *snapshot, in *policy.Input) (policy.Decision, error) {
	p := s.operator
	a, err := p.evaluate(ctx, &p.allow, p.data, inputTerm(in), s.limit, nil)
	if err != nil || a.allow {
		return policy.Decision{Allow: a.allow}, err
	}
	a, err = p.evaluate(ctx, &p.reasons, p.data, inputTerm(in), s.limit, nil)
	return policy.Decision{Reasons: a.reasons}, err
}

// compileText compiles the modules in text, each of which begins with its package.
func compileText(text string) (*program, error) {
	c := newContent("")
	for i, module := range strings.Split(text, "package ")[1:] {
		m, err := ast.ParseModuleWithOpts(fmt.Sprint(i, ".rego"), "package "+module,
			ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, err
		}
		c.modules[fmt.Sprint(i, ".rego")] = m
	}
	return compile(c, operatorPackage)
}

// generator creates random policies and inputs.
type generator struct {
	*rand.Rand
	wide bool // policies may read the whole input, which hides their other reads
}

func (g *generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *generator) word() string { return g.one("a", "b", "c") }

func (g *generator) lit() string { return fmt.Sprintf("%q", g.word()) }

// either returns wide for policies that may read the whole input.
func (g *generator) either(wide, narrow string) string {
	if g.wide {
		return wide
	}
	return narrow
}

func (g *generator) path() string { return paths[g.IntN(int(fieldCount))] }

// text returns a path of a string, so that most comparisons pass the type checker.
func (g *generator) text() string {
	return "input." + g.one("tenant", "app", "role", "command", "access", "mode", "key", "address", "listener",
		"tls.version", "tls.certificate.subject",
		"tls.certificate.sha256", "tls.certificate.dns_names[0]", "tls.certificate.uris[0]")
}

// policy returns a library of rules that use each other, and the rules that are evaluated.
func (g *generator) policy() string {
	var b strings.Builder
	b.WriteString("package lib\n\nfirst(x) if x == \"a\"\n\nsecond(x) if x == input.key\n\n" +
		"many := {\"a\", input.app}\n\nloud(x) := count(x) + 1\n\n")
	if g.wide {
		b.WriteString("second(x) if input[x] == \"b\"\n\n")
	}
	rules := 3 + g.IntN(6)
	for i := range rules {
		name := fmt.Sprintf("r%d", i)
		switch g.IntN(7) {
		case 0:
			fmt.Fprintf(&b, "default %s := false\n\n%s if {\n%s}\n\n", name, name, g.body(i))
		case 1:
			fmt.Fprintf(&b, "%s if {\n%s} else := false if {\n%s} else if {\n%s}\n\n", name, g.body(i), g.body(i),
				g.body(i))
		case 2:
			fmt.Fprintf(&b, "p%d contains x if {\nsome x in [\"a\", %s]\n%s}\n\n%s if p%d[%s]\n\n", i, g.text(),
				g.body(i), name, i, g.text())
		case 3:
			fmt.Fprintf(&b, "o%d[%s] := %s if {\n%s}\n\n%s if o%d%s\n\n", i, g.text(), g.text(), g.body(i), name, i,
				g.one(`.a == "a"`, `.b`, `[_] == "b"`))
		case 4:
			fmt.Fprintf(&b, "q%d[%s].end := %s if {\n%s}\n\n%s if q%d%s.end == %s\n\n", i, g.text(), g.lit(),
				g.body(i), name, i, g.one(".a", "["+g.text()+"]"), g.lit())
		case 5:
			fmt.Fprintf(&b, "f%d(x, y) if {\nx == y\n%s}\n\nf%d(x, _) if x == %s\n\n%s if f%d(%s, %s)\n\n", i,
				g.body(i), i, g.text(), name, i, g.text(), g.lit())
		default:
			fmt.Fprintf(&b, "%s if {\n%s}\n\n%s if {\n%s}\n\n", name, g.body(i), name, g.body(i))
		}
	}
	b.WriteString("package sessionserver.authz\n\nimport data.lib\n\nimport data.lib as other\n\n")
	for range 1 + g.IntN(2) {
		fmt.Fprintf(&b, "allow if {\n%s}\n\n", strings.ReplaceAll(g.body(-rules), "data.lib.",
			g.one("lib.", "other.", "data.lib.")))
	}
	fmt.Fprintf(&b, "reasons contains %s if {\n%s}\n\n", g.one(g.lit(), `sprintf("%v", [`+g.text()+`])`, g.text(),
		g.either(`json.marshal(input)`, `"c"`)), g.body(-rules))
	return b.String()
}

// body returns a few conditions. Rule n may use the rules before it. A negative n is for the evaluated rules, which
// may use all -n rules.
func (g *generator) body(n int) string {
	var b strings.Builder
	for range 1 + g.IntN(2) {
		b.WriteString("\t" + g.condition(n, 2) + "\n")
	}
	return b.String()
}

func (g *generator) condition(n, depth int) string {
	rule := "true"
	if before := max(n, -n); before > 0 {
		rule = fmt.Sprintf("data.lib.r%d", g.IntN(before))
	}
	v := fmt.Sprintf("v%d", g.IntN(1e6))
	if depth == 0 {
		return g.text() + " == " + g.lit()
	}
	choices := []func() string{
		func() string { return g.text() + " == " + g.lit() },
		func() string { return g.text() + " != " + g.text() },
		func() string { return g.text() + " in {\"a\", " + g.text() + "}" },
		func() string { return "not " + g.condition(n, 0) },
		func() string { return rule },
		func() string { return "not " + rule },
		func() string { return "input." + g.path() },
		func() string {
			return "input.session." + g.one("age_s", "bytes", "keys") + g.one(" < ", " == ") + g.one("1", "2")
		},
		func() string { return "input.session.open" },
		func() string { return rule + " with input.tenant as " + g.one(g.lit(), g.text()) },
		func() string {
			return rule + " with input as " + g.one(`{"tenant": "a", "app": input.app}`,
				g.either("input", "input.session"), g.either(`object.union(input, {"key": "a"})`, "{}"), "input.tls")
		},
		func() string {
			return g.one(rule, `data.lib.first("a")`, "data.lib.first("+g.text()+")") + " with data.lib.first as " +
				g.one("data.lib.second", "data.lib.second", "true", "false", g.text()+" == "+g.lit())
		},
		func() string { return rule + " with data.lib.many as " + g.one(`{"a"}`, "{"+g.text()+"}") },
		func() string { return "data.lib." + g.one("first", "second") + "(" + g.text() + ")" },
		func() string { return g.one("data.lib.many["+g.text()+"]", g.text()+" in data.lib.many") },
		func() string {
			return v + " := input; " + v + g.one(".tenant", ".tls.version", "[\"app\"]") + " == " + g.lit()
		},
		func() string { return v + " := input.tls; " + v + ".certificate.subject == " + g.lit() },
		func() string { return v + " = input.session; " + v + ".open" },
		func() string { return "some " + v + "; input.tls[" + v + "].subject == " + g.lit() },
		func() string { return "walk(input.tls, [_, " + v + "]); " + v + " == " + g.lit() },
		func() string { return "object.get(input.session, \"keys\", 0) == 1" },
		func() string {
			return "object.get(input, " + g.one(`"app"`, `["tls", "version"]`) + ", \"c\") == " + g.lit()
		},
		func() string {
			return "count([" + v + " | some " + v + " in [\"a\", \"b\"]; " + g.condition(n, depth-1) + "]) > 0"
		},
		func() string {
			return "count({" + v + " | some " + v + " in [\"a\", " + g.text() + "]; " + v + " == " + g.text() +
				"}) == 1"
		},
		func() string { return "{" + v + ": 1 | some " + v + " in [\"a\", " + g.text() + "]}[" + g.text() + "]" },
		func() string {
			return "every " + v + " in [\"a\", \"b\"] { " + v + g.one(" != ", " == ") + g.text() + " }"
		},
		func() string {
			return "every " + v + " in [" + g.text() + "] { " + v + " != \"z\"; " + g.condition(n, depth-1) + " }"
		},
		func() string { return "{\"a\": " + g.text() + ", \"b\": \"b\"}[" + g.text() + "] == " + g.lit() },
		func() string { return "data.tenants[" + g.text() + "].apps[" + g.text() + "].role == " + g.lit() },
		func() string { return "data.tenants[input.tenant].settings[" + g.text() + "] == " + g.text() },
		func() string { return "data.tenants[" + v + "].settings.a == " + g.text() },
		func() string {
			return rule + " with data.tenants as {\"a\": {\"apps\": {}, \"settings\": {\"a\": " + g.text() + "}}}"
		},
		func() string { return "$\"{" + g.text() + "}.{" + g.text() + "}\" == \"a.b\"" },
		func() string { return "count(" + g.text() + ") == 1 with count as data.lib.loud" },
		func() string { return "startswith(concat(\".\", [" + g.text() + ", " + g.text() + "]), \"a\")" },
	}
	if g.wide {
		choices = append(choices,
			func() string { return "some " + v + " in [\"app\", \"key\"]; input[" + v + "] == " + g.lit() },
			func() string { return "some " + v + "; input[" + v + "] == " + g.lit() },
			func() string { return "input[lower(" + g.text() + ")] == " + g.lit() },
			func() string { return "walk(input, [_, " + v + "]); " + v + " == " + g.lit() },
			func() string { return "sprintf(\"%v\", [" + g.one("input", "input.session", g.text()) + "]) != \"a\"" },
			func() string { return "some " + v + "; input[" + v + "].version == " + g.lit() },
		)
	}
	if n < 0 { // a reference to any rule; in the library it would be recursive
		choices = append(choices,
			func() string { return "data.lib[concat(\"\", [\"r\", \"" + fmt.Sprint(g.IntN(-n)) + "\"])]" },
			func() string { return "some " + v + " in {\"r0\", \"r1\"}; data.lib[" + v + "]" },
			func() string { return "data.lib[" + g.text() + "]" },
			func() string { return "count([" + v + " | data.lib[" + v + "]]) > 4" },
			func() string { return v + " := data.lib; " + v + ".r0" },
			func() string { return "data.lib.r0 with input.app as data.lib.r1" },
		)
	}
	return choices[g.IntN(len(choices))]()
}

// input returns an input with few different values, so that many inputs share most of them.
func (g *generator) input() *policy.Input {
	in := &policy.Input{
		Tenant: g.word(), App: g.word(), Role: g.word(), Command: g.word(), Access: policy.Access(g.IntN(3)),
		Mode: g.one("", "a", "b"),
		Key:  [][]byte{nil, {}, []byte("a"), []byte("b"), []byte("app")}[g.IntN(5)], Listener: g.word(),
		TLS: g.one("", "a", "b"),
		Session: policy.Session{Open: g.IntN(2) == 0, New: g.IntN(2) == 0, Age: g.Int64N(3), Bytes: g.IntN(3),
			Keys: g.IntN(3)},
	}
	if g.IntN(2) == 0 {
		in.Address = netip.MustParseAddr(g.one("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1%a"))
	}
	if g.IntN(2) == 0 {
		in.Certificate = &policy.Certificate{
			Subject: g.word(), SHA256: g.word(), DNSNames: []string{g.one("a", "ab"), g.one("b", "")}[:g.IntN(3)],
			URIs:     []string{g.word()}[:g.IntN(2)],
			NotAfter: time.Unix(g.Int64N(2), 0),
		}
	}
	return in
}

// near returns an input that differs from base in a few facts or in none.
func (g *generator) near(base *policy.Input) *policy.Input {
	in, other := *base, g.input()
	for range g.IntN(3) {
		[]func(){
			func() { in.Tenant = other.Tenant }, func() { in.App = other.App }, func() { in.Role = other.Role },
			func() { in.Command = other.Command },
			func() { in.Access = other.Access }, func() { in.Mode = other.Mode }, func() { in.Key = other.Key },
			func() { in.Address = other.Address },
			func() { in.Listener = other.Listener }, func() { in.TLS = other.TLS },
			func() { in.Certificate = other.Certificate },
			func() { in.Session = other.Session },
		}[g.IntN(12)]()
	}
	return &in
}

// TestKeys checks that two inputs share the key of a field exactly if policies see the same value in it.
func TestKeys(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2))}
	for range 40000 {
		a := g.input()
		b := g.near(a)
		docA, docB := inputTerm(a).Value, inputTerm(b).Value
		some, alike := fieldSet(g.Uint32())&everyField, true
		for f, path := range paths {
			var ref ast.Ref
			for part := range strings.SplitSeq(path, ".") {
				ref = append(ref, ast.StringTerm(part))
			}
			atA, errA := docA.Find(ref)
			atB, errB := docB.Find(ref)
			want := (errA == nil) == (errB == nil) && (errA != nil || atA.Compare(atB) == 0)
			set := fieldSet(1) << f
			if got := string(set.appendKey(nil, a)) == string(set.appendKey(nil, b)); got != want {
				t.Fatalf("%s: same key: %v, same facts: %v\n%v\n%v", path, got, want, docA, docB)
			}
			alike = alike && (want || some&set == 0)
		}
		if got := string(some.appendKey(nil, a)) == string(some.appendKey(nil, b)); got != alike {
			t.Fatalf("%v: same key: %v, same facts: %v\n%v\n%v", some, got, alike, docA, docB)
		}
	}
}

// TestPaths compares the schema with the fields. Each fact must be in both.
func TestPaths(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		t.Fatal(err)
	}
	var found []string
	var walk func(prefix string, schema map[string]any)
	walk = func(prefix string, schema map[string]any) {
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			found = append(found, strings.TrimPrefix(prefix, "."))
			return
		}
		for name, s := range properties {
			walk(prefix+"."+name, s.(map[string]any))
		}
	}
	walk("", schema)
	want := slices.Sorted(slices.Values(paths[:]))
	if slices.Sort(found); !slices.Equal(found, want) {
		t.Errorf("the schema has\n%q\nthe fields are\n%q", found, want)
	}
}

func (g *generator) tenants() []policy.Tenant {
	var all []policy.Tenant
	for _, name := range []string{"a", "b"} {
		all = append(all, policy.Tenant{
			Name: name, Settings: map[string]any{g.word(): g.word(), g.word(): 1},
			Apps: []policy.App{{Name: "a", Role: g.word()}, {Name: "b", Role: g.word()}},
		})
	}
	return all
}
