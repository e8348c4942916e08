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

// ClientCertificates is the mode in which a listener requests client certificates. A certificate that a client sends is
// always verified.
type ClientCertificates string

const (
	NoClientCertificates       ClientCertificates = "none"
	OptionalClientCertificates ClientCertificates = "optional" // a client may have none
	RequiredClientCertificates ClientCertificates = "required"
)

// ClientConfig returns the configuration of a listener that requests client certificates of the authorities in a PEM
// file. The file is read again when it changes. From then on, sessions authenticated by a removed authority cannot be
// resumed either.
func (c *Certs) ClientConfig(mode ClientCertificates, caFile string) (*tls.Config, error) {
	return c.clientConfig(c.base, mode, caFile)
}

// HTTPConfig returns the configuration of a listener for HTTP/1.1 instead of the session protocol. Its clients may send
// a certificate of the authorities in a PEM file; with "" no certificate is requested.
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
			return challenge, nil // an ACME server has no client certificate
		}
		return ca.current.Load(), nil
	}
	return config, nil
}

// clientCA holds the authorities for client certificates of a listener.
type clientCA struct {
	file    string
	auth    tls.ClientAuthType
	base    *tls.Config
	log     *slog.Logger
	current atomic.Pointer[tls.Config]

	mu   sync.Mutex // guards read, and is held while the file is read
	read []byte
}

// reload reads the file again. If it is invalid, the previous authorities stay in force.
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

// readPool reads the authorities in a PEM file. An incomplete file is refused as a whole.
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

// parseCertificates parses certificates in PEM, and refuses an incomplete file.
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
		return nil, errors.New("certificate not found in it")
	}
	return certs, nil
}

// CheckCA reads a file of authorities, and returns the error that ClientConfig would return for it.
func CheckCA(file string) error {
	_, _, err := readPool(file)
	return err
}
