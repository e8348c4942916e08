package opa

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"sessionserver/policy"
)

// snapshot is everything that decisions depend on: programs, data, and cached results. Only the cache changes, and it
// is empty in a new snapshot.
type snapshot struct {
	operator *bound
	tenants  map[string]*bound // tenants with a policy of their own
	cache    *cache
	limit    time.Duration
}

// bound is a program with the data that it sees.
type bound struct {
	*program
	owner string // the tenant; "" for the operator
	data  *document
	id    uint64 // two per program of a snapshot, one for each question
}

// newSnapshot binds the programs to data. The operator's program sees all tenants, the program of a tenant sees only
// that tenant.
func newSnapshot(set *programs, tenants map[string]*ast.Term, entries int, limit time.Duration) (*snapshot, error) {
	s := &snapshot{tenants: make(map[string]*bound, len(set.tenants)), cache: newCache(entries), limit: limit}
	bind := func(p *program, owner string, visible ast.Object) (*bound, error) {
		files, err := objectOf(p.source.data)
		if err != nil {
			return nil, err
		}
		return &bound{program: p, owner: owner, data: newDocument(files, visible), id: 2 * uint64(len(s.tenants))}, nil
	}
	all := ast.NewObjectWithCapacity(len(tenants))
	for name, t := range tenants {
		all.Insert(ast.StringTerm(name), t)
	}
	for name, p := range set.tenants {
		itself := ast.NewObject()
		if t := tenants[name]; t != nil {
			itself.Insert(ast.StringTerm(name), t)
		}
		b, err := bind(p, name, itself)
		if err != nil {
			return nil, err
		}
		s.tenants[name] = b
	}
	var err error
	s.operator, err = bind(set.operator, "", all)
	return s, err
}

// decide evaluates the operator's policy, and then that of the tenant if it has one. Both must allow. It also returns
// the duration of the evaluation, which is zero if all results were cached.
func (s *snapshot) decide(ctx context.Context, in *policy.Input) (policy.Decision, time.Duration, error) {
	d, duration, err := s.decideBy(ctx, s.operator, in)
	if err != nil || !d.Allow || len(s.tenants) == 0 {
		return d, duration, err
	}
	if b := s.tenants[in.Tenant]; b != nil {
		var more time.Duration
		d, more, err = s.decideBy(ctx, b, in)
		duration += more
	}
	return d, duration, err
}

// decideBy evaluates one policy. It evaluates the reasons only for an operation that the policy denies.
func (s *snapshot) decideBy(ctx context.Context, b *bound, in *policy.Input) (policy.Decision, time.Duration, error) {
	r, duration, err := s.evaluate(ctx, b, &b.allow, b.id, in)
	if err != nil || r.allow {
		return policy.Decision{Allow: r.allow}, duration, err
	}
	r, more, err := s.evaluate(ctx, b, &b.reasons, b.id+1, in)
	return policy.Decision{Reasons: r.reasons}, duration + more, err
}

// keySize is the length up to which a key costs no allocation. Most keys have a third of it.
const keySize = 512

// evaluate returns the result of a question, from the cache if possible, and the duration of the evaluation.
func (s *snapshot) evaluate(
	ctx context.Context, b *bound, q *question, id uint64, in *policy.Input,
) (result, time.Duration, error) {
	var buf [keySize]byte
	var key []byte
	if q.reads.impure == "" {
		key = q.reads.fields.appendKey(binary.AppendUvarint(buf[:0], id), in)
		if r := s.cache.get(key); r != nil {
			return *r, 0, nil
		}
	}
	start := time.Now()
	r, err := b.evaluate(ctx, q, b.data, inputTerm(in), s.limit, nil)
	duration := max(time.Since(start), 1)
	if err != nil {
		if b.owner != "" {
			err = fmt.Errorf("policy of tenant %s: %w", b.owner, err)
		}
		return result{}, duration, err
	}
	if q.reads.impure == "" {
		s.cache.put(key, r)
	}
	return r, duration, nil
}

// programs holds the compiled policies of a source.
type programs struct {
	revision, sum string
	operator      *program
	tenants       map[string]*program
}

// caching returns, for each question of each policy, the facts that its decisions are cached by.
func (set *programs) caching() []string {
	describe := func(owner string, p *program) []string {
		return []string{owner + "allow: " + p.allow.reads.String(), owner + "reasons: " + p.reasons.reads.String()}
	}
	all := describe("", set.operator)
	for _, name := range sortedKeys(set.tenants) {
		all = append(all, describe("tenant "+name+": ", set.tenants[name])...)
	}
	return all
}

// build compiles all policies of a source and runs their tests. Unchanged policies are taken from before. The error
// lists all problems. The tests are those that were run.
func build(ctx context.Context, all *contents, before *programs) (*programs, []Test, error) {
	set, err := compileAll(all, before)
	tests, testErr := set.test(ctx, before)
	return set, tests, errors.Join(err, testErr)
}

// compileAll compiles all policies of a source. Unchanged policies are taken from before. The error lists all
// policies that do not compile; their programs are nil.
func compileAll(all *contents, before *programs) (*programs, error) {
	set := &programs{revision: all.revision, sum: all.sum, tenants: make(map[string]*program, len(all.tenants))}
	var errs []error
	one := func(c *content, pkg ast.Ref, same *program) *program {
		if same != nil && same.source.sum() == c.sum() {
			return same
		}
		p, err := compile(c, pkg)
		errs = append(errs, locate(c.folder, err))
		return p
	}
	set.operator = one(all.operator, operatorPackage, before.program(""))
	for _, name := range sortedKeys(all.tenants) {
		set.tenants[name] = one(all.tenants[name], tenantPackage, before.program(name))
	}
	return set, errors.Join(errs...)
}

// test runs the tests of the programs that before does not contain.
func (set *programs) test(ctx context.Context, before *programs) ([]Test, error) {
	var tests []Test
	var errs []error
	for _, name := range append([]string{""}, sortedKeys(set.tenants)...) {
		p := set.program(name)
		if p == nil || p == before.program(name) {
			continue
		}
		ran, err := runTests(ctx, p.source)
		tests, errs = append(tests, ran...), append(errs, locate(p.source.folder, err))
	}
	return tests, errors.Join(errs...)
}

// program returns the program of a tenant, or the operator's for "". It is nil if there is none.
func (set *programs) program(owner string) *program {
	switch {
	case set == nil:
		return nil
	case owner == "":
		return set.operator
	}
	return set.tenants[owner]
}
