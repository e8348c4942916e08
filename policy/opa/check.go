package opa

import (
	"context"
)

// Report describes the policies of a source.
type Report struct {
	Revision string
	Tenants  []string // tenants with a policy of their own
	Tests    []Test
	Caching  []string // for each question of each policy, the facts that its decisions are cached by
}

// Check reads and compiles the policies of a source and runs their tests, as an engine does before it uses them. The
// error lists all problems. The report is as complete as possible even then.
func Check(ctx context.Context, source Source) (Report, error) {
	all, err := source.load(ctx)
	if err != nil {
		return Report{}, locate(source.String(), err)
	}
	set, tests, err := build(ctx, all, nil)
	r := Report{Revision: all.revision, Tenants: sortedKeys(all.tenants), Tests: tests}
	if err != nil {
		return r, locate(source.String(), err)
	}
	r.Caching = set.caching()
	return r, nil
}
