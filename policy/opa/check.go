package opa

import (
	"context"
)

// Report is what a look at a source shows.
type Report struct {
	Revision string
	Tenants  []string // those with a policy of their own
	Tests    []Test
	Caching  []string // for each question of each policy, what its decisions are cached by
}

// Check reads and compiles the policies of a source and runs their tests, as an engine does before it uses them. The error tells of everything that is
// wrong; the report has as much as there is to tell nevertheless.
func Check(ctx context.Context, source Source) (Report, error) {
	all, err := source.load(ctx)
	if err != nil {
		return Report{}, of(source.String(), err)
	}
	set, tests, err := build(ctx, all, nil)
	r := Report{Revision: all.revision, Tenants: sortedKeys(all.tenants), Tests: tests}
	if err != nil {
		return r, of(source.String(), err)
	}
	r.Caching = set.caching()
	return r, nil
}
