package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// ClientCertificates says whether a listener asks clients for a certificate. One that a client shows is always verified.
type ClientCertificates string

const (
	NoClientCertificates       ClientCertificates = "none"
	OptionalClientCertificates ClientCertificates = "optional" // a client may have none
	RequiredClientCertificates ClientCertificates = "required"
)

// ClientConfig is the configuration of a listener that asks for client certificates of the authorities in a PEM file, which is read again
// when it changes. From then on, sessions that an authority that is gone had vouched for cannot be resumed either.
func (c *Certs) ClientConfig(mode ClientCertificates, caFile string) (*tls.Config, error) {
	return c.clientConfig(c.base, mode, caFile)
}

// HTTPConfig is the configuration of a listener that speaks HTTP/1.1, and no session protocol, to clients that may have a certificate of the authorities in
// a PEM file; "" is none, and no client is asked.
func (c *Certs) HTTPConfig(caFile string) (*tls.Config, error) {
	base, mode := c.TLSConfig(), NoClientCertificates
	base.NextProtos = []string{"http/1.1"}
	if caFile != "" {
		mode = OptionalClientCertificates
	}
	return c.clientConfig(base, mode, caFile)
}

func (c *Certs) clientConfig(base *tls.Config, mode ClientCertificates, caFile string) (*tls.Config, error) {
	ca := &clientCA{file: caFile, base: base, log: c.log}
	switch mode {
	case NoClientCertificates, "":
		return base.Clone(), nil
	case OptionalClientCertificates:
		ca.auth = tls.VerifyClientCertIfGiven
	case RequiredClientCertificates:
		ca.auth = tls.RequireAndVerifyClientCert
	default:
		return nil, fmt.Errorf("certs: client certificates %q (allowed: none, optional, required)", mode)
	}
	if err := ca.reload(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.clients = append(c.clients, ca)
	c.mu.Unlock()
	select {
	case c.poke <- struct{}{}:
	default:
	}

	challenge := c.TLSConfig()
	challenge.NextProtos, challenge.SessionTicketsDisabled = []string{challengeProtocol}, true
	config := base.Clone()
	config.ClientAuth = ca.auth
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if isChallenge(hello) {
			return challenge, nil // an ACME server has no certificate to show
		}
		return ca.current.Load(), nil
	}
	return config, nil
}

// clientCA are the authorities that may vouch for the clients of a listener.
type clientCA struct {
	file    string
	auth    tls.ClientAuthType
	base    *tls.Config
	log     *slog.Logger
	current atomic.Pointer[tls.Config]

	mu   sync.Mutex // guards what follows, and is held while the file is read
	read []byte
}

// reload reads the file again. If it cannot be used, the authorities from before stay.
func (ca *clientCA) reload() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	pool, read, err := readPool(ca.file)
	if err != nil {
		return err
	}
	if bytes.Equal(ca.read, read) {
		return nil
	}
	config := ca.base.Clone()
	config.ClientAuth, config.ClientCAs = ca.auth, pool
	ca.current.Store(config)
	ca.read = read
	ca.log.Info("client CA file loaded", "file", ca.file)
	return nil
}

// readPool reads the authorities in a PEM file. All that is in it must be certificates: half a file is refused, not half taken.
func readPool(file string) (*x509.CertPool, []byte, error) {
	read, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("certs: reading CA certificates: %w", err)
	}
	certs, err := parseCertificates(read)
	if err != nil {
		return nil, nil, fmt.Errorf("certs: %s: %w (write CA certificates as PEM)", file, err)
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, read, nil
}

// parseCertificates reads a file of certificates and refuses one that was not written to its end.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	switch {
	case bytes.Contains(data, []byte("-----BEGIN")):
		return nil, errors.New("it ends within a certificate")
	case len(certs) == 0:
		return nil, errors.New("there is no certificate in it")
	}
	return certs, nil
}

// CheckCA reads a file of authorities, and says what ClientConfig would say of it.
func CheckCA(file string) error {
	_, _, err := readPool(file)
	return err
}
