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

// Options say what an engine decides by. Source alone is required.
type Options struct {
	Source  Source
	Tenants []policy.Tenant // data.tenants, until SetTenants

	Timeout time.Duration // processor time of one evaluation; 0 is 100 ms
	Cache   int           // about how many decisions are remembered; 0 is 131,072

	Observer policy.Observer    // may be nil
	Log      policy.DecisionLog // may be nil
	Logger   *slog.Logger       // of what happens to the source; nil is slog.Default
}

// Engine decides by the policies of a source. Make it with New, and have Run follow the source.
type Engine struct {
	opts Options
	now  atomic.Pointer[snapshot]

	loading sync.Mutex // one look at the source at a time; taken before mu

	mu       sync.Mutex // guards what follows and changes of now; held for moments only
	programs *programs
	tenants  map[string]*ast.Term
	status   Status
}

var _ policy.Engine = (*Engine)(nil)

// Status is how an engine stands to its source.
type Status struct {
	Source   string
	Revision string    // of what decides
	Loaded   time.Time // when that was read
	Kept     bool      // it was kept in an earlier life, as the source had nothing that is right at the start
	Caching  []string  // for each question of each policy, what its decisions are cached by

	Checked time.Time // when the source was last looked at
	Err     error     // what was wrong with it then; what decides is older in that case
}

// New reads the source, which must be right, and makes an engine of it. A source that keeps what it had may be wrong or away.
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
		return nil, errors.Join(err, fmt.Errorf("policy: what was kept: %w", keptErr))
	}
	e.status.Kept = true
	e.opts.Logger.Warn("the policies are those that were kept, for their source has none that are right", "source", e.status.Source,
		"revision", e.status.Revision, "err", err)
	return e, nil
}

// newEngine makes an engine that has no policies yet.
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

// Draft makes an engine that explains what policies decide while somebody still writes them, and is for nothing else: they must compile, but need not
// pass their tests, which are returned with what is wrong with them. Without an engine the error is what is wrong with the policies.
func Draft(ctx context.Context, opts Options) (*Engine, []Test, error) {
	e, err := newEngine(opts)
	if err != nil {
		return nil, nil, err
	}
	source := e.opts.Source.String()
	all, err := e.opts.Source.load(ctx)
	if err != nil {
		return nil, nil, of(source, err)
	}
	set, err := compileAll(all, nil)
	if err == nil {
		err = e.put(set)
	}
	if err != nil {
		return nil, nil, of(source, err)
	}
	tests, err := set.test(ctx, nil)
	return e, tests, of(source, err)
}

// Decide answers by the policies as they are when it begins. What is found among earlier decisions costs no allocation.
func (e *Engine) Decide(ctx context.Context, in *policy.Input) (policy.Decision, error) {
	d, took, err := e.now.Load().decide(ctx, in)
	ev := policy.Evaluation{Outcome: policy.Denied, Cached: took == 0, Took: took}
	switch {
	case err != nil:
		ev.Outcome = policy.Failed
	case d.Allow:
		ev.Outcome = policy.Allowed
	}
	if e.opts.Observer != nil {
		e.opts.Observer.Decided(ev)
	}
	if e.opts.Log != nil {
		e.opts.Log.Decided(in, d, ev, err)
	}
	return d, err
}

// SetTenants replaces data.tenants. All decisions that were remembered are forgotten.
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
	e.now.Store(s)
	return nil
}

// Reload reads the source now. If it is wrong or away, all stays as it is; the error says why, and the observer and
// Status have it too.
func (e *Engine) Reload(ctx context.Context) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	all, err := e.opts.Source.load(ctx)
	if status := e.Status(); err == nil && !status.Kept && e.programs != nil && all.sum == e.programs.sum {
		err = errSame
		e.keep() // or the source would bring it again and again
	}
	if errors.Is(err, errSame) {
		e.mu.Lock()
		e.status.Checked, e.status.Err = time.Now(), nil
		e.mu.Unlock()
		if e.opts.Observer != nil {
			e.opts.Observer.Reloaded(nil)
		}
		return nil
	}
	if err == nil {
		err = e.use(ctx, all)
	}
	if err != nil {
		err = of(e.opts.Source.String(), err)
	} else {
		e.keep()
	}
	e.tell(err)
	return err
}

// keep has the source keep what it was loaded from.
func (e *Engine) keep() {
	if err := e.opts.Source.keep(); err != nil {
		e.opts.Logger.Error("the policies decide, but could not be kept for a start without their source", "source", e.opts.Source.String(), "err", err)
	}
}

// use compiles, tests and puts in place what a source has. It is called with e.loading locked, under which alone e.programs changes.
func (e *Engine) use(ctx context.Context, all *contents) error {
	set, _, err := build(ctx, all, e.programs)
	if err != nil {
		return err
	}
	return e.put(set)
}

// put has programs decide from now on.
func (e *Engine) put(set *programs) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := newSnapshot(set, e.tenants, e.opts.Cache, e.opts.Timeout)
	if err != nil {
		return err
	}
	e.programs = set
	e.status.Revision, e.status.Loaded, e.status.Kept, e.status.Caching = set.revision, time.Now(), false, set.caching()
	e.now.Store(s)
	return nil
}

// tell notes how a look at the source went. The observer may ask for the Status.
func (e *Engine) tell(err error) {
	e.note(err)
	if e.opts.Observer != nil {
		e.opts.Observer.Reloaded(err)
	}
}

func (e *Engine) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Checked, e.status.Err = time.Now(), err
	if err == nil {
		e.opts.Logger.Info("policies were read", "source", e.status.Source, "revision", e.status.Revision, "tenants_with_policy", len(e.programs.tenants))
	}
}

// Run follows the source until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	e.opts.Source.follow(ctx, func() { _ = e.Reload(ctx) }) // the observer has it
}

// Owners are the tenants with a policy of their own, sorted.
func (e *Engine) Owners() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sortedKeys(e.programs.tenants)
}

// Status tells how the engine stands to its source.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}
