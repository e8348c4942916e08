package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Protocol is the name of the session protocol in ALPN. A client that offers only other protocols is refused; one that
// offers none is not.
const Protocol = "sessionserver"

// Options configure New. At least one source of certificates is required.
type Options struct {
	Files      []Pair
	ACME       *ACME
	LocalCA    string       // folder of a local CA, which is created if absent; "" is none
	LocalNames []string     // names and IP addresses that the local CA certifies beside localhost, 127.0.0.1 and ::1
	Log        *slog.Logger // nil discards
	Observer   func(Event)  // may be nil; must be quick, safe for concurrent use, and must not call the Certs
}

// Certs chooses certificates for handshakes and renews them. It is safe for concurrent use.
type Certs struct {
	files    *files
	acme     *acme    // nil without ACME
	local    *localCA // nil without a local CA
	base     *tls.Config
	log      *slog.Logger
	observer func(Event)

	mu      sync.Mutex // guards the following fields
	clients []*clientCA
	stop    context.CancelFunc // nil before Start
	closed  bool
	running sync.WaitGroup
	poke    chan struct{} // a file to watch was added
}

// New reads the certificate files, and creates or opens the local CA. It neither listens nor sends requests to a CA;
// [Certs.Start] does. The error names the invalid file or setting and what to do. Close must be called.
func New(o Options) (*Certs, error) {
	if len(o.Files) == 0 && o.ACME == nil && o.LocalCA == "" {
		return nil, errors.New("certs: no source of certificates: name files, ACME or a local CA")
	}
	c := &Certs{log: o.Log, observer: o.Observer, poke: make(chan struct{}, 1)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.observer == nil {
		c.observer = func(Event) {}
	}
	var err error
	if c.files, err = openFiles(o.Files, c.log, c.observer); err != nil {
		return nil, err
	}
	if o.LocalCA != "" {
		if c.local, err = openLocalCA(o.LocalCA, o.LocalNames, time.Now, c.log, c.observer); err != nil {
			return nil, err
		}
	}
	if o.ACME != nil {
		if c.acme, err = newACME(*o.ACME, c.files, c.log, c.observer); err != nil {
			return nil, err
		}
	}
	c.base = c.baseConfig()
	c.observer(Event{Kind: FilesRead})
	c.files.warnExpiring(time.Now())
	return c, nil
}

// TLSConfig returns the configuration of a listener without client certificates; [Certs.ClientConfig] returns those of
// other listeners. The caller must close a connection whose negotiated protocol is acme-tls/1, as package server does.
// Such a connection is the challenge of an ACME server, and complete after the handshake. Its client is not
// authenticated, since no certificate was requested.
//
// A resumed session is authenticated as the original one was. Tickets are sealed with keys that change daily and end
// with the process.
func (c *Certs) TLSConfig() *tls.Config { return c.base.Clone() }

func (c *Certs) baseConfig() *tls.Config {
	config := &tls.Config{
		GetCertificate: c.certificate,
		MinVersion:     tls.VersionTLS12,
		// TLS 1.2 is limited to forward secrecy and authenticated encryption. All suites of TLS 1.3 have both, and
		// cannot be configured.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:                  []string{Protocol},
		DynamicRecordSizingDisabled: true, // a reply of 2 KiB is one write instead of two
	}
	if c.acme != nil && c.acme.overTLS {
		config.NextProtos = append(config.NextProtos, challengeProtocol)
	}
	return config
}

// certificate chooses the certificate for a handshake. If it returns neither a certificate nor an error, crypto/tls
// sends unrecognized_name, and the listener gets the error "no certificates configured".
func (c *Certs) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	switch {
	case isChallenge(hello):
		if c.acme == nil || !c.acme.overTLS || !c.acme.serves(name) {
			return nil, nil
		}
		return c.acme.certificate(hello, name)
	case name == "":
		return c.unnamed(hello)
	}
	if cert := c.files.index().find(hello, name); cert != nil {
		return cert, nil
	}
	var pending error
	if c.acme != nil && c.acme.serves(name) {
		cert, err := c.acme.certificate(hello, name)
		if err == nil {
			return cert, nil
		}
		pending = fmt.Errorf("certs: the certificate for %q is not obtained yet", name)
	}
	if c.local != nil {
		if cert := c.local.index().find(hello, name); cert != nil {
			return cert, nil
		}
	}
	return nil, pending
}

// unnamed chooses the certificate for a client that requests no name: the one for the address that it connected to, or
// the default.
func (c *Certs) unnamed(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	files, local := c.files.index(), &index{}
	if c.local != nil {
		local = c.local.index()
	}
	address := localIP(hello.Conn)
	for _, i := range []*index{files, local} {
		if cert := i.find(hello, address); address != "" && cert != nil {
			return cert, nil
		}
	}
	if files.first != nil {
		return files.first, nil
	}
	if c.acme != nil && c.acme.first != "" {
		if cert, err := c.acme.certificate(hello, c.acme.first); err == nil || local.first == nil {
			return cert, err
		}
	}
	return local.first, nil
}

// localIP returns the address that the client connected to, without a zone, or "".
func localIP(conn net.Conn) string {
	if conn == nil {
		return ""
	}
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return tcp.IP.String()
}

// Start begins to watch files and to obtain certificates from the ACME server, and returns. It must be called once,
// after the session listener began to accept connections: the ACME server connects to its address, listening. An error
// is about the setup of ACME, and nothing runs then. Everything ends with ctx or Close.
func (c *Certs) Start(ctx context.Context, listening net.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.stop != nil {
		return errors.New("certs: already started or closed")
	}
	ctx, stop := context.WithCancel(ctx)
	if c.acme != nil {
		if err := c.acme.start(ctx, listening); err != nil {
			stop()
			return err
		}
	}
	c.stop = stop
	c.running.Go(func() { c.watch(ctx) })
	return nil
}

// Close ends everything that Start began, and waits for it. The clean-up of a challenge may take half a minute.
// Handshakes continue with the present certificates. It may be called again.
func (c *Certs) Close() {
	c.mu.Lock()
	closed, stop := c.closed, c.stop
	c.closed = true
	c.mu.Unlock()
	if closed {
		return
	}
	if stop != nil {
		stop()
	}
	c.running.Wait()
	if c.acme != nil {
		c.acme.close()
	}
}

// SetHosts sets the names, declared by tenants, that have certificates beside ACME.Names. A certificate for a new name
// is obtained in the background, or read from the storage folder. The certificate of a removed name is no longer
// served. A name that a file or a wildcard covers needs none of its own. The error lists the invalid names; all others
// are accepted. Without ACME it does nothing.
func (c *Certs) SetHosts(hosts []string) error {
	if c.acme == nil {
		return nil
	}
	return c.acme.setHosts(hosts)
}

// Reload reads all files again, as a change of them does. Invalid files are in the error, which the observer gets too.
// Their previous content stays in force.
func (c *Certs) Reload() error {
	errs := []error{c.files.reload()}
	c.mu.Lock()
	clients := slices.Clone(c.clients)
	c.mu.Unlock()
	for _, ca := range clients {
		errs = append(errs, ca.reload())
	}
	if c.acme != nil {
		c.acme.sync() // files may cover other names now
	}
	err := errors.Join(errs...)
	c.observer(Event{Kind: FilesRead, Err: err})
	return err
}

// Expiries returns the certificates served now, those of files first.
func (c *Certs) Expiries() []Expiry {
	all := c.files.expiries()
	if c.acme != nil {
		all = append(all, c.acme.expiries()...)
	}
	if c.local != nil {
		all = append(all, c.local.expiries()...)
	}
	return all
}

// maintain reads files whose changes the system does not report, and renews certificates that approach their expiry.
func (c *Certs) maintain() {
	_ = c.Reload() // the observer has it
	if c.local != nil {
		c.local.renew()
	}
	if c.acme != nil {
		c.acme.retry()
	}
}

// index finds certificates by name. It is immutable.
type index struct {
	first  *tls.Certificate
	byName map[string][]*tls.Certificate
}

func newIndex(certs []*tls.Certificate) *index {
	i := &index{byName: map[string][]*tls.Certificate{}}
	for _, cert := range certs {
		if i.first == nil {
			i.first = cert
		}
		for _, name := range names(cert) {
			i.byName[name] = append(i.byName[name], cert)
		}
	}
	return i
}

// find returns the certificate for a name in lower case, or nil. Of several, such as an ECDSA and an RSA one, it
// returns the first that the client supports. hello may be nil.
func (i *index) find(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	choice := i.byName[name]
	if len(choice) == 0 {
		choice = i.byName[wildcard(name)]
	}
	if len(choice) == 0 {
		return nil
	}
	if len(choice) > 1 && hello != nil {
		for _, cert := range choice {
			if hello.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return choice[0]
}

// wildcard returns the name of a certificate for all siblings of name: *.example.com for www.example.com.
func wildcard(name string) string {
	_, parent, ok := strings.Cut(name, ".")
	if !ok || net.ParseIP(name) != nil {
		return ""
	}
	return "*." + parent
}

// names returns the names of a certificate, in lower case.
func names(cert *tls.Certificate) []string {
	var all []string
	for _, name := range cert.Leaf.DNSNames {
		if name != "" {
			all = append(all, strings.ToLower(name))
		}
	}
	for _, ip := range cert.Leaf.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}
