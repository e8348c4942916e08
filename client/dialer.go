package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"sessionserver/wire"
)

// dialer makes authenticated connections that use RESP3.
type dialer struct {
	dsn      *DSN
	timeout  time.Duration
	rateWait time.Duration // how long a connection or a request beyond a rate limit may wait
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	tls      *tls.Config // nil without TLS
}

func newDialer(dsn *DSN, opts Options) (*dialer, error) {
	d := &dialer{dsn: dsn, timeout: dsn.Timeout, dial: opts.DialContext}
	if d.timeout == 0 {
		d.timeout = DefaultTimeout
	}
	d.rateWait = max(opts.RateWait, 0)
	if opts.RateWait == 0 {
		d.rateWait = d.timeout
	}
	if d.dial == nil {
		d.dial = new(net.Dialer).DialContext
	}
	if dsn.Scheme != "tls" {
		return d, nil
	}
	var err error
	d.tls, err = tlsConfig(dsn, opts.TLS)
	return d, err
}

// tlsConfig returns a copy of base with the parameters of the DSN.
func tlsConfig(dsn *DSN, base *tls.Config) (*tls.Config, error) {
	cfg := base.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if len(cfg.NextProtos) == 0 {
		cfg.NextProtos = []string{"sessionserver"}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = dsn.Host
	}
	if dsn.CAFile != "" {
		pem, err := os.ReadFile(dsn.CAFile)
		if err != nil {
			return nil, fmt.Errorf("sessionserver: cafile: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("sessionserver: cafile: no PEM certificate found in %s", dsn.CAFile)
		}
	}
	if dsn.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(dsn.CertFile, dsn.KeyFile)
			if key, readErr := os.ReadFile(dsn.KeyFile); err != nil && readErr == nil && isEncrypted(key) {
				return nil, fmt.Errorf("sessionserver: keyfile: %s is encrypted with a passphrase "+
					"(write a key without one: openssl pkey -in %s -out NEW)", dsn.KeyFile, dsn.KeyFile)
			}
			if err != nil {
				return nil, fmt.Errorf("sessionserver: certfile, keyfile: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		// The files are read for each connection, since certificates are renewed while programs run.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return cfg, nil
}

// isEncrypted reports whether a PEM private key is encrypted, as PKCS #8 or in the older form of RFC 1421.
func isEncrypted(key []byte) bool {
	return bytes.Contains(key, []byte("BEGIN ENCRYPTED PRIVATE KEY")) ||
		bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED"))
}

// connect makes a connection. A connection beyond the rate limit is tried again within rateWait.
func (d *dialer) connect(ctx context.Context) (*conn, error) {
	for rate := newRateWait(d.rateWait); ; {
		c, err := d.connectOnce(ctx)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != wire.RateLimited || !rate.wait(ctx, refusal) {
			return c, err
		}
	}
}

// connectOnce makes a connection and authenticates, within the timeout.
func (d *dialer) connectOnce(ctx context.Context) (*conn, error) {
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	nc, err := d.open(limited)
	if err == nil {
		c := newConn(nc, d.dsn.Addr(), d.timeout)
		c.rateWait = d.rateWait
		if err = d.authenticate(limited, c); err == nil {
			return c, nil
		}
		c.cut()
	}
	var refusal *Error
	var broken *ConnError
	var other *TenantError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("sessionserver: dial: %w", ctx.Err())
	case errors.As(err, &refusal):
		return nil, opError("dial", refusal)
	case errors.As(err, &other):
		return nil, other
	case errors.As(err, &broken):
		err = broken.Err
	case limited.Err() != nil:
		err = fmt.Errorf("no reply within %v: %w", d.timeout, os.ErrDeadlineExceeded)
	}
	return nil, &ConnError{"dial", d.dsn.Addr(), err}
}

// open makes a network connection, with TLS if the scheme is tls.
func (d *dialer) open(ctx context.Context) (net.Conn, error) {
	network := "tcp"
	if d.dsn.Scheme == "unix" {
		network = "unix"
	}
	nc, err := d.dial(ctx, network, d.dsn.Addr())
	if err != nil || d.tls == nil {
		return nc, err
	}
	tc := tls.Client(nc, d.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// authenticate selects RESP3 and authenticates. On a plaintext connection to another machine it first makes a round
// trip without credentials, so that a server that requires TLS refuses it before the secret is sent. With a
// certificate in place of a secret, it verifies that the certificate belongs to the DSN's tenant.
func (d *dialer) authenticate(ctx context.Context, c *conn) error {
	if d.dsn.Scheme == "tcp" && !isLocal(c.nc.RemoteAddr()) {
		c.queue("hello", "3")
		if _, err := d.exchange(ctx, c); err != nil {
			return err
		}
	}
	hello := []string{"hello", "3"}
	if d.dsn.App != "" {
		hello = append(hello, "auth", d.dsn.Tenant+"/"+d.dsn.App, d.dsn.Secret.Reveal())
	}
	c.queue(hello...)
	c.queue("ping")
	if d.verifiesTenant() {
		c.queue("whoami")
	}
	replies, err := d.exchange(ctx, c)
	c.out = nil // the buffer holds the secret
	if err != nil {
		return err
	}
	// A client without an identity gets no lock_wait_ms, and cannot open a session either.
	ms, _ := strconv.ParseInt(stringMap(replies[0])["lock_wait_ms"], 10, 64)
	c.lockWait = time.Duration(ms) * time.Millisecond
	if !d.verifiesTenant() {
		return nil
	}
	identity := stringMap(replies[2])
	if identity["tenant"] != d.dsn.Tenant {
		return &TenantError{Tenant: d.dsn.Tenant, Identity: identity["tenant"] + "/" + identity["app"]}
	}
	return nil
}

// verifiesTenant reports whether the DSN has a tenant and no app, so that the certificate decides the identity.
func (d *dialer) verifiesTenant() bool { return d.dsn.Tenant != "" && d.dsn.App == "" }

// exchange sends the queued requests and returns the replies, or the first error reply as an error.
func (d *dialer) exchange(ctx context.Context, c *conn) ([]wire.Reply, error) {
	replies, err := c.exchange(ctx, "dial", []string{"%*", "+", "%*"}, 0)
	if err != nil {
		return nil, err
	}
	if e := firstError(replies); e != nil {
		return nil, e
	}
	return replies, nil
}

// isLocal reports whether an address belongs to this machine.
func isLocal(addr net.Addr) bool {
	if addr == nil {
		return false
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return addr.Network() != "tcp" || err == nil && ap.Addr().Unmap().IsLoopback()
}

// checkAnonymous returns ErrNoAuth if the server requires credentials, so that Dial reports it rather than the first
// command. It sends a command that needs an open session; the server refuses it with NOSESSION if it accepts the
// client.
func checkAnonymous(ctx context.Context, c *conn) error {
	c.queue("stat")
	replies, err := c.exchange(ctx, "dial", []string{"+"}, 0)
	if err == nil && replies[0].Err != nil && replies[0].Err.Code == wire.NoAuth {
		err = opError("dial", replies[0].Err)
	}
	return err
}
