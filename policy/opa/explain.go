package opa

import (
	"context"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/topdown"

	"sessionserver/policy"
)

// Explain decides without the cache and describes the decision: each question of each policy, its result, the facts
// that it is cached by, and OPA's trace. The text is for people and contains data of the tenant.
func (e *Engine) Explain(ctx context.Context, in *policy.Input) (policy.Decision, string, error) {
	s := e.current.Load()
	var b strings.Builder
	input := inputTerm(in)
	fmt.Fprintf(&b, "input %v\n", input)
	policies := []*bound{s.operator}
	if own := s.tenants[in.Tenant]; own != nil {
		policies = append(policies, own)
	}
	for _, p := range policies {
		owner := "the operator"
		if p.owner != "" {
			owner = "tenant " + p.owner
		}
		fmt.Fprintf(&b, "\npolicy of %s: allow, %v\n", owner, p.allow.reads)
		a, err := s.trace(ctx, p, &p.allow, in, &b)
		if err != nil {
			return policy.Decision{}, b.String(), err
		}
		fmt.Fprintf(&b, "allow is %v\n", a.allow)
		if a.allow {
			continue
		}
		fmt.Fprintf(&b, "\npolicy of %s: reasons, %v\n", owner, p.reasons.reads)
		if a, err = s.trace(ctx, p, &p.reasons, in, &b); err != nil {
			return policy.Decision{}, b.String(), err
		}
		fmt.Fprintf(&b, "reasons are %q\n", a.reasons)
		return policy.Decision{Reasons: a.reasons}, b.String(), nil
	}
	return policy.Decision{Allow: true}, b.String(), nil
}

func (s *snapshot) trace(ctx context.Context, p *bound, q *question, in *policy.Input, b *strings.Builder) (
	result, error,
) {
	tracer := topdown.NewBufferTracer()
	r, err := p.evaluate(ctx, q, p.data, inputTerm(in), s.limit, tracer)
	topdown.PrettyTraceWithLocation(b, *tracer)
	if err != nil {
		fmt.Fprintf(b, "%v\n", err)
	}
	return r, err
}
