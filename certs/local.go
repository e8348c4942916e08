package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sessionserver/atomicfile"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 180 * 24 * time.Hour
)

// CAFile returns the path of the local CA's certificate in a folder. Clients need it as cafile in a DSN.
func CAFile(folder string) string { return filepath.Join(folder, "ca.pem") }

// CAKeyFile returns the path of its key.
func CAKeyFile(folder string) string { return filepath.Join(folder, "ca-key.pem") }

// localCA certifies names of this machine. Its own key and certificate are created once and kept in a folder. The
// server's key and certificate exist in memory only, so each start creates new ones.
type localCA struct {
	folder   string
	names    []string
	now      func() time.Time
	log      *slog.Logger
	observer func(Event)
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey

	renewing sync.Mutex
	current  atomic.Pointer[index]
}

// openLocalCA opens the CA in folder, or creates it.
func openLocalCA(
	folder string, names []string, now func() time.Time, log *slog.Logger, observer func(Event),
) (*localCA, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("certs: local CA: %w", err)
	}
	ca := &localCA{
		folder: folder, now: now, log: log, observer: observer, names: []string{"localhost", "127.0.0.1", "::1"},
	}
	for _, name := range names {
		if name = strings.ToLower(name); !slices.Contains(ca.names, name) {
			ca.names = append(ca.names, name)
		}
	}
	if err = ca.open(); errors.Is(err, fs.ErrNotExist) {
		err = ca.create()
	}
	if err == nil {
		err = ca.revokeNothing()
	}
	if err == nil {
		err = ca.issue()
	}
	if err != nil {
		return nil, fmt.Errorf("certs: local CA: %w", err)
	}
	return ca, nil
}

func (ca *localCA) index() *index { return ca.current.Load() }

// open reads the CA. The CA exists once its certificate does, which is written last.
func (ca *localCA) open() error {
	folder := ca.folder
	certPEM, err := os.ReadFile(CAFile(folder))
	if err != nil {
		return err
	}
	if changed, err := tighten(CAKeyFile(folder)); changed {
		ca.log.Warn("the key of the local CA was open to other users of this machine and is not any more", "file",
			CAKeyFile(folder), "err", err)
	}
	keyPEM, err := os.ReadFile(CAKeyFile(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists without its key "+
			"(remove it to have a new CA made, which clients must be given)", CAFile(folder))
	}
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%s and %s do not match: %w (remove them to have a new CA made, which clients must be given)",
			CAFile(folder), CAKeyFile(folder), err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || ca.now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s is not a local CA, or has expired "+
			"(remove it to have a new one made, which clients must be given)", CAFile(folder))
	}
	ca.cert, ca.key = pair.Leaf, key
	return nil
}

func (ca *localCA) create() error {
	folder := ca.folder
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) { // the mode of an existing folder is kept
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(folder, 0o755); err != nil { // whatever the umask: every user may read the certificate
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	now := ca.now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject: pkix.Name{
			Organization: []string{"sessionserver"}, CommonName: "sessionserver local CA of " + host,
		},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, // it can certify servers only
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // and no further CA
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	ca.key = key
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.Remove(crlFile(folder)); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an older CA
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := atomicfile.ReplacePath(CAKeyFile(folder), keyPEM, atomicfile.Mode(0o600)); err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := atomicfile.ReplacePath(CAFile(folder), certPEM, atomicfile.Mode(0o644)); err != nil {
		return err
	}
	ca.log.Info("local CA made", "file", CAFile(folder), "not_after", ca.cert.NotAfter)
	return nil
}

// revokeNothing writes the list of revoked certificates, which is empty since the server's keys are never stored. The
// list exists because scanners and some clients refuse certificates that name none.
func (ca *localCA) revokeNothing() error {
	if _, err := os.Stat(crlFile(ca.folder)); err == nil {
		return nil
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: ca.cert.NotBefore, NextUpdate: ca.cert.NotAfter,
	}, ca.cert, ca.key)
	if err != nil {
		return err
	}
	return atomicfile.ReplacePath(crlFile(ca.folder), der, atomicfile.Mode(0o644))
}

// issue creates the server's certificate.
func (ca *localCA) issue() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := ca.now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		CRLDistributionPoints: []string{(&url.URL{Scheme: "file", Path: crlFile(ca.folder)}).String()},
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	for _, name := range ca.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	ca.current.Store(newIndex([]*tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}))
	ca.observer(Event{Kind: Loaded, Source: FromLocalCA, Names: ca.names, NotAfter: leaf.NotAfter})
	return nil
}

// renew issues another certificate when less than a third of the lifetime of the present one is left.
func (ca *localCA) renew() {
	ca.renewing.Lock()
	defer ca.renewing.Unlock()
	leaf := ca.index().first.Leaf
	if leaf.NotAfter.Sub(ca.now()) > leaf.NotAfter.Sub(leaf.NotBefore)/3 || leaf.NotAfter.Equal(ca.cert.NotAfter) {
		return
	}
	if err := ca.issue(); err != nil {
		ca.log.Error("local CA cannot renew its certificate, the one from before stays",
			"error", err, "not_after", leaf.NotAfter)
		ca.observer(Event{Kind: Failed, Source: FromLocalCA, Names: ca.names, Err: err})
	}
}

func (ca *localCA) expiries() []Expiry {
	return []Expiry{{Source: FromLocalCA, Names: ca.names, NotAfter: ca.index().first.Leaf.NotAfter}}
}

func crlFile(folder string) string { return filepath.Join(folder, "ca.crl") }

// serial returns 127 random bits. RFC 5280 section 4.1.2.2 requires a positive number of at most 20 octets.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
