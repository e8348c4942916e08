package opa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"sessionserver/policy"
)

// Options configure an engine. Only Source is required.
type Options struct {
	Source  Source
	Tenants []policy.Tenant // data.tenants, until SetTenants

	Timeout time.Duration // processor time of one evaluation; 0 is 100 ms
	Cache   int           // approximate number of cached decisions; 0 is 131,072

	Decided  func(policy.Evaluation) // observes decisions; may be nil; must be quick and safe for concurrent use
	Reloaded func(error)             // observes reads of the source, nil if its policies are in force; may be nil
	Log      policy.DecisionLog      // may be nil
	Logger   *slog.Logger            // of events of the source; nil is slog.Default
}

// Engine decides by the policies of a source. Create it with New. Run makes it follow the source.
type Engine struct {
	opts    Options
	current atomic.Pointer[snapshot]

	loading sync.Mutex // serializes reads of the source; locked before mu

	mu       sync.Mutex // guards the fields below and changes of current; held briefly
	programs *programs
	tenants  map[string]*ast.Term
	status   Status
}

var _ policy.Engine = (*Engine)(nil)

// Status describes the policies in force and the last read of their source.
type Status struct {
	Source   string
	Revision string    // of the policies in force
	Loaded   time.Time // when these were read
	Kept     bool      // they are kept ones of an earlier run, since the source had no valid ones at the start
	Caching  []string  // for each question of each policy, the facts that its decisions are cached by

	Checked time.Time // last read of the source
	Err     error     // error of that read; the policies in force are older then
}

// New returns an engine with the policies of a source, which must be valid. If the source keeps the last valid ones,
// it may be invalid or unreachable.
func New(ctx context.Context, opts Options) (*Engine, error) {
	e, err := newEngine(opts)
	if err != nil {
		return nil, err
	}
	err = e.Reload(ctx)
	if err == nil {
		return e, nil
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	all, keptErr := e.opts.Source.kept()
	if errors.Is(keptErr, errNothing) {
		return nil, err
	}
	if keptErr == nil {
		keptErr = e.use(ctx, all)
	}
	if keptErr != nil {
		return nil, errors.Join(err, fmt.Errorf("policy: kept policies: %w", keptErr))
	}
	e.status.Kept = true
	e.opts.Logger.Warn("kept policies are in force, because their source has no valid ones",
		"source", e.status.Source, "revision", e.status.Revision, "err", err)
	return e, nil
}

// newEngine returns an engine without policies.
func newEngine(opts Options) (*Engine, error) {
	if opts.Source == nil {
		return nil, errors.New("policy: Options.Source is missing")
	}
	if opts.Timeout < 0 || opts.Cache < 0 {
		return nil, errors.New("policy: Options.Timeout and Cache must not be negative")
	}
	if opts.Timeout == 0 {
		opts.Timeout = 100 * time.Millisecond
	}
	if opts.Cache == 0 {
		opts.Cache = 1 << 17
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	e := &Engine{opts: opts, status: Status{Source: opts.Source.String()}}
	terms, err := tenantTerms(opts.Tenants)
	if err != nil {
		return nil, err
	}
	e.tenants = terms
	return e, nil
}

// Draft returns an engine for policies that are still being written; it is only for explanations. The policies must
// compile, but their tests may fail. Draft returns the tests, and an error for those that failed. If the policies do
// not compile, the engine is nil.
func Draft(ctx context.Context, opts Options) (*Engine, []Test, error) {
	e, err := newEngine(opts)
	if err != nil {
		return nil, nil, err
	}
	source := e.opts.Source.String()
	all, err := e.opts.Source.load(ctx)
	if err != nil {
		return nil, nil, locate(source, err)
	}
	set, err := compileAll(all, nil)
	if err == nil {
		err = e.put(set)
	}
	if err != nil {
		return nil, nil, locate(source, err)
	}
	tests, err := set.test(ctx, nil)
	return e, tests, locate(source, err)
}

// Decide returns the decision of the policies in force when it begins. A cached decision costs no allocation.
func (e *Engine) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	d, duration, err := e.current.Load().decide(ctx, in)
	ev := policy.Evaluation{Outcome: policy.Denied, Cached: duration == 0, Duration: duration}
	switch {
	case err != nil:
		ev.Outcome = policy.Failed
	case d.Allow:
		ev.Outcome = policy.Allowed
	}
	if e.opts.Decided != nil {
		e.opts.Decided(ev)
	}
	if e.opts.Log != nil {
		e.opts.Log.Decided(in, d, ev, err)
	}
	return d, err
}

// SetTenants replaces data.tenants. It drops all cached decisions.
func (e *Engine) SetTenants(tenants []policy.Tenant) error {
	terms, err := tenantTerms(tenants)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := newSnapshot(e.programs, terms, e.opts.Cache, e.opts.Timeout)
	if err != nil {
		return err
	}
	e.tenants = terms
	e.current.Store(s)
	return nil
}

// Reload reads the source now. If that fails, the policies in force remain. The error is also in Status, and the
// observer receives it.
func (e *Engine) Reload(ctx context.Context) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	all, err := e.opts.Source.load(ctx)
	if status := e.Status(); err == nil && !status.Kept && e.programs != nil && all.sum == e.programs.sum {
		err = errSame
		e.keep() // or the source would return it again and again
	}
	if errors.Is(err, errSame) {
		e.mu.Lock()
		e.status.Checked, e.status.Err = time.Now(), nil
		e.mu.Unlock()
		if e.opts.Reloaded != nil {
			e.opts.Reloaded(nil)
		}
		return nil
	}
	if err == nil {
		err = e.use(ctx, all)
	}
	if err != nil {
		err = locate(e.opts.Source.String(), err)
	} else {
		e.keep()
	}
	e.recordReload(err)
	return err
}

// keep makes the source keep the policies that it loaded last.
func (e *Engine) keep() {
	if err := e.opts.Source.keep(); err != nil {
		e.opts.Logger.Error("policies are in force, but could not be kept for a start without their source", "source",
			e.opts.Source.String(), "err", err)
	}
}

// use compiles and tests the policies of a source and puts them in force. The caller holds e.loading, which also
// guards changes of e.programs.
func (e *Engine) use(ctx context.Context, all *contents) error {
	set, _, err := build(ctx, all, e.programs)
	if err != nil {
		return err
	}
	return e.put(set)
}

// put puts programs in force.
func (e *Engine) put(set *programs) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := newSnapshot(set, e.tenants, e.opts.Cache, e.opts.Timeout)
	if err != nil {
		return err
	}
	e.programs = set
	e.status.Revision, e.status.Loaded, e.status.Kept, e.status.Caching = set.revision, time.Now(), false, set.caching()
	e.current.Store(s)
	return nil
}

// recordReload records the result of a read of the source. The observer may call Status.
func (e *Engine) recordReload(err error) {
	e.setStatus(err)
	if e.opts.Reloaded != nil {
		e.opts.Reloaded(err)
	}
}

func (e *Engine) setStatus(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Checked, e.status.Err = time.Now(), err
	if err == nil {
		e.opts.Logger.Info("policies loaded", "source", e.status.Source, "revision", e.status.Revision,
			"tenants_with_policy", len(e.programs.tenants))
	}
}

// Run follows the source until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	e.opts.Source.follow(ctx, func() { _ = e.Reload(ctx) }) // the observer receives the error
}

// Owners returns the tenants with a policy of their own, sorted.
func (e *Engine) Owners() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sortedKeys(e.programs.tenants)
}

// Status returns the current status.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}
