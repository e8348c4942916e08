package tenants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sessionserver/configs"
	"sessionserver/server"
)

// Options are the functions that a Follower calls. Apply and Observer are called with the Follower locked and must not
// call it.
type Options struct {
	// Apply makes these all tenants of the server, or returns an error and changes nothing. Policies read settings from
	// the files; there are none without a folder.
	Apply func(tenants []server.Tenant, files []*configs.Tenant) error

	// Drop removes the sessions of a deleted tenant and returns their number. Without it, sessions are kept.
	Drop func(ctx context.Context, tenant string) (int64, error)

	Observer func(Event) // may be nil
	Logger   *slog.Logger
}

// EventKind is the kind of an Event.
type EventKind int

const (
	Checked EventKind = iota // the files were read: Problems are all problems, Err is the failure of the look or nil
	Failed                   // Problems are those that the previous look did not have
	Changed                  // After is in force instead of Before, which is nil at the start
)

// Event reports the outcome of a look at the files. The fields in use depend on its kind.
type Event struct {
	Kind          EventKind
	Problems      configs.Problems
	Err           error
	Before, After *configs.Tenants
}

// Follower keeps a server at the state of its tenants' files.
type Follower struct {
	opts   Options
	log    *slog.Logger
	folder string // "" for none

	debounce, poll, retry time.Duration // see Run and dropAll; shorter in tests

	mu      sync.Mutex // guards what follows; held while files are read and applied
	cfg     *configs.Config
	verbose bool             // the next look logs known problems too
	applied *configs.Tenants // nil before the first look
	status  Status

	served *served       // for commands; nil without a folder, or in a read-only one
	drops  chan struct{} // holds a token when there may be sessions to drop
}

// Status is the outcome of the last look at the files.
type Status struct {
	Tenants  int
	Problems configs.Problems
}

// err returns the problem, or the number of problems.
func (s Status) err() error {
	switch n := len(s.Problems); n {
	case 0:
		return nil
	case 1:
		return s.Problems[0]
	default:
		return fmt.Errorf("%d problems with the files, which the log lists", n)
	}
}

// New returns a Follower of the folder that cfg names. Without a folder the tenants are those of anonymous listeners.
func New(cfg *configs.Config, opts Options) *Follower {
	if opts.Observer == nil {
		opts.Observer = func(Event) {}
	}
	return &Follower{
		opts: opts, log: opts.Logger, folder: cfg.Tenants, cfg: cfg, drops: make(chan struct{}, 1),
		debounce: 100 * time.Millisecond, poll: 500 * time.Millisecond, retry: time.Minute,
	}
}

// Status returns the outcome of the last look.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Tenants returns the tenants in force.
func (f *Follower) Tenants() *configs.Tenants {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied == nil {
		return new(configs.Tenants)
	}
	return f.applied
}

// Load reads the files for the first time. A tenant whose file has mistakes is not served, which is logged. A folder
// that cannot be read is an error.
func (f *Follower) Load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.folder != "" {
		if _, err := os.ReadDir(f.folder); err != nil {
			return fmt.Errorf("cannot read the tenants: %w", err)
		}
		var err error
		f.served, err = openServed(f.folder)
		if err != nil && !errors.Is(err, syscall.EROFS) { // commands cannot change a read-only folder either
			f.log.Warn("commands such as app create cannot wait for this server: it may not write into the folder",
				"folder", f.folder, "err", err)
		}
	}
	f.verbose = true
	return f.look()
}

// Close ends what Load began.
func (f *Follower) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.served != nil {
		f.served.close()
		f.served = nil
	}
	return nil
}

// Configure has the next look take defaults from another configuration, nil for the same, and log known problems again.
// The folder and the listeners stay those of the start.
func (f *Follower) Configure(cfg *configs.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verbose = true
	if cfg != nil {
		next := *cfg
		next.Tenants, next.Listen = f.folder, f.cfg.Listen
		f.cfg = &next
	}
}

// Reload reads the files and applies their changes. The observer receives the outcome.
func (f *Follower) Reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.look()
}

// look reads the files and applies their changes. It is called with f.mu locked.
func (f *Follower) look() (err error) {
	verbose := f.verbose
	f.verbose = false
	defer func() {
		outcome := err
		if err == nil {
			outcome = f.status.err()
		}
		f.opts.Observer(Event{Kind: Checked, Problems: f.status.Problems, Err: outcome})
	}()
	if f.folder == "" {
		implicit := Anonymous(f.cfg)
		err := f.opts.Apply(implicit, nil)
		f.status = Status{Tenants: len(implicit)}
		return err
	}
	next := configs.LoadTenants(f.folder, f.cfg, f.applied, Inspect)
	problems := slices.Concat(next.Problems, Conflicts(f.cfg, next))
	if f.applied != nil && !verbose && next.Same(f.applied) {
		f.status.Problems = problems // not those of a failed look
		f.publish(next)
		return nil
	}
	f.reportProblems(problems, verbose)
	all := ForServer(next.All)
	if err := f.opts.Apply(all, next.All); err != nil {
		f.status.Problems = problems
		return fmt.Errorf("the tenants stay unchanged: %w", err)
	}
	f.logChanges(next, len(problems) == 0)
	before := f.applied
	f.applied = next
	f.opts.Observer(Event{Kind: Changed, Before: before, After: next})
	f.publish(next)
	f.status = Status{Tenants: len(all), Problems: problems}
	if len(next.Drops) > 0 {
		select {
		case f.drops <- struct{}{}:
		default:
		}
	}
	return nil
}

// publish shows commands which files are in force. It is called with f.mu locked.
func (f *Follower) publish(ts *configs.Tenants) {
	if f.served == nil {
		return
	}
	if err := f.served.publish(ts); err != nil {
		f.log.Warn("commands such as app create cannot see what this server has in force",
			"folder", f.folder, "err", err)
	}
}

// reportProblems logs problems: new ones, or all if verbose. The observer receives the new ones.
func (f *Follower) reportProblems(problems configs.Problems, verbose bool) {
	var fresh configs.Problems
	for _, p := range problems {
		known := slices.Contains(f.status.Problems, p)
		if !known {
			fresh = append(fresh, p)
		}
		if verbose || !known {
			f.log.Error("mistake in the files of the tenants", "problem", p.Error())
		}
	}
	if len(fresh) > 0 {
		f.opts.Observer(Event{Kind: Failed, Problems: fresh})
	}
}

// logChanges logs the difference between the tenants in force and next. valid means that next has no problems.
func (f *Follower) logChanges(next *configs.Tenants, valid bool) {
	var added, changed, removed []string
	for _, tenant := range next.All {
		var before *configs.Tenant
		if f.applied != nil {
			before = f.applied.Tenant(tenant.Name)
		}
		switch {
		case before == nil:
			added = append(added, tenant.Name)
		case !equal(before, tenant):
			changed = append(changed, tenant.Name)
		}
	}
	if f.applied == nil {
		f.log.Info("tenants", "count", len(next.All))
	} else {
		for _, tenant := range f.applied.All {
			if next.Tenant(tenant.Name) == nil {
				removed = append(removed, tenant.Name)
			}
		}
		if len(added)+len(changed)+len(removed) > 0 {
			f.log.Info("the tenants have changed", "added", shorten(added), "changed", shorten(changed),
				"removed", shorten(removed))
		}
	}
	stale, missing := next.Stale()
	if len(stale)+len(missing) > 0 {
		f.log.Error("some tenants differ from their files, which have mistakes",
			"as_before", shorten(stale), "not_served", shorten(missing))
	} else if valid && len(f.status.Problems) > 0 {
		f.log.Info("no mistake is left in the files of the tenants")
	}
}

// equal reports whether two readings of a tenant's file, perhaps with different configurations, make the same tenant.
func equal(a, b *configs.Tenant) bool {
	return a == b || slices.Equal(a.Hosts, b.Hosts) && reflect.DeepEqual(a.Policy, b.Policy) &&
		reflect.DeepEqual(forServer(a), forServer(b))
}

// shorten joins names for a line of the log.
func shorten(names []string) string { return Shorten(names, 20) }

// Shorten joins up to most names, and the number of further ones.
func Shorten(names []string, most int) string {
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], " "), more)
	}
	return strings.Join(names, " ")
}
