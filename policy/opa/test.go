package opa

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

// testTime is how long one Rego test may take.
const testTime = 5 * time.Second

// Test is a Rego test that was run.
type Test struct {
	File    string // from the root of the source
	Line    int
	Name    string // data.sessionserver.authz_test.test_x
	Passed  bool
	Skipped bool   // its name begins with todo_
	Output  string // what it printed, and its error
	Took    time.Duration
}

// runTests runs the rules test_* of c beside its policy. There are no tenants but those that a test brings along. The error names the tests that
// failed.
func runTests(ctx context.Context, c *content) ([]Test, error) {
	if len(c.tests) == 0 {
		return nil, nil
	}
	files, err := objectOf(c.data)
	if err != nil {
		return nil, err
	}
	modules := maps.Clone(c.modules)
	maps.Copy(modules, c.tests)
	results, err := tester.NewRunner().SetCompiler(newCompiler().WithEnablePrintStatements(true)).SetStore(newDocument(files, ast.NewObject())).
		SetModules(modules).RaiseBuiltinErrors(true).CapturePrintOutput(true).SetTimeout(testTime).RunTests(ctx, reading{})
	if err != nil {
		return nil, faults(err)
	}
	var tests []Test
	var errs []error
	for r := range results {
		t := Test{
			File: r.Location.File, Line: r.Location.Row, Name: r.Package + "." + r.Name,
			Passed: r.Pass(), Skipped: r.Skip, Output: string(r.Output), Took: r.Duration,
		}
		if r.Error != nil {
			t.Output += r.Error.Error() + "\n"
		}
		tests = append(tests, t)
	}
	slices.SortFunc(tests, func(a, b Test) int {
		return strings.Compare(fmt.Sprintf("%s %9d", a.File, a.Line), fmt.Sprintf("%s %9d", b.File, b.Line))
	})
	for _, t := range tests {
		if !t.Passed && !t.Skipped {
			place := fmt.Sprintf("%s:%d", t.File, t.Line)
			said := strings.TrimPrefix(oneLine(t.Output), place+": ")
			errs = append(errs, &fault{place, "test " + t.Name + " failed" + strings.TrimSuffix(": "+said, ": ")})
		}
	}
	if len(tests) == 0 {
		err = fmt.Errorf("there is no test in the files *_test.rego")
	}
	return tests, errors.Join(append(errs, err, ctx.Err())...)
}
