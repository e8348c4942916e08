package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/app/tenants"
	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/metrics"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/throttle"
	"sessionserver/session"
)

// Options are what an App gets beside its configuration. Only Version is required.
type Options struct {
	Version string       // of the program, for logs, metrics and operators
	Logger  *slog.Logger // discards everything by default
	LogLost func() int64 // lines lost from the log, for metrics; may be nil

	AcceptLoss bool // open a damaged storage folder without the sessions that are lost
}

// App is a server assembled from a configuration. Everything is open, and clients are served during Run.
type App struct {
	opts    Options
	log     *slog.Logger
	peers   *slog.Logger // throttled, for events that peers can cause at any rate
	cfg     *configs.Config
	started time.Time

	server    *server.Server
	audit     *auditing
	certs     *certs.Certs // nil without TLS
	policy    *opa.Engine
	known     []policy.Tenant // tenants that policy has
	metrics   *metrics.Metrics
	reloads   *reloads
	store     *watchedStore
	sessions  *session.Manager
	tenants   *tenants.Follower
	listeners []listener
	operators *operators // nil without an address for them
	health    health

	descriptors descriptors

	failed chan error // reason why the process cannot continue

	closing sync.Mutex     // guards closers; held while they run
	closers []func() error // of what is open, in the order of opening
}

// New opens everything that a valid configuration names. If a part fails or ctx ends, what is open is closed again.
func New(ctx context.Context, cfg *configs.Config, opts Options) (_ *App, err error) {
	if problems := Inspect(cfg); len(problems) > 0 {
		return nil, problems
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{
		opts: opts, log: opts.Logger, peers: slog.New(throttle.NewHandler(opts.Logger.Handler())),
		cfg: cfg, started: time.Now(), failed: make(chan error, 1),
	}
	a.descriptors = shareDescriptors(allowedDescriptors(), cfg)
	if err := a.descriptors.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, open := range []func(context.Context) error{
		a.openMetrics, a.openAudit, a.openCertificates, a.openOperators, a.openStorage, a.openPolicy, a.openServer,
		a.openTenants, a.openListeners,
	} {
		if err := open(ctx); err != nil || ctx.Err() != nil {
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
	a.addReloads()
	a.exposeState()
	return a, nil
}

func (a *App) openMetrics(context.Context) (err error) {
	a.metrics, err = metrics.New(metrics.Options{
		Version: a.opts.Version, Revision: revision(), Logger: a.log,
		Tenants: metrics.TenantsMode(a.cfg.Metrics.Tenants),
	})
	if err != nil {
		return err
	}
	a.reloads = newReloads(a.log, a.metrics.Reloaded)
	a.exposeState()
	return nil
}

func (a *App) openAudit(context.Context) (err error) {
	a.audit, err = openAudit(a.cfg.Audit, a.log, a.metrics.Audit(), a.metrics.Decisions())
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.audit.close) // the last that is closed
	return nil
}

func (a *App) openCertificates(context.Context) (err error) {
	if !a.cfg.TLS.Used() {
		return nil
	}
	a.certs, err = certs.New(certificateOptions(a.cfg, a.log, a.certificateObserver(certificatesReload)))
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() error { a.certs.Close(); return nil })
	return nil
}

func (a *App) openOperators(context.Context) (err error) {
	a.operators, err = openOperators(a, a.certs, a.metrics.Handler())
	if err != nil || a.operators == nil {
		return err
	}
	a.closers = append(a.closers, a.operators.close)
	return nil
}

func (a *App) openStorage(context.Context) error {
	failed := func(err error) { a.fail(fmt.Errorf("the storage failed: %w", err)) }
	var interruption atomic.Pointer[error]
	interrupted := func(err error) {
		if interruption.Store(nil); err != nil {
			interruption.Store(&err)
		}
	}
	store, err := openStore(a.cfg.Storage, openOptions{
		files: a.descriptors.files, acceptLoss: a.opts.AcceptLoss, log: a.peers,
		observer: storageObserver{a.metrics.Storage(), failed, interrupted},
	})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, store.observed.Close)
	a.store = store
	failing := func() error {
		if err := interruption.Load(); err != nil {
			return *err
		}
		return store.observed.Failing()
	}
	a.health.watch(failing, a.audit.log.Err)
	a.sessions = session.NewManager(store.observed, session.Options{Observe: a.sessionEvent})
	return nil
}

func (a *App) openServer(context.Context) (err error) {
	c := a.cfg
	a.server, err = server.New(server.Options{
		Sessions:             a.sessions,
		Policy:               a.policy,
		Audit:                a.audit.log,
		Limits:               c.Limits.Wire(),
		IdleTimeout:          c.Limits.IdleTimeout,
		IdleInSessionTimeout: c.Limits.IdleInSession,
		LoginTimeout:         c.Limits.LoginTimeout,
		RequestTimeout:       c.Limits.RequestTimeout,
		WriteTimeout:         c.Limits.WriteTimeout,
		MaxMemory:            int64(c.Limits.Memory),
		MaxConns:             a.descriptors.connections,
		MaxRefusals:          a.descriptors.refusals,
		MaxConnsPerIP:        c.Limits.ConnectionsPerIP,
		ErrorBudget:          c.Limits.ErrorBudget,
		HandshakeTimeout:     c.TLS.HandshakeTimeout,
		HandshakesPerIP:      c.TLS.HandshakesPerIP,
		AuthFailures:         tenants.Rate(c.Rates.AuthFailures),
		Unauthenticated:      tenants.Rate(c.Rates.Unauthenticated),
		Version:              a.opts.Version,
		Logger:               a.log,
		Observer:             a.metrics.Server(),
	})
	return err
}

func (a *App) openTenants(context.Context) error {
	a.tenants = tenants.New(a.cfg, tenants.Options{
		Apply: a.setTenants, Drop: a.sessions.DropTenant, Observer: a.tenantsEvent, Logger: a.log,
	})
	a.closers = append(a.closers, a.tenants.Close)
	return a.tenants.Load()
}

// setTenants replaces all tenants. Policies get new ones first, so that none is refused which the server has. On an
// error both keep the previous ones.
func (a *App) setTenants(all []server.Tenant, files []*configs.Tenant) error {
	next := tenants.ForPolicy(all, files)
	if err := a.policy.SetTenants(next); err != nil {
		return err
	}
	if err := a.server.SetTenants(all); err != nil {
		return errors.Join(err, a.policy.SetTenants(a.known))
	}
	a.known = next
	return nil
}

// tenantsEvent passes on what happens to the tenants' files.
func (a *App) tenantsEvent(e tenants.Event) {
	switch e.Kind {
	case tenants.Checked:
		a.metrics.TenantProblems(len(e.Problems))
		a.reloads.note(tenantsReload, e.Err)
	case tenants.Failed:
		a.audit.tenantsFailed(e.Problems)
	case tenants.Changed:
		if e.Before != nil {
			a.audit.tenantsChanged(e.Before, e.After)
		}
		if a.certs == nil || !a.cfg.TLS.ACME.OnDemand {
			return
		}
		if err := a.certs.SetHosts(tenants.Hosts(e.After)); err != nil {
			a.log.Error("cannot ask for the certificates of the tenants", "err", err)
		}
	}
}

// fail ends the process for this reason, unless there is one already.
func (a *App) fail(err error) {
	a.health.breaks(err)
	select {
	case a.failed <- err:
	default:
	}
}

// Addrs returns the addresses of the listeners, in the order of the configuration.
func (a *App) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(a.listeners))
	for i, l := range a.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// OperatorsURL returns what operators open or run to see the status.
func (a *App) OperatorsURL() string { return a.operators.url() }

// Run serves until ctx ends and then drains: open sessions may be finished until the drain time-out is over. If a part
// fails it drains too, and returns the reason. Acknowledged changes are found again by the next process.
func (a *App) Run(ctx context.Context) (failed error) {
	a.log.Info("starting", "version", a.opts.Version, "storage", a.cfg.Storage.Driver, "path", a.cfg.Storage.Path,
		"descriptors", a.descriptors.allowed, "connections", a.descriptors.connections)
	a.Examine(time.Now())
	for _, l := range a.listeners {
		a.log.Info("listening", "listener", l.options.Name, "address", l.Addr().String())
	}
	if err := a.audit.started(a.opts.Version, a.policy, a.tenants.Status().Tenants); err != nil {
		return err
	}
	defer func() { a.audit.stopped(failed) }()
	working, stopWorking := context.WithCancel(context.Background())
	defer stopWorking()
	var background sync.WaitGroup
	background.Go(func() { a.tenants.Run(working) })
	background.Go(func() { a.policy.Run(working) })
	background.Go(func() { a.reloads.run(working) })
	background.Go(func() { a.examineDaily(working) })
	background.Go(func() {
		a.sessions.Sweep(working, session.SweepOptions{
			Interval: a.cfg.Storage.SweepInterval,
			Batch:    a.cfg.Storage.SweepBatch,
			Done:     a.swept,
		})
	})
	ended := make(chan error, len(a.listeners))
	for _, l := range a.listeners {
		background.Go(func() { ended <- a.server.Serve(l.Listener, l.options) })
	}
	if err := a.startCertificates(ctx); err != nil {
		a.fail(err)
	}
	a.health.serving.Store(true)
	select {
	case <-ctx.Done():
		a.log.Info("draining", "timeout", a.cfg.Limits.DrainTimeout.String())
	case failed = <-ended:
	case failed = <-a.failed:
	}
	a.health.draining.Store(true)
	draining, cancel := context.WithTimeout(context.Background(), a.cfg.Limits.DrainTimeout)
	defer cancel()
	if err := a.server.Shutdown(draining); err != nil {
		a.log.Warn("sessions were still open when the time to drain was over: what they had not saved is dropped")
	}
	stopWorking()
	background.Wait()
	return failed
}

// Close closes what is open, the last first. It is called when Run has returned, or instead of Run. A further call
// waits for the first, and does nothing.
func (a *App) Close() error {
	a.closing.Lock()
	defer a.closing.Unlock()
	var errs []error
	for _, close := range slices.Backward(a.closers) {
		errs = append(errs, close())
	}
	a.closers = nil
	return errors.Join(errs...)
}
