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

// dialer makes connections that have authenticated and speak RESP3.
type dialer struct {
	dsn     *DSN
	timeout time.Duration
	// rateWait is how long a request or a connection beyond a rate waits.
	rateWait time.Duration
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

// tlsConfig completes base with what the DSN says.
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
			return nil, fmt.Errorf("sessionserver: cafile: no PEM certificate in %s", dsn.CAFile)
		}
	}
	if dsn.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(dsn.CertFile, dsn.KeyFile)
			if key, unread := os.ReadFile(dsn.KeyFile); err != nil && unread == nil && isEncrypted(key) {
				return nil, fmt.Errorf("sessionserver: keyfile: %s has a passphrase, which nobody could type "+
					"(write it without: openssl pkey -in %s -out NEW)", dsn.KeyFile, dsn.KeyFile)
			}
			if err != nil {
				return nil, fmt.Errorf("sessionserver: certfile, keyfile: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		// Read again for each connection: certificates are renewed while programs run.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return cfg, nil
}

// isEncrypted reports whether a private key in PEM has a passphrase: in PKCS #8, or as before it (RFC 1421).
func isEncrypted(key []byte) bool {
	return bytes.Contains(key, []byte("BEGIN ENCRYPTED PRIVATE KEY")) ||
		bytes.Contains(key, []byte("Proc-Type: 4,ENCRYPTED"))
}

// connect makes a connection, also for a client that connects too often for the moment.
func (d *dialer) connect(ctx context.Context) (*conn, error) {
	for rate := newRateWait(d.rateWait); ; {
		c, err := d.connectOnce(ctx)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != wire.RateLimited || !rate.wait(ctx, refusal) {
			return c, err
		}
	}
}

func (d *dialer) connectOnce(ctx context.Context) (*conn, error) {
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	nc, err := d.open(limited)
	if err == nil {
		c := newConn(nc, d.dsn.Addr(), d.timeout)
		c.rateWait = d.rateWait
		if err = d.greet(limited, c); err == nil {
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
		return nil, refused("dial", refusal)
	case errors.As(err, &other):
		return nil, other
	case errors.As(err, &broken):
		err = broken.Err
	case limited.Err() != nil:
		err = fmt.Errorf("no answer within %v: %w", d.timeout, os.ErrDeadlineExceeded)
	}
	return nil, &ConnError{"dial", d.dsn.Addr(), err}
}

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

// greet chooses RESP3 and authenticates. Where the way to the server can be overheard it first learns, in a round
// trip of its own, whether plaintext is welcome: a server that wants TLS says so before it has been sent the secret.
// Whom a certificate makes it, only the server knows: in the same round trip it is asked whether that is in the tenant
// that the DSN names.
func (d *dialer) greet(ctx context.Context, c *conn) error {
	if d.dsn.Scheme == "tcp" && !local(c.nc.RemoteAddr()) {
		c.queue("hello", "3")
		if _, err := d.heard(ctx, c); err != nil {
			return err
		}
	}
	hello := []string{"hello", "3"}
	if d.dsn.App != "" {
		hello = append(hello, "auth", d.dsn.Tenant+"/"+d.dsn.App, d.dsn.Secret.Reveal())
	}
	c.queue(hello...)
	c.queue("ping")
	asks := d.asksWho()
	if asks {
		c.queue("whoami")
	}
	replies, err := d.heard(ctx, c)
	c.out = nil // it holds the secret
	if err != nil {
		return err
	}
	ms, _ := strconv.ParseInt(factsOf(replies[0])["lock_wait_ms"], 10, 64) // without it nothing can be opened
	c.lockWait = time.Duration(ms) * time.Millisecond
	if !asks {
		return nil
	}
	facts := factsOf(replies[2])
	if facts["tenant"] != d.dsn.Tenant {
		return &TenantError{Tenant: d.dsn.Tenant, Identity: facts["tenant"] + "/" + facts["app"]}
	}
	return nil
}

// asksWho reports whether the DSN names a tenant and not who asks.
func (d *dialer) asksWho() bool { return d.dsn.Tenant != "" && d.dsn.App == "" }

func (d *dialer) heard(ctx context.Context, c *conn) ([]wire.Reply, error) {
	replies, err := c.exchange(ctx, "dial", []string{"%*", "+", "%*"}, 0)
	if err != nil {
		return nil, err
	}
	if e := first(replies); e != nil {
		return nil, e
	}
	return replies, nil
}

// local reports whether an address is of this machine.
func local(addr net.Addr) bool {
	if addr == nil {
		return false
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return addr.Network() != "tcp" || err == nil && ap.Addr().Unmap().IsLoopback()
}

// anonymous tells early what the first command would: that the server wants to know who asks. A command that needs an
// open session is refused with NOSESSION if it knows.
func anonymous(ctx context.Context, c *conn) error {
	c.queue("stat")
	replies, err := c.exchange(ctx, "dial", []string{"+"}, 0)
	if err == nil && replies[0].Err != nil && replies[0].Err.Code == wire.NoAuth {
		err = refused("dial", replies[0].Err)
	}
	return err
}
