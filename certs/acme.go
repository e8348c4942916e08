package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// ACME says which certificates an ACME server (RFC 8555) is asked for, and how it is shown that their names are ours: by TLS-ALPN-01 on the
// session listener itself, or instead by HTTP-01 if there is an HTTPAddress, or by DNS-01 if there is a DNSProgram.
type ACME struct {
	Names       []string // the first is also for clients that ask for none; wildcards need DNS-01
	Email       string   // where the CA writes to; "" is allowed by most
	AgreeTerms  bool     // must be true: the operator has read the CA's terms of service
	Directory   string   // URL of the server; "" is Let's Encrypt
	CARoots     string   // PEM file of the authorities that vouch for a private server; "" is the system's
	Storage     string   // folder for the account, keys and certificates; several servers may share one
	HTTPAddress string   // where HTTP-01 is answered; the CA connects to port 80 of each name

	// DNSProgram answers DNS-01 challenges, so that no provider's API has to be linked in; it is used alone where it is set. It is run as
	//
	//	PROGRAM present _acme-challenge.example.com. VALUE
	//	PROGRAM cleanup _acme-challenge.example.com. VALUE
	//
	// as the exec provider of lego does, whose programs fit. The first adds a TXT record of that value, beside others that may be there (a name
	// and its wildcard have one each), and ends with status 0 once the name servers of the zone answer with it, within two minutes; the second
	// takes it away again, within half a minute. Both have the environment of the server.
	DNSProgram string

	renewCheck time.Duration // how often to look for certificates to renew; 0 is certmagic's ten minutes
}

// challengeProtocol is what the client of a TLS-ALPN-01 challenge asks for in ALPN (RFC 8737). Package server has the constant too, for it closes
// these connections and knows of TLS configurations only, not of where their certificates come from.
const challengeProtocol = "acme-tls/1"

// isChallenge reports whether it is an ACME server that knocks. It offers this protocol alone: who offers another beside it is a client like
// any other.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol
}

const (
	cleanEvery = 24 * time.Hour
	cleanGrace = 30 * 24 * time.Hour // how long expired certificates are kept
	retryAfter = time.Hour           // after certmagic itself gave a name up
)

// acme has certificates for names and hosts. Certmagic obtains, keeps and renews them; which of them are served is decided here, because
// certmagic goes on with what it has once had.
type acme struct {
	options  ACME
	files    *files // what they cover needs no certificate from ACME
	overTLS  bool
	first    string // the name for clients that ask for none, or ""
	log      *slog.Logger
	observer func(Event)

	cache      *certmagic.Cache
	config     *certmagic.Config
	handshakes *certmagic.Config // the same, but what strangers may cause is no warning
	issuer     *certmagic.ACMEIssuer
	http       *http.Server

	serving atomic.Pointer[map[string]bool] // the names that handshakes may have

	mu      sync.Mutex // guards what follows
	hosts   []string
	ctx     context.Context // nil before start and after close
	jobs    map[string]*job
	running sync.WaitGroup
}

// job is the management of one name.
type job struct {
	cancel context.CancelFunc
	failed time.Time // when it was given up, or zero
}

func newACME(o ACME, files *files, log *slog.Logger, observer func(Event)) (*acme, error) {
	a := &acme{options: o, files: files, log: log, observer: observer, jobs: map[string]*job{}}
	a.overTLS = o.HTTPAddress == "" && o.DNSProgram == ""
	if !o.AgreeTerms {
		return nil, errors.New("certs: ACME: the terms of service are not agreed to (read the CA's, then set agree_terms)")
	}
	if o.Storage == "" {
		return nil, errors.New("certs: ACME: there is no storage folder, so that each start would ask for all certificates again")
	}
	names, err := a.hostnames(o.Names)
	if err != nil {
		return nil, err
	}
	a.options.Names = names
	if len(names) > 0 && !strings.HasPrefix(names[0], "*.") {
		a.first = names[0]
	}
	template := certmagic.ACMEIssuer{
		CA: o.Directory, Email: o.Email, Agreed: true, Logger: zapLogger(log, slog.LevelWarn),
		DisableHTTPChallenge: o.HTTPAddress == "", DisableTLSALPNChallenge: !a.overTLS,
	}
	if o.DNSProgram != "" {
		template.DNS01Solver = dnsProgram{o.DNSProgram}
	}
	if o.CARoots != "" {
		if template.TrustedRoots, _, err = readPool(o.CARoots); err != nil {
			return nil, err
		}
	}

	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   a.configFor,
		RenewCheckInterval: o.renewCheck,
		Logger:             zapLogger(log, slog.LevelWarn),
	})
	storage := &certmagic.FileStorage{Path: o.Storage}
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage:        storage,
		Logger:         zapLogger(log, slog.LevelWarn),
		OnEvent:        a.event,
		ShouldEmitFunc: func(event string) bool { return event != "tls_get_certificate" },
	})
	a.issuer = certmagic.NewACMEIssuer(a.config, template)
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	a.handshakes = certmagic.New(a.cache, certmagic.Config{
		Storage: storage, Logger: zapLogger(log, slog.LevelDebug), Issuers: a.config.Issuers,
	})
	a.sync()
	return a, nil
}

// hostnames are those of names that can have a certificate, in lower case; the error says why others can not.
func (a *acme) hostnames(names []string) ([]string, error) {
	var good []string
	var errs []error
	for _, name := range names {
		name = strings.ToLower(name)
		switch {
		case !isHostname(strings.TrimPrefix(name, "*.")):
			errs = append(errs, fmt.Errorf("certs: ACME: %.253q can have no certificate (allowed: names such as sessions.example.com, "+
				"others than ASCII as xn--…)", name))
		case strings.HasPrefix(name, "*.") && a.options.DNSProgram == "":
			errs = append(errs, fmt.Errorf("certs: ACME: the wildcard %q needs DNS-01 (set dns_program)", name))
		case !slices.Contains(good, name):
			good = append(good, name)
		}
	}
	return good, errors.Join(errs...)
}

// isHostname reports whether name is a host's, of two labels or more, as it stands in certificates. Package configs has the same rule, to tell of a
// mistake with its line; neither may import the other.
func isHostname(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) > 1 && len(name) <= 253 && strings.Trim(last, "0123456789") != "" // or it would be an address, or look like one
}

// start listens for HTTP-01 and begins to manage names.
func (a *acme) start(ctx context.Context, listening net.Addr) error {
	if a.overTLS {
		tcp, ok := listening.(*net.TCPAddr)
		if !ok {
			return fmt.Errorf("certs: ACME: TLS-ALPN-01 needs a TCP listener, and it is %v (or set http_address or dns_program)", listening)
		}
		// Certmagic would open a port of its own if nobody listened at exactly this address.
		a.issuer.ListenHost, a.issuer.AltTLSALPNPort = tcp.IP.String(), tcp.Port
		if tcp.Zone != "" {
			a.issuer.ListenHost += "%" + tcp.Zone
		}
		if tcp.Port != 443 { // RFC 8737, section 3
			a.log.Info("ACME authorities connect to port 443 of each name: it must lead to this listener", "listener", tcp.String())
		}
	}
	if a.options.HTTPAddress != "" && a.options.DNSProgram == "" {
		if err := a.serveHTTP(); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	a.sync()
	a.running.Go(func() { a.clean(ctx) })
	return nil
}

// serveHTTP answers HTTP-01 challenges, and nothing else. It listens all the time, so that a port that cannot be had is known at the start
// and not when a certificate is to be renewed.
func (a *acme) serveHTTP() error {
	l, err := net.Listen("tcp", a.options.HTTPAddress)
	if err != nil {
		return fmt.Errorf("certs: ACME: listening for HTTP-01: %w", err)
	}
	tcp := l.Addr().(*net.TCPAddr)
	a.issuer.ListenHost, a.issuer.AltHTTPPort = tcp.IP.String(), tcp.Port
	challenges := a.issuer.HTTPChallengeHandler(http.NotFoundHandler())
	a.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host := strings.ToLower(r.Host)
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			if !a.serves(host) {
				http.NotFound(w, r)
				return
			}
			challenges.ServeHTTP(w, r)
		}),
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.http.SetKeepAlivesEnabled(false)
	go a.http.Serve(l) // until close
	return nil
}

func (a *acme) close() {
	if a.http != nil {
		a.http.Close()
	}
	a.mu.Lock()
	a.ctx = nil // no job begins from now on
	a.mu.Unlock()
	a.running.Wait()
	a.cache.Stop()
}

// serves reports whether a handshake may have a certificate for name.
func (a *acme) serves(name string) bool {
	serving := *a.serving.Load()
	return serving[name] || serving[wildcard(name)]
}

// certificate is what certmagic has for name.
func (a *acme) certificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	if hello.ServerName != name {
		asked := *hello
		asked.ServerName = name
		hello = &asked
	}
	return a.handshakes.GetCertificate(hello)
}

func (a *acme) setHosts(hosts []string) error {
	good, err := a.hostnames(hosts)
	a.mu.Lock()
	a.hosts = good
	a.mu.Unlock()
	a.sync()
	return err
}

// sync makes what is served and managed what is wanted.
func (a *acme) sync() {
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted, files := map[string]bool{}, a.files.index()
	for _, name := range slices.Concat(a.options.Names, a.hosts) {
		if files.find(nil, name) == nil && (!wanted[wildcard(name)] || strings.HasPrefix(name, "*.")) {
			wanted[name] = true
		}
	}
	a.serving.Store(&wanted)
	if a.ctx == nil {
		return
	}
	for name, j := range a.jobs {
		if !wanted[name] {
			j.cancel()
			delete(a.jobs, name)
			a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
			a.log.Info("certificate is not served any more", "names", []string{name})
			a.observer(Event{Kind: Removed, Source: FromACME, Names: []string{name}})
		}
	}
	for name := range wanted {
		if a.jobs[name] == nil && a.ctx.Err() == nil {
			a.begin(name)
		}
	}
}

// begin manages name from now on. The caller holds the lock.
func (a *acme) begin(name string) {
	ctx, cancel := context.WithCancel(a.ctx)
	j := &job{cancel: cancel}
	a.jobs[name] = j
	a.running.Go(func() {
		err := a.manage(ctx, name)
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case a.jobs[name] == nil:
			// It was taken away meanwhile, perhaps before it was there.
			a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
		case err != nil && ctx.Err() == nil:
			j.failed = time.Now()
			a.log.Error("certificate was given up for now", "names", []string{name}, "error", err, "retry_in", retryAfter)
		}
	})
}

// manage has certmagic obtain a certificate, unless the storage has one, and keep it. It tries for a month, until ctx ends.
func (a *acme) manage(ctx context.Context, name string) error {
	cert, err := a.config.CacheManagedCertificate(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		// Not ManageAsync: this one can be waited for.
		if err := a.config.ObtainCertAsync(ctx, name); err != nil {
			return err
		}
		_, err = a.config.CacheManagedCertificate(ctx, name)
		return err
	}
	if err == nil && cert.NeedsRenewal(a.config) {
		return a.cache.RenewManagedCertificates(ctx)
	}
	return err
}

// retry begins anew with the names that were given up an hour ago.
func (a *acme) retry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, j := range a.jobs {
		if !j.failed.IsZero() && time.Since(j.failed) > retryAfter && a.ctx != nil {
			j.cancel()
			a.begin(name)
		}
	}
}

// configFor tells certmagic how to renew a certificate, which is not at all when it is not wanted any more: one that was being renewed while
// it was taken away comes back to the cache.
func (a *acme) configFor(cert certmagic.Certificate) (*certmagic.Config, error) {
	serving := *a.serving.Load()
	if len(cert.Names) > 0 && !serving[cert.Names[0]] {
		go a.cache.Remove([]string{cert.Hash()}) // the caller holds the cache's lock
		return nil, errors.New("it is not served any more")
	}
	return a.config, nil
}

// event hears of what certmagic has done.
func (a *acme) event(ctx context.Context, name string, data map[string]any) error {
	host, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	e := Event{Source: FromACME, Names: []string{host}}
	switch name {
	case "cert_obtained":
		e.Kind = Obtained
		if renewal {
			e.Kind = Renewed
		}
		path, _ := data["certificate_path"].(string)
		if stored, err := a.config.Storage.Load(ctx, path); err == nil {
			if chain, err := parseCertificates(stored); err == nil {
				e.NotAfter = chain[0].NotAfter
			}
		}
		a.log.Info("certificate "+e.Kind.String(), "names", e.Names, "not_after", e.NotAfter)
	case "cert_failed":
		e.Kind = Failed
		e.Err, _ = data["error"].(error)
		a.log.Error("certificate cannot be obtained, it is tried again later", "names", e.Names, "renewal", renewal, "error", e.Err,
			"hint", a.hint())
	default:
		return nil
	}
	a.observer(e)
	return nil
}

// hint says what an operator should look at when challenges fail.
func (a *acme) hint() string {
	switch {
	case a.options.DNSProgram != "":
		return "the CA looks up _acme-challenge of the name: see whether dns_program has set it"
	case a.options.HTTPAddress != "":
		return "the CA connects to port 80 of the name: it must lead to " + a.options.HTTPAddress
	}
	return "the CA connects to port 443 of the name: it must lead to " +
		net.JoinHostPort(a.issuer.ListenHost, strconv.Itoa(a.issuer.AltTLSALPNPort))
}

// clean deletes what expired long ago from the storage folder, once a day.
func (a *acme) clean(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(cleanEvery):
		}
		err := certmagic.CleanStorage(ctx, a.config.Storage, certmagic.CleanStorageOptions{
			Logger: zapLogger(a.log, slog.LevelWarn), OCSPStaples: true,
			ExpiredCerts: true, ExpiredCertGracePeriod: cleanGrace, Interval: cleanEvery / 2,
		})
		if err != nil && ctx.Err() == nil {
			a.log.Warn("storage folder of ACME cannot be cleaned", "error", err)
		}
	}
}

func (a *acme) expiries() []Expiry {
	var all []Expiry
	for _, name := range slices.Sorted(maps.Keys(*a.serving.Load())) {
		var last time.Time
		for _, cert := range a.cache.AllMatchingCertificates(name) {
			if slices.Contains(cert.Names, name) && cert.Leaf.NotAfter.After(last) {
				last = cert.Leaf.NotAfter
			}
		}
		if !last.IsZero() {
			all = append(all, Expiry{Source: FromACME, Names: []string{name}, NotAfter: last})
		}
	}
	return all
}
