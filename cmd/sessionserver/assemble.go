package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/metrics"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/throttle"
	"sessionserver/session"
)

// process is a server assembled from a configuration: everything is open, and nothing is served before run.
type process struct {
	log       *slog.Logger
	peers     *slog.Logger // for what peers can cause as often as they like
	cfg       *configs.Config
	server    *server.Server
	audit     *auditing
	certs     *certs.Certs // nil without TLS
	policy    *opa.Engine
	known     []policy.Tenant // whom it knows
	metrics   *metrics.Metrics
	reloads   *reloads
	store     *watchedStore
	sessions  *session.Manager
	tenants   *tenants
	listeners []listening
	operators *operators // nil without an address for them
	started   time.Time
	health    health

	descriptors descriptors

	logLost func() int64   // lines that are missing from the log; may be nil
	failed  chan error     // why the process cannot go on
	closers []func() error // of what is open, in the order of opening
}

// listening is a listener and how its connections are treated.
type listening struct {
	net.Listener
	how server.Listen
}

// assemble opens all that cfg asks for. If a part fails or ctx ends, what is open is closed again.
func assemble(ctx context.Context, cfg *configs.Config, log *slog.Logger) (_ *process, err error) {
	if problems := inspect(cfg); len(problems) > 0 {
		return nil, problems
	}
	p := &process{log: log, peers: slog.New(throttle.NewHandler(log.Handler())), cfg: cfg, started: time.Now(), failed: make(chan error, 1)}
	p.descriptors = shareDescriptors(allowedDescriptors(), cfg)
	if err := p.descriptors.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()

	if p.metrics, err = newMetrics(cfg, log); err != nil {
		return nil, err
	}
	p.reloads = newReloads(log, p.metrics.Reloaded)
	p.watch()
	if p.audit, err = openAudit(cfg.Audit, log, p.metrics.Audit(), p.metrics.Decisions()); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.audit.close) // the last that is closed
	if cfg.TLS.Used() {
		if p.certs, err = openCertificates(cfg, log, p.certificateObservers(certificatesReload)); err != nil {
			return nil, err
		}
		p.closers = append(p.closers, func() error { p.certs.Close(); return nil })
	}
	if p.operators, err = openAdmin(p, p.certs, p.metrics.Handler()); err != nil {
		return nil, err
	}
	if p.operators != nil {
		p.closers = append(p.closers, p.operators.close)
	}

	store, err := openStore(cfg.Storage, p.descriptors.files, p.peers, storageObserver{p.metrics.Storage(), func(err error) { p.fail(fmt.Errorf("the storage failed: %w", err)) }})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, store.front.Close)
	p.store = store
	p.health.watch(store.observed.Failing, p.audit.log.Err)
	p.sessions = session.NewManager(store.front, session.Options{Observe: p.sessionEvent})

	decided := policyObservers{p.metrics.Policy(), p.audit, policyReloads{p.reloads}}
	if p.policy, err = openPolicy(ctx, cfg.Policy, log, decided, p.audit.decisionLog()); err != nil {
		return nil, fmt.Errorf("cannot use the policies: %w (without any, nothing would be allowed: mend them, or what the policy section of the configuration says)", err)
	}
	p.server, err = server.New(server.Options{
		Sessions:             p.sessions,
		Policy:               p.policy,
		Audit:                p.audit.log,
		Limits:               cfg.Limits.Wire(),
		IdleTimeout:          cfg.Limits.IdleTimeout,
		IdleInSessionTimeout: cfg.Limits.IdleInSession,
		LoginTimeout:         cfg.Limits.LoginTimeout,
		RequestTimeout:       cfg.Limits.RequestTimeout,
		WriteTimeout:         cfg.Limits.WriteTimeout,
		MaxMemory:            int64(cfg.Limits.Memory),
		MaxConns:             p.descriptors.connections,
		MaxRefusals:          p.descriptors.refusals,
		MaxConnsPerIP:        cfg.Limits.ConnectionsPerIP,
		ErrorBudget:          cfg.Limits.ErrorBudget,
		HandshakeTimeout:     cfg.TLS.HandshakeTimeout,
		HandshakesPerIP:      cfg.TLS.HandshakesPerIP,
		AuthFailures:         bucket(cfg.Rates.AuthFailures),
		Unauthenticated:      bucket(cfg.Rates.Unauthenticated),
		Version:              version,
		Logger:               log,
		Observer:             p.metrics.Server(),
	})
	if err != nil {
		return nil, err
	}
	p.tenants = newTenants(cfg, log, p.setTenants, p.sessions.DropTenant)
	p.tenants.audit = p.audit
	p.tenants.looked = func(problems int, err error) {
		p.metrics.TenantProblems(problems)
		p.reloads.note(tenantsReload, err)
	}
	if p.certs != nil && cfg.TLS.ACME.OnDemand {
		p.tenants.certify = p.certs.SetHosts
	}
	p.closers = append(p.closers, p.tenants.close)
	if err := p.tenants.load(); err != nil {
		return nil, err
	}
	for _, l := range cfg.Listen {
		how := treatment(l)
		if p.certs != nil {
			if how.TLS, err = p.certs.ClientConfig(certs.ClientCertificates(l.ClientCertificates), l.ClientCA); err != nil {
				return nil, fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}
		listener, err := listen(l.Address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
		p.closers = append(p.closers, ignoreClosed(listener.Close))
		p.listeners = append(p.listeners, listening{listener, how})
	}
	p.addReloads()
	p.watch()
	return p, ctx.Err()
}

// setTenants makes these all tenants that there are. The policies hear of new ones first, and so deny nobody whom the server knows. On an error both
// know whom they knew before.
func (p *process) setTenants(tenants []server.Tenant, files []*configs.Tenant) error {
	next := policyTenants(tenants, files)
	if err := p.policy.SetTenants(next); err != nil {
		return err
	}
	if err := p.server.SetTenants(tenants); err != nil {
		return errors.Join(err, p.policy.SetTenants(p.known))
	}
	p.known = next
	return nil
}

// openCertificates opens the sources of certificates that cfg names.
func openCertificates(cfg *configs.Config, log *slog.Logger, observer certs.Observer) (*certs.Certs, error) {
	opts := certs.Options{LocalCA: cfg.TLS.LocalCA, Log: log, Observer: observer}
	for _, pair := range cfg.TLS.Certificates {
		opts.Files = append(opts.Files, certs.Pair{Cert: pair.Cert, Key: pair.Key})
	}
	if a := cfg.TLS.ACME; a.Used() {
		opts.ACME = &certs.ACME{
			Names: a.Names, Email: a.Email, AgreeTerms: a.AgreeTerms, Directory: a.Directory, CARoots: a.CARoots,
			Storage: a.Storage, HTTPAddress: a.HTTPAddress, DNSProgram: a.DNSProgram,
		}
	}
	if public, err := url.Parse(cfg.PublicAddress); err == nil && public.Hostname() != "" && cfg.TLS.LocalCA != "" {
		opts.LocalNames = []string{public.Hostname()}
	}
	return certs.New(opts)
}

// startCertificates begins to ask for certificates and to watch their files. The listeners accept already: an authority that is asked
// knocks at one of them.
func (p *process) startCertificates(ctx context.Context) error {
	if p.certs == nil {
		return nil
	}
	var all []net.Addr
	for _, l := range p.listeners {
		all = append(all, l.Addr())
	}
	return p.certs.Start(ctx, knocked(all))
}

// knocked is the listener at which an authority knocks: that of port 443 if there is one, or the first of TCP to which somebody leads that port.
func knocked(all []net.Addr) net.Addr {
	port := func(addr net.Addr) int {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			return tcp.Port
		}
		return 0
	}
	i := slices.IndexFunc(all, func(addr net.Addr) bool { return port(addr) == 443 })
	if i < 0 {
		i = slices.IndexFunc(all, func(addr net.Addr) bool { return port(addr) != 0 })
	}
	return all[max(i, 0)]
}

func bucket(r configs.Rate) server.Rate {
	if r.PerSecond == 0 {
		return server.Unlimited
	}
	return server.Rate{PerSecond: r.PerSecond, Burst: r.Burst}
}

func byteBucket(r configs.ByteRate) server.Rate {
	return bucket(configs.Rate{PerSecond: float64(r.PerSecond), Burst: int(r.Burst)})
}

// fail ends the process for this reason, unless there is one already.
func (p *process) fail(err error) {
	p.health.breaks(err)
	select {
	case p.failed <- err:
	default:
	}
}

// inspect answers everything that is wrong with a configuration beyond what package configs can know, and touches nothing.
func inspect(cfg *configs.Config) configs.Problems {
	problems := inspectAddress(cfg)
	problems = append(problems, inspectAudit(cfg)...)
	if drivers[cfg.Storage.Driver] == nil {
		problems = append(problems, cfg.Problem("storage.driver", "%q (allowed: %s)", cfg.Storage.Driver, driverNames()))
	}
	if cfg.Storage.Driver == "file" && cfg.Storage.Sync == "interval" {
		problems = append(problems, cfg.Problem("storage.sync", "\"interval\" is not for driver file (allowed: always, never)"))
	}
	for i, l := range cfg.Listen {
		if err := server.CheckAnonymous(configs.Prefixes(l.Allow)); l.Anonymous != "" && err != nil {
			problems = append(problems, cfg.Problem(fmt.Sprintf("listen[%d].anonymous", i), "%v", err))
		}
	}
	return problems
}

func treatment(l configs.Listen) server.Listen {
	how := server.Listen{
		Name: l.Name, Plaintext: server.Plaintext(l.Plaintext), Proxies: configs.Prefixes(l.Proxies), Allow: l.Allowlist(),
	}
	how.Anonymous, _ = l.Identity()
	return how
}

// listen opens an address of the configuration. A Unix socket that a dead server has left is replaced; its group may connect.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, dialErr := net.Dial("unix", path); dialErr == nil {
			_ = conn.Close()
			return nil, err
		}
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket", path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// run serves until ctx ends and then drains: open sessions may be finished until the drain time-out is over. If a part fails it drains too, and
// answers why: whoever supervises the process starts it anew, and what was acknowledged is found again.
func (p *process) run(ctx context.Context) (failed error) {
	if err := p.audit.started(p.policy, p.tenants.state().Tenants); err != nil {
		return err
	}
	defer func() { p.audit.stopped(failed) }()
	working, stopWorking := context.WithCancel(context.Background())
	defer stopWorking()
	var background sync.WaitGroup
	background.Go(func() { p.tenants.watch(working) })
	background.Go(func() { p.policy.Run(working) })
	background.Go(func() { p.reloads.run(working) })
	background.Go(func() { p.examineDaily(working) })
	background.Go(func() {
		p.sessions.Sweep(working, session.SweepOptions{
			Interval: p.cfg.Storage.SweepInterval,
			Batch:    p.cfg.Storage.SweepBatch,
			Done:     p.swept,
		})
	})
	ended := make(chan error, len(p.listeners))
	for _, l := range p.listeners {
		background.Go(func() { ended <- p.server.Serve(l.Listener, l.how) })
	}
	if err := p.startCertificates(ctx); err != nil {
		p.fail(err)
	}
	p.health.serving.Store(true)
	select {
	case <-ctx.Done():
		p.log.Info("draining", "timeout", p.cfg.Limits.DrainTimeout.String())
	case failed = <-ended:
	case failed = <-p.failed:
	}
	p.health.draining.Store(true)
	draining, cancel := context.WithTimeout(context.Background(), p.cfg.Limits.DrainTimeout)
	defer cancel()
	if err := p.server.Shutdown(draining); err != nil {
		p.log.Warn("sessions were still open when the time to drain was over: what they had not saved is dropped")
	}
	stopWorking()
	background.Wait()
	return failed
}

// reload reads everything anew, and takes over from a new configuration what can change while running: session, quotas
// and rates as far as tenants leave them to it. All else stays as it was at the start: the addresses of listeners and
// their allow and deny, limits, rates.auth_failures and rates.unauthenticated, storage, where certificates and policies come
// from, the folder of the tenants. Without a configuration, since that has mistakes, the old one goes on and the rest
// is read anew all the same: what was revoked must not wait. It returns the names of what could not be reloaded.
func (p *process) reload(ctx context.Context, cfg *configs.Config) (failed []string) {
	p.tenants.configure(cfg)
	return p.reloads.all(ctx)
}

// addReloads says how everything is read anew. All of it was read by now.
func (p *process) addReloads() {
	p.reloads.note(configurationReload, nil)
	p.reloads.add(tenantsReload, func(context.Context) { p.tenants.again() })
	p.reloads.add(policyReload, func(ctx context.Context) { _ = p.policy.Reload(ctx) }) // which the observer notes
	if p.certs != nil {
		p.reloads.add(certificatesReload, func(context.Context) { _ = p.certs.Reload() })
	}
	if own := p.operators.ownCerts(); own != nil {
		p.reloads.add(adminCertificateReload, func(context.Context) { _ = own.Reload() })
	}
	if p.operators != nil && p.cfg.Admin.TokenFile != "" {
		p.reloads.note(adminTokenReload, nil)
		p.reloads.add(adminTokenReload, func(context.Context) {
			p.reloads.note(adminTokenReload, p.operators.reloadToken())
		})
	}
	if isLogFile(p.cfg.Audit.Output) || isLogFile(p.cfg.Audit.Decisions.Output) {
		p.reloads.add(auditReload, func(context.Context) { p.reloads.note(auditReload, p.audit.reopen()) })
	}
}

// certificateObservers are those of certificates whose files have a name among what is reloaded.
func (p *process) certificateObservers(what string) certs.Observer {
	return certificateObservers{p.metrics.Certificates(), p.audit, certificateReloads{p.reloads, what}}
}

// close closes what is open, the last first. It may be called again.
func (p *process) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// ignoreClosed makes a close that somebody else may have called already.
func ignoreClosed(close func() error) func() error {
	return func() error {
		if err := close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
