package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Pair holds the paths of one certificate in PEM: the certificate with its chain, and its private key.
type Pair struct {
	Cert string
	Key  string
}

// warnBefore is the time before expiry from which an operator is warned of a certificate file.
const warnBefore = 14 * 24 * time.Hour

// files holds certificate files and the certificates read from them.
type files struct {
	log      *slog.Logger
	observer func(Event)
	current  atomic.Pointer[index]

	mu    sync.Mutex // guards pairs, and is held while they are read
	pairs []*pair
}

// pair is one certificate and its files.
type pair struct {
	Pair
	cert    *tls.Certificate
	read    [sha256.Size]byte // hash of the files from which cert was read
	refused string            // last error, so that it is reported once
}

// openFiles reads all pairs. The error lists all invalid ones.
func openFiles(pairs []Pair, log *slog.Logger, observer func(Event)) (*files, error) {
	f := &files{log: log, observer: observer}
	for _, p := range pairs {
		f.pairs = append(f.pairs, &pair{Pair: p})
	}
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *files) index() *index { return f.current.Load() }

// reload reads all pairs again. An invalid one is in the error, and keeps its previous certificate.
func (f *files) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	var certs []*tls.Certificate
	for _, p := range f.pairs {
		if err := f.load(p); err != nil {
			errs = append(errs, err)
		}
		if p.cert != nil {
			certs = append(certs, p.cert)
		}
	}
	f.current.Store(newIndex(certs))
	return errors.Join(errs...)
}

func (f *files) load(p *pair) error {
	cert, read, err := p.open()
	if err != nil {
		if p.cert != nil && err.Error() != p.refused {
			p.refused = err.Error()
			f.observer(Event{Kind: Failed, Source: FromFile, Names: names(p.cert), Err: err})
		}
		return err
	}
	p.refused = ""
	if p.cert != nil && p.read == read {
		return nil
	}
	kind := Loaded
	if p.cert != nil {
		kind = Renewed
	}
	p.cert, p.read = cert, read
	f.log.Info("certificate file loaded", "file", p.Cert, "names", names(cert), "not_after", cert.Leaf.NotAfter)
	f.observer(Event{Kind: kind, Source: FromFile, Names: names(cert), NotAfter: cert.Leaf.NotAfter})
	return nil
}

// open reads the files, and parses the certificate if they changed.
func (p *pair) open() (*tls.Certificate, [sha256.Size]byte, error) {
	var none [sha256.Size]byte
	certPEM, err := os.ReadFile(p.Cert)
	if err != nil {
		return nil, none, fmt.Errorf("certs: reading a certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(p.Key)
	if err != nil {
		return nil, none, fmt.Errorf("certs: reading a private key: %w", err)
	}
	read := sha256.Sum256(bytes.Join([][]byte{certPEM, keyPEM}, []byte{0}))
	if p.cert != nil && p.read == read {
		return p.cert, read, nil
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err == nil {
		_, err = parseCertificates(certPEM) // package tls accepts an incomplete chain
	}
	switch {
	case err != nil && isEncrypted(keyPEM):
		return nil, none, fmt.Errorf("certs: the key %s has a passphrase, which cannot be entered when the server "+
			"starts: write it without (openssl pkey -in %s -out NEW), readable for the user of the server alone",
			p.Key, p.Key)
	case err != nil:
		return nil, none, fmt.Errorf("certs: %s and %s do not match: %s "+
			"(write the chain, own certificate first, and its key, both as PEM)",
			p.Cert, p.Key, strings.TrimPrefix(err.Error(), "tls: "))
	case len(names(&cert)) == 0:
		return nil, none, fmt.Errorf("certs: %s has no subject alternative name, so clients refuse it "+
			"(create one that names the host)", p.Cert)
	}
	return &cert, read, nil
}

// isEncrypted reports whether a private key in PEM has a passphrase: in PKCS #8, or as before it (RFC 1421).
func isEncrypted(key []byte) bool {
	return bytes.Contains(key, []byte("BEGIN ENCRYPTED PRIVATE KEY")) ||
		bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED"))
}

// warnExpiring passes the certificates that expire soon to the observer. Examine is its counterpart for people.
func (f *files) warnExpiring(now time.Time) {
	for _, e := range f.expiries() {
		if left := e.NotAfter.Sub(now); left < warnBefore {
			f.observer(Event{Kind: Expiring, Source: FromFile, Names: e.Names, NotAfter: e.NotAfter})
		}
	}
}

func (f *files) expiries() []Expiry {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Expiry
	for _, p := range f.pairs {
		all = append(all, Expiry{Source: FromFile, Names: names(p.cert), NotAfter: p.cert.Leaf.NotAfter})
	}
	return all
}

// paths returns the files to watch.
func (f *files) paths() []string {
	var all []string
	for _, p := range f.pairs {
		all = append(all, p.Cert, p.Key)
	}
	return all
}

// Check reads the files, and returns the error that New would return for them.
func (p Pair) Check() error {
	_, _, err := (&pair{Pair: p}).open()
	return err
}
