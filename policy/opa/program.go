package opa

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"sessionserver/policy"
)

// program is a compiled policy: the operator's, or that of a tenant. It contains no data, and only its cache of
// patterns changes.
type program struct {
	source   *content
	compiler *ast.Compiler
	compiled *compiled
	allow    question
	reasons  question
}

// question is a rule that is evaluated.
type question struct {
	name  string
	query ast.Body
	reads reads
}

const resultVar = ast.Var("result")

// result is the value of a question.
type result struct {
	allow   bool
	reasons []string
}

//go:embed schema/input.json
var inputSchema []byte

// schemas is the type of input for the type checker. OPA supports no schema for data; see checkTenantRefs.
var schemas = func() *ast.SchemaSet {
	var schema any
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		panic(err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return set
}()

// forbidden are builtins that no policy may call, besides those that OPA flags as nondeterministic; of the latter
// only time.now_ns is allowed. The builtins here access the network, sign, or read the clock unnoticed by the cache.
// Some can consume any time and memory with a few characters.
var forbidden = []string{
	"crypto.x509.parse_and_verify_certificates", "crypto.x509.parse_and_verify_certificates_with_options",
	"io.jwt.decode_verify", "providers.aws.sign_req",
	"json.match_schema", "json.verify_schema", "graphql.parse", "graphql.parse_and_verify", "graphql.parse_query",
	"graphql.parse_schema",
	"graphql.is_valid", "graphql.schema_is_valid",
	"strings.render_template", "rego.parse_module", "bits.lsh", "net.cidr_expand", "trace",
}

// capabilities are the features that policies may use.
var capabilities = func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic && b.Name != "time.now_ns" || slices.Contains(forbidden, b.Name)
	})
	c.AllowNet = []string{}
	return c
}()

// newCompiler returns a compiler with the type of input and the allowed builtins.
func newCompiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities).WithSchemas(schemas).WithDefaultRegoVersion(ast.RegoV1)
}

// Packages of the rules. The rules of a tenant have a package of their own, so that a file in the wrong folder is
// reported and never allows an operation.
var (
	operatorPackage = ast.MustParseRef("data.sessionserver.authz")
	tenantPackage   = ast.MustParseRef("data.sessionserver.tenant")
)

// compile returns the program of the modules that are not tests. Its rules are in pkg.
func compile(source *content, pkg ast.Ref) (*program, error) {
	for _, name := range sortedKeys(source.modules) {
		if other := source.modules[name].Package; other.Path.HasPrefix(tenantPackage) && pkg.Equal(operatorPackage) {
			return nil, misplaced(name, other)
		}
	}
	c := newCompiler()
	c.Compile(source.modules)
	if c.Failed() {
		return nil, faults(c.Errors)
	}
	if err := checkTenantRefs(c); err != nil {
		return nil, faults(err)
	}
	p := &program{source: source, compiler: c, compiled: &compiled{}}
	var err error
	if p.allow, err = newQuestion(c, pkg, "allow"); err != nil {
		return nil, err
	}
	if p.reasons, err = newQuestion(c, pkg, "reasons"); err != nil {
		return nil, err
	}
	if len(c.GetRulesExact(pkg.Append(ast.StringTerm("allow")))) == 0 {
		return nil, fmt.Errorf("no rule allow in %v: the policy would deny everything; add allow if { … }",
			&ast.Package{Path: pkg})
	}
	return p, nil
}

// misplaced returns the fault of a tenant's policy among the operator's files, with its correct location.
func misplaced(name string, pkg *ast.Package) error {
	const rule = "%v is for the policies of tenants, and %sNAME/ for these must be at the root of the folder or bundle"
	if above, _, ok := strings.Cut(name, "/"+tenantsFolder); ok {
		return faultAt(pkg.Location, rule+", not in %s/: build the bundle in that folder (cd %[3]s && opa build "+
			"-b .), "+
			"or set policy.folder to it", pkg, tenantsFolder, above)
	}
	return faultAt(pkg.Location, rule+": move the file there", pkg, tenantsFolder)
}

func newQuestion(c *ast.Compiler, pkg ast.Ref, name string) (question, error) {
	ref := pkg.Append(ast.StringTerm(name))
	query := ast.NewBody(ast.Equality.Expr(ast.NewTerm(resultVar), ast.NewTerm(ref)))
	compiled, err := c.QueryCompiler().Compile(query)
	return question{name: name, query: compiled, reads: readsOf(c, ref)}, err
}

// checkTenantRefs refuses literal references to unknown fields of tenants, such as data.tenants[t].aps. It does for
// data what the schema does for input.
func checkTenantRefs(c *ast.Compiler) error {
	var errs ast.Errors
	check := func(r ast.Ref) bool {
		if !r.HasPrefix(tenantsRef) {
			return false
		}
		for i, known := range map[int][]string{3: {"apps", "settings"}, 5: {"role", "read", "write"}} {
			if i >= len(r) || i == 5 && !r[3].Equal(nameApps) {
				continue
			}
			if name, ok := r[i].Value.(ast.String); ok && !slices.Contains(known, string(name)) {
				errs = append(errs, ast.NewError(ast.TypeErr, r[0].Location, "undefined ref: %v (have: %s)", r,
					strings.Join(known, ", ")))
			}
		}
		return false
	}
	for _, name := range sortedKeys(c.Modules) {
		ast.WalkRefs(c.Modules[name], check)
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

var tenantsRef = ast.MustParseRef("data.tenants")

// evaluate returns the result of a question. It exceeds the limit of processor time, or the end of ctx, by at most the
// duration of one builtin.
func (p *program) evaluate(
	ctx context.Context, q *question, data *document, input *ast.Term, limit time.Duration, tracer topdown.QueryTracer,
) (r result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cancel := newBudget(limit, threadTime)
	defer cancel.stop()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	defer func() {
		if cause := recover(); cause != nil { // a fault of a builtin must not end the process
			r, err = result{}, fmt.Errorf("policy: %s: panic: %v\n%s", q.name, cause, debug.Stack())
		}
	}()
	query := topdown.NewQuery(q.query).WithCompiler(p.compiler).WithStore(data).WithTransaction(transaction{}).
		WithInput(input).WithCancel(cancel).WithMetrics(noMetrics).WithStrictBuiltinErrors(true).
		WithInterQueryBuiltinValueCache(p.compiled)
	if tracer != nil {
		query = query.WithQueryTracer(tracer)
	}
	err = query.Iter(ctx, func(values topdown.QueryResult) error {
		return q.read(&r, values[resultVar].Value)
	})
	if topdown.IsCancel(err) {
		err = policy.ErrTimeout
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return result{}, fmt.Errorf("policy: %s: %w", q.name, err)
	}
	return r, nil
}

var noMetrics = metrics.NoOp()

// Limits of the reasons that a client receives.
const (
	reasonsMax = 8
	reasonMax  = 200
)

// read stores the value of the rule in r.
func (q *question) read(r *result, v ast.Value) error {
	if q.name == "allow" {
		allow, ok := v.(ast.Boolean)
		if !ok {
			return errors.New("value is neither true nor false: write the rule as allow if { … }")
		}
		r.allow = bool(allow)
		return nil
	}
	take := func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok && len(r.reasons) < reasonsMax {
			r.reasons = append(r.reasons, printable(string(s)))
		}
	}
	switch v := v.(type) {
	case ast.Set:
		v.Foreach(take)
	case *ast.Array:
		v.Foreach(take)
	default:
		return errors.New("value is not a set of strings: write the rule as reasons contains \"text\" if { … }")
	}
	return nil
}

// printable returns a reason that fits into a line.
func printable(s string) string {
	if len(s) > reasonMax {
		s = s[:reasonMax]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
