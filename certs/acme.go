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

// ACME configures the certificates obtained from an ACME server (RFC 8555), and the challenge that proves control of
// their names. It is TLS-ALPN-01 on the session listener itself, HTTP-01 with an HTTPAddress, or DNS-01 with a
// DNSProgram.
type ACME struct {
	Names       []string // the first is also for clients that request no name; wildcards need DNS-01
	Email       string   // contact for the CA; most allow ""
	AgreeTerms  bool     // must be true: the operator has read the CA's terms of service
	Directory   string   // URL of the server; "" is Let's Encrypt
	CARoots     string   // PEM file of the authorities of a private server; "" is the system's
	Storage     string   // folder for the account, keys and certificates; several servers may share one
	HTTPAddress string   // listener for HTTP-01; the CA connects to port 80 of each name

	// DNSProgram is a program that fulfils DNS-01 challenges, so that no provider's API has to be linked in. If it is
	// set, no other challenge is used. It is run as
	//
	//	PROGRAM present _acme-challenge.example.com. VALUE
	//	PROGRAM cleanup _acme-challenge.example.com. VALUE
	//
	// like the programs of lego's exec provider, which can be used. The first adds a TXT record with that value, beside
	// existing ones (a name and its wildcard have one each). It exits with status 0 once the name servers of the zone
	// serve the record, within two minutes. The second removes the record within half a minute. Both have the
	// environment of the server.
	DNSProgram string

	renewCheck time.Duration // period of checks for renewal; 0 is certmagic's ten minutes
}

// challengeProtocol is the ALPN protocol of the client of a TLS-ALPN-01 challenge (RFC 8737). Package server has the
// constant too: it closes these connections, and does not import this package.
const challengeProtocol = "acme-tls/1"

// isChallenge reports whether the client is an ACME server, which offers this protocol only. A client that offers
// another beside it is an ordinary client.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol
}

const (
	cleanEvery = 24 * time.Hour
	cleanGrace = 30 * 24 * time.Hour // until expired certificates are deleted
	retryAfter = time.Hour           // after certmagic gave up on a name
)

// acme has certificates for names and hosts. Certmagic obtains, stores and renews them. This type decides which are
// served, because certmagic continues to serve each certificate that it once had.
type acme struct {
	options  ACME
	files    *files // names that they cover need no certificate from ACME
	overTLS  bool
	first    string // name for clients that request none, or ""
	log      *slog.Logger
	observer func(Event)

	cache      *certmagic.Cache
	config     *certmagic.Config
	handshakes *certmagic.Config // the same, but logs events that any client can cause at debug level
	issuer     *certmagic.ACMEIssuer
	http       *http.Server

	serving atomic.Pointer[map[string]bool] // names that are served in handshakes

	mu      sync.Mutex // guards the following fields
	hosts   []string
	ctx     context.Context // nil before start and after close
	jobs    map[string]*job
	running sync.WaitGroup
}

// job is the management of one name.
type job struct {
	cancel context.CancelFunc
	failed time.Time // time at which certmagic gave up, or zero
}

func newACME(o ACME, files *files, log *slog.Logger, observer func(Event)) (*acme, error) {
	a := &acme{options: o, files: files, log: log, observer: observer, jobs: map[string]*job{}}
	a.overTLS = o.HTTPAddress == "" && o.DNSProgram == ""
	if !o.AgreeTerms {
		return nil, errors.New("certs: ACME: the terms of service are not agreed to " +
			"(read the CA's, then set agree_terms)")
	}
	if o.Storage == "" {
		return nil, errors.New("certs: ACME: no storage folder, without which each start would request " +
			"all certificates again: set storage")
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

// hostnames returns the names that can have a certificate, in lower case. The error lists the others with the reasons.
func (a *acme) hostnames(names []string) ([]string, error) {
	var good []string
	var errs []error
	for _, name := range names {
		name = strings.ToLower(name)
		switch {
		case !isHostname(strings.TrimPrefix(name, "*.")):
			errs = append(errs, fmt.Errorf("certs: ACME: %.253q can have no certificate "+
				"(allowed: names such as sessions.example.com, others than ASCII as xn--…)", name))
		case strings.HasPrefix(name, "*.") && a.options.DNSProgram == "":
			errs = append(errs, fmt.Errorf("certs: ACME: the wildcard %q needs DNS-01 (set dns_program)", name))
		case !slices.Contains(good, name):
			good = append(good, name)
		}
	}
	return good, errors.Join(errs...)
}

// isHostname reports whether name is a host name of at least two labels, as in certificates. Package configs has the
// same rule, to report a mistake with its line; neither may import the other.
func isHostname(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	// A name whose last label is a number is an IP address, or looks like one.
	return len(labels) > 1 && len(name) <= 253 && strings.Trim(last, "0123456789") != ""
}

// start listens for HTTP-01 and begins to manage names.
func (a *acme) start(ctx context.Context, listening net.Addr) error {
	if a.overTLS {
		tcp, ok := listening.(*net.TCPAddr)
		if !ok {
			return fmt.Errorf("certs: ACME: TLS-ALPN-01 needs a TCP listener, and it is %v "+
				"(or set http_address or dns_program)", listening)
		}
		// Certmagic opens a port of its own unless a listener has exactly this address.
		a.issuer.ListenHost, a.issuer.AltTLSALPNPort = tcp.IP.String(), tcp.Port
		if tcp.Zone != "" {
			a.issuer.ListenHost += "%" + tcp.Zone
		}
		if tcp.Port != 443 { // RFC 8737, section 3
			a.log.Info("ACME authorities connect to port 443 of each name: it must lead to this listener",
				"listener", tcp.String())
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

// serveHTTP serves HTTP-01 challenges only. It listens all the time, so that an unavailable port is an error at the
// start and not at a renewal.
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
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
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

// serves reports whether name is served in handshakes.
func (a *acme) serves(name string) bool {
	serving := *a.serving.Load()
	return serving[name] || serving[wildcard(name)]
}

// certificate returns the certificate that certmagic has for name.
func (a *acme) certificate(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	if hello.ServerName != name {
		named := *hello
		named.ServerName = name
		hello = &named
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

// sync serves and manages exactly the configured names that no file covers.
func (a *acme) sync() {
	a.mu.Lock()
	defer a.mu.Unlock()
	configured, files := map[string]bool{}, a.files.index()
	for _, name := range slices.Concat(a.options.Names, a.hosts) {
		if files.find(nil, name) == nil && (!configured[wildcard(name)] || strings.HasPrefix(name, "*.")) {
			configured[name] = true
		}
	}
	a.serving.Store(&configured)
	if a.ctx == nil {
		return
	}
	for name, j := range a.jobs {
		if !configured[name] {
			j.cancel()
			delete(a.jobs, name)
			a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
			a.log.Info("certificate is not served any more", "names", []string{name})
			a.observer(Event{Kind: Removed, Source: FromACME, Names: []string{name}})
		}
	}
	for name := range configured {
		if a.jobs[name] == nil && a.ctx.Err() == nil {
			a.begin(name)
		}
	}
}

// begin starts to manage name. The caller holds the lock.
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
			// The name was removed meanwhile, perhaps before its certificate was obtained.
			a.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
		case err != nil && ctx.Err() == nil:
			j.failed = time.Now()
			a.log.Error("certificate was given up for now",
				"names", []string{name}, "error", err, "retry_in", retryAfter)
		}
	})
}

// manage lets certmagic obtain a certificate, unless the storage has one, and renew it. It tries for a month, or until
// ctx ends.
func (a *acme) manage(ctx context.Context, name string) error {
	cert, err := a.config.CacheManagedCertificate(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		// Unlike ManageAsync, this call returns when the certificate is obtained.
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

// retry begins again with the names that certmagic gave up on an hour ago.
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

// configFor returns the configuration with which certmagic renews a certificate. It returns an error for one that is no
// longer served: a certificate that is removed during its renewal returns to the cache.
func (a *acme) configFor(cert certmagic.Certificate) (*certmagic.Config, error) {
	serving := *a.serving.Load()
	if len(cert.Names) > 0 && !serving[cert.Names[0]] {
		go a.cache.Remove([]string{cert.Hash()}) // the caller holds the cache's lock
		return nil, errors.New("the certificate is no longer served")
	}
	return a.config, nil
}

// event logs and reports an event of certmagic.
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
		a.log.Error("certificate cannot be obtained, it is tried again later",
			"names", e.Names, "renewal", renewal, "error", e.Err, "hint", a.hint())
	default:
		return nil
	}
	a.observer(e)
	return nil
}

// hint returns what an operator should check when challenges fail.
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

// clean deletes certificates that expired long ago from the storage folder, once a day.
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
