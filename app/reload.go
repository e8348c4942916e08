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

// Names of the parts that are read again while the server runs: in the log, in /status and as a label of metrics.
const (
	configurationReload    = "configuration" // at SIGHUP alone, since an operator may be editing the file
	tenantsReload          = "tenants"
	policyReload           = "policy"            // with a bundle's keys, token and authorities
	certificatesReload     = "certificates"      // with their keys and the client CAs
	adminCertificateReload = "admin_certificate" // of the address for operators
	adminTokenReload       = "admin_token"
	auditReload            = "audit" // the files of both logs, opened again
)

const (
	retryLeast  = time.Second // before the first retry; each further one waits twice as long
	retryMost   = 30 * time.Second
	remindEvery = 10 * time.Minute // a lasting failure is logged again
)

// reloads holds the state of every part that is read again while the server runs. A failure is logged, shown and
// counted, and retried until it is over. Meanwhile the previous state stays in force.
type reloads struct {
	log   *slog.Logger
	count func(name string, err error)

	mu     sync.Mutex
	parts  []*reloadable // guarded by mu, with their fields
	failed chan struct{} // holds a token after a new failure
}

// reloadable is a part that is read again.
type reloadable struct {
	name string
	read func(context.Context) // reads it and notes the outcome; nil if only SIGHUP does

	at     time.Time // of the last read
	err    error     // its outcome
	wait   time.Duration
	again  time.Time // of the next retry
	logged time.Time
}

func newReloads(log *slog.Logger, count func(name string, err error)) *reloads {
	return &reloads{log: log, count: count, failed: make(chan struct{}, 1)}
}

// add registers the function that reads a part. The function must note the outcome, as the part's own watcher does.
func (r *reloads) add(name string, read func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part(name).read = read
}

// part returns the part of that name, and adds it if need be. It is called with r.mu locked.
func (r *reloads) part(name string) *reloadable {
	i := slices.IndexFunc(r.parts, func(t *reloadable) bool { return t.name == name })
	if i < 0 {
		i = len(r.parts)
		r.parts = append(r.parts, &reloadable{name: name})
	}
	return r.parts[i]
}

// note records the outcome of reading a part.
func (r *reloads) note(name string, err error) {
	if errors.Is(err, context.Canceled) { // the server stops
		return
	}
	r.count(name, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	t, now := r.part(name), time.Now()
	before := t.err
	t.at, t.err = now, err
	if err == nil {
		if t.wait = 0; before != nil {
			r.log.Info("reloading works again", "what", name)
		}
		return
	}
	t.wait = min(max(2*t.wait, retryLeast), retryMost)
	t.again = now.Add(t.wait)
	if before == nil || before.Error() != err.Error() || now.Sub(t.logged) >= remindEvery {
		t.logged = now
		next := "it is retried until it works"
		if name == configurationReload {
			next = "SIGHUP retries it"
		}
		r.log.Error("reload failed: the previous state stays in force, and "+next, "what", name, "err", err)
	}
	select {
	case r.failed <- struct{}{}:
	default:
	}
}

// remind has lasting failures logged again at once.
func (r *reloads) remind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.parts {
		t.logged = time.Time{}
	}
}

// all reads every part again and returns the names of those that failed.
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

// run retries failed parts until ctx ends.
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

// untilNext returns the time until the next retry.
func (r *reloads) untilNext() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := time.Hour
	for _, t := range r.parts {
		if t.err != nil && t.read != nil {
			next = min(next, time.Until(t.again))
		}
	}
	return next
}

// reads returns the functions of the matching parts.
func (r *reloads) reads(match func(*reloadable) bool) (all []func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.parts {
		if t.read != nil && match(t) {
			all = append(all, t.read)
		}
	}
	return all
}

// states returns the last outcomes, for operators.
func (r *reloads) states() []admin.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []admin.Reload{}
	for _, t := range r.parts {
		if !t.at.IsZero() {
			all = append(all, admin.Reload{What: t.name, At: t.at.UTC(), OK: t.err == nil, Error: errorText(t.err)})
		}
	}
	return all
}

// Reload reads everything again, and applies what can change while the server runs from a new configuration: session
// settings, quotas and rates as far as tenants leave them to it. Other settings keep their values from the start:
// listeners with their allow and deny, limits, rates.auth_failures and rates.unauthenticated, storage, the sources of
// certificates and policies, the folder of the tenants.
//
// A configuration with mistakes comes as the error: the old one stays. The rest is read again all the same, since a
// revocation must not wait. Reload returns the names of what failed.
func (a *App) Reload(ctx context.Context, cfg *configs.Config, err error) (failed []string) {
	a.reloads.remind()
	a.reloads.note(configurationReload, err)
	if err != nil {
		cfg = nil
	}
	a.tenants.Configure(cfg)
	failed = a.reloads.all(ctx)
	a.audit.reloaded(failed) // into the reopened file
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
