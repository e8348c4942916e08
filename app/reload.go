package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sessionserver/admin"
	"sessionserver/configs"
)

// Names of what is read anew while the server serves: in the log, in /status and as a label of metrics.
const (
	configurationReload    = "configuration" // at SIGHUP alone: a file is not to be taken while somebody edits it
	tenantsReload          = "tenants"
	policyReload           = "policy"            // with a bundle's keys, token and authorities
	certificatesReload     = "certificates"      // with their keys and the client CAs
	adminCertificateReload = "admin_certificate" // the operators' own
	adminTokenReload       = "admin_token"
	auditReload            = "audit" // the files of both logs, opened anew
)

const (
	retryLeast  = time.Second // the first try after a failure; each further one waits twice as long
	retryMost   = 30 * time.Second
	remindEvery = 10 * time.Minute // a failure that goes on is logged again
)

// reloads keeps the state of everything that is read anew while the server serves. A failure is logged, shown and
// counted, and is tried again until it is over; meanwhile what was read before goes on.
type reloads struct {
	log   *slog.Logger
	count func(what string, err error)

	mu     sync.Mutex
	things []*reloadable // guarded by mu, and so is all that is in them
	failed chan struct{} // holds a token when run has a new failure to look at
}

// reloadable is one thing that is read anew.
type reloadable struct {
	what string
	read func(context.Context) // reads it and has the outcome noted; nil if nothing but SIGHUP may

	at     time.Time // of the last look
	err    error     // its outcome
	wait   time.Duration
	again  time.Time // of the next try, after a failure
	logged time.Time
}

func newReloads(log *slog.Logger, count func(what string, err error)) *reloads {
	return &reloads{log: log, count: count, failed: make(chan struct{}, 1)}
}

// add registers how a thing is read. The function must note the outcome of each look, as the thing's own watchers do.
func (r *reloads) add(what string, read func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.thing(what).read = read
}

// thing finds a thing or makes it. It is called with r.mu locked.
func (r *reloads) thing(what string) *reloadable {
	i := slices.IndexFunc(r.things, func(t *reloadable) bool { return t.what == what })
	if i < 0 {
		i = len(r.things)
		r.things = append(r.things, &reloadable{what: what})
	}
	return r.things[i]
}

// note records the outcome of a look at a thing.
func (r *reloads) note(what string, err error) {
	if errors.Is(err, context.Canceled) { // nobody wants the outcome any more: the server stops
		return
	}
	r.count(what, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	t, now := r.thing(what), time.Now()
	before := t.err
	t.at, t.err = now, err
	if err == nil {
		if t.wait = 0; before != nil {
			r.log.Info("reloading works again", "what", what)
		}
		return
	}
	t.wait = min(max(2*t.wait, retryLeast), retryMost)
	t.again = now.Add(t.wait)
	if before == nil || before.Error() != err.Error() || now.Sub(t.logged) >= remindEvery {
		t.logged = now
		next := "it is tried again until it works"
		if what == configurationReload {
			next = "SIGHUP tries it again"
		}
		r.log.Error("something was not reloaded: what was read before goes on, and "+next, "what", what, "err", err)
	}
	select {
	case r.failed <- struct{}{}:
	default:
	}
}

// remind has failures logged once more, although they were before.
func (r *reloads) remind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.things {
		t.logged = time.Time{}
	}
}

// all reads everything anew and returns the names of what could not be.
func (r *reloads) all(ctx context.Context) (failed []string) {
	for _, read := range r.reads(func(*reloadable) bool { return true }) {
		read(ctx)
	}
	for _, s := range r.states() {
		if !s.OK {
			failed = append(failed, s.What)
		}
	}
	return failed
}

// run tries again what has failed, until ctx ends.
func (r *reloads) run(ctx context.Context) {
	for {
		timer := time.NewTimer(r.untilNext())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.failed:
			timer.Stop()
		case now := <-timer.C:
			for _, read := range r.reads(func(t *reloadable) bool { return t.err != nil && !t.again.After(now) }) {
				read(ctx)
			}
		}
	}
}

// untilNext is how long nothing is to be tried again.
func (r *reloads) untilNext() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := time.Hour
	for _, t := range r.things {
		if t.err != nil && t.read != nil {
			next = min(next, time.Until(t.again))
		}
	}
	return next
}

// reads are the functions of the things that match.
func (r *reloads) reads(match func(*reloadable) bool) (all []func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.things {
		if t.read != nil && match(t) {
			all = append(all, t.read)
		}
	}
	return all
}

// states are the outcomes of the last looks, for operators.
func (r *reloads) states() []admin.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []admin.Reload{}
	for _, t := range r.things {
		if !t.at.IsZero() {
			all = append(all, admin.Reload{What: t.what, At: t.at.UTC(), OK: t.err == nil, Error: errorText(t.err)})
		}
	}
	return all
}

// Reload reads everything again, and applies what can change while the server runs from a new configuration: session
// settings, quotas and rates as far as tenants leave them to it. Everything else stays as it was at the start: listeners
// with their allow and deny, limits, rates.auth_failures and rates.unauthenticated, storage, the sources of certificates
// and policies, the folder of the tenants. A configuration with mistakes comes as the error: the old one stays, and the
// rest is read again all the same, since a revocation must not wait. Reload returns the names of what failed.
func (a *App) Reload(ctx context.Context, cfg *configs.Config, err error) (failed []string) {
	a.reloads.remind()
	a.reloads.note(configurationReload, err)
	if err != nil {
		cfg = nil
	}
	a.tenants.Configure(cfg)
	failed = a.reloads.all(ctx)
	a.audit.reloaded(failed) // into the file that is open from now on
	a.Examine(time.Now())
	return failed
}

// addReloads registers how everything is read again. All of it was read by now.
func (a *App) addReloads() {
	a.reloads.note(configurationReload, nil)
	a.reloads.add(tenantsReload, func(context.Context) { a.tenants.Reload() })
	a.reloads.add(policyReload, func(ctx context.Context) { _ = a.policy.Reload(ctx) }) // recorded by its observer
	if a.certs != nil {
		a.reloads.add(certificatesReload, func(context.Context) { _ = a.certs.Reload() })
	}
	if own := a.operators.ownCerts(); own != nil {
		a.reloads.add(adminCertificateReload, func(context.Context) { _ = own.Reload() })
	}
	if a.operators != nil && a.cfg.Admin.TokenFile != "" {
		a.reloads.note(adminTokenReload, nil)
		a.reloads.add(adminTokenReload, func(context.Context) {
			a.reloads.note(adminTokenReload, a.operators.reloadToken())
		})
	}
	if isLogFile(a.cfg.Audit.Output) || isLogFile(a.cfg.Audit.Decisions.Output) {
		a.reloads.add(auditReload, func(context.Context) { a.reloads.note(auditReload, a.audit.reopen()) })
	}
}
