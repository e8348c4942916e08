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

// testTime is the time limit of one Rego test.
const testTime = 5 * time.Second

// Test is the result of a Rego test.
type Test struct {
	File     string // relative to the root of the source
	Line     int
	Name     string // data.sessionserver.authz_test.test_x
	Passed   bool
	Skipped  bool   // because its name begins with todo_
	Output   string // its output and its error
	Duration time.Duration
}

// runTests runs the rules test_* of c with its policy. data.tenants is empty unless a test provides it. The error
// names the tests that failed.
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
	compiler := newCompiler().WithEnablePrintStatements(true)
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(newDocument(files, ast.NewObject())).
		SetModules(modules).RaiseBuiltinErrors(true).CapturePrintOutput(true).SetTimeout(testTime).
		RunTests(ctx, transaction{})
	if err != nil {
		return nil, faults(err)
	}
	var tests []Test
	var errs []error
	for r := range results {
		t := Test{
			File: r.Location.File, Line: r.Location.Row, Name: r.Package + "." + r.Name,
			Passed: r.Pass(), Skipped: r.Skip, Output: string(r.Output), Duration: r.Duration,
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
			position := fmt.Sprintf("%s:%d", t.File, t.Line)
			output := strings.TrimPrefix(oneLine(t.Output), position+": ")
			errs = append(errs, &fault{position, "test " + t.Name + " failed" + strings.TrimSuffix(": "+output, ": ")})
		}
	}
	if len(tests) == 0 {
		err = errors.New("no tests in the files *_test.rego")
	}
	return tests, errors.Join(append(errs, err, ctx.Err())...)
}
