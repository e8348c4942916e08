package opa

import (
	"context"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/topdown"

	"sessionserver/policy"
)

// Explain decides without the cache and tells how: each question of each policy that is asked, its answer, what it is cached by, and OPA's trace.
// The text is for people and shows data of the tenant.
func (e *Engine) Explain(ctx context.Context, in *policy.Input) (policy.Decision, string, error) {
	s := e.now.Load()
	var b strings.Builder
	input := inputTerm(in)
	fmt.Fprintf(&b, "input %v\n", input)
	asked := []*bound{s.operator}
	if own := s.tenants[in.Tenant]; own != nil {
		asked = append(asked, own)
	}
	for _, p := range asked {
		who := "the operator"
		if p.owner != "" {
			who = "tenant " + p.owner
		}
		fmt.Fprintf(&b, "\npolicy of %s: allow, %v\n", who, p.allow.reads)
		a, err := s.trace(ctx, p, &p.allow, in, &b)
		if err != nil {
			return policy.Decision{}, b.String(), err
		}
		fmt.Fprintf(&b, "allow is %v\n", a.allow)
		if a.allow {
			continue
		}
		fmt.Fprintf(&b, "\npolicy of %s: reasons, %v\n", who, p.reasons.reads)
		if a, err = s.trace(ctx, p, &p.reasons, in, &b); err != nil {
			return policy.Decision{}, b.String(), err
		}
		fmt.Fprintf(&b, "reasons are %q\n", a.reasons)
		return policy.Decision{Reasons: a.reasons}, b.String(), nil
	}
	return policy.Decision{Allow: true}, b.String(), nil
}

func (s *snapshot) trace(ctx context.Context, p *bound, q *question, in *policy.Input, b *strings.Builder) (answer, error) {
	tracer := topdown.NewBufferTracer()
	a, err := p.evaluate(ctx, q, p.data, inputTerm(in), s.limit, tracer)
	topdown.PrettyTraceWithLocation(b, *tracer)
	if err != nil {
		fmt.Fprintf(b, "%v\n", err)
	}
	return a, err
}
