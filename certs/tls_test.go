package certs

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/atomicfile"
	"sessionserver/server/servertest/require"
)

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ca := newAuthority(t, "settings")
	cert, key := ca.issue(t, rsaKey(t), time.Hour, "rsa.test")
	c := open(t, Options{LocalCA: folder, Files: []Pair{writePair(t, t.TempDir(), cert, key)}})
	l := listen(t)
	serve(t, l, c.TLSConfig())
	pool := trusted(t, folder)
	pool.AddCert(ca.cert)
	attempt := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
		change(config)
		conn, err := dial(l, config)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}

	state, err := attempt(func(c *tls.Config) { c.NextProtos = []string{"h2", Protocol} })
	if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != Protocol {
		t.Errorf("the default: %x, %q, %v", state.Version, state.NegotiatedProtocol, err)
	}
	if state, err := attempt(func(c *tls.Config) {}); err != nil || state.NegotiatedProtocol != "" {
		t.Errorf("no protocol: %q, %v", state.NegotiatedProtocol, err)
	}
	if _, err := attempt(func(c *tls.Config) {
		c.NextProtos = []string{"h2"}
	}); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("another protocol: %v", err)
	}
	if _, err := attempt(func(c *tls.Config) {
		c.MaxVersion = tls.VersionTLS11
		c.MinVersion = tls.VersionTLS10
	}); err == nil {
		t.Error("TLS 1.1 is served")
	}

	// TLS 1.2 has six suites, and no others.
	allowed := map[uint16]bool{}
	for _, id := range c.TLSConfig().CipherSuites {
		allowed[id] = true
	}
	suites := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for _, suite := range suites {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		for _, name := range []string{"localhost", "rsa.test"} {
			state, err := attempt(func(c *tls.Config) {
				c.ServerName, c.MaxVersion, c.CipherSuites = name, tls.VersionTLS12, []uint16{suite.ID}
			})
			fits := strings.Contains(suite.Name, "_ECDSA_") == (name == "localhost")
			if served := err == nil && state.CipherSuite == suite.ID; served != (allowed[suite.ID] && fits) {
				t.Errorf("%s with the certificate for %s: served %v, %v", suite.Name, name, served, err)
			}
		}
		good := strings.Contains(suite.Name, "ECDHE") &&
			(strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "POLY1305"))
		if allowed[suite.ID] != good {
			t.Errorf("%s: allowed %v", suite.Name, allowed[suite.ID])
		}
	}

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		tickets := tls.NewLRUClientSessionCache(1)
		for i := range 3 {
			state, err := attempt(func(c *tls.Config) { c.MaxVersion, c.ClientSessionCache = version, tickets })
			if err != nil || state.DidResume != (i > 0) || state.Version != version {
				t.Errorf("%s, connection %d: resumed %v, %v", tls.VersionName(version), i, state.DidResume, err)
			}
		}
	}
	if !c.TLSConfig().DynamicRecordSizingDisabled {
		t.Error("records grow")
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	folder, server := t.TempDir(), t.TempDir()
	file := filepath.Join(folder, "clients.pem")
	old, fresh, stranger := newAuthority(t, "old"), newAuthority(t, "fresh"), newAuthority(t, "stranger")
	require.NoError(t, atomicfile.ReplacePath(file, append(old.pem(), fresh.pem()...), atomicfile.Mode(0o644)))
	until := func(a *authority, life time.Duration) []tls.Certificate {
		cert, err := tls.X509KeyPair(a.issue(t, nil, life, "client"))
		require.NoError(t, err)
		return []tls.Certificate{cert}
	}
	of := func(a *authority) []tls.Certificate { return until(a, time.Hour) }
	c := open(t, Options{LocalCA: server})
	l, optional := listen(t), listen(t)
	config, err := c.ClientConfig(RequiredClientCertificates, file)
	require.NoError(t, err)
	serve(t, l, config)
	config, err = c.ClientConfig(OptionalClientCertificates, file)
	require.NoError(t, err)
	serve(t, optional, config)
	start(t, c, l)
	pool := trusted(t, server)
	attempt := func(required bool, certs []tls.Certificate, tickets tls.ClientSessionCache) (*tls.Conn, error) {
		at := optional
		if required {
			at = l
		}
		config := &tls.Config{RootCAs: pool, ServerName: "localhost", ClientSessionCache: tickets}
		if certs != nil { // sent whichever authorities the server accepts, as some clients do
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &certs[0], nil
			}
		}
		return dial(at, config)
	}
	expect := func(what string, good bool, required bool, certs []tls.Certificate) {
		t.Helper()
		conn, err := attempt(required, certs, nil)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != good {
			t.Errorf("%s, required %v: %v", what, required, err)
		}
	}
	for _, required := range []bool{true, false} {
		expect("nobody", !required, required, nil)
		expect("old", true, required, of(old))
		expect("fresh", true, required, of(fresh))
		expect("stranger", false, required, of(stranger))
		expect("expired", false, required, until(old, -time.Minute))
	}

	// Without ACME, the protocol of its challenge does not bypass client certificates.
	if err := challengeHello(l, "localhost"); err == nil {
		t.Error("acme-tls/1 is served without a certificate")
	}

	tickets, mine := tls.NewLRUClientSessionCache(1), of(old)
	for i := range 2 {
		conn, err := attempt(true, mine, tickets)
		require.NoError(t, err)
		if state := conn.ConnectionState(); state.DidResume != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, state.DidResume)
		}
		conn.Close()
	}
	require.NoError(t, atomicfile.ReplacePath(file, fresh.pem(), atomicfile.Mode(0o644)))
	require.EventuallyNoError(t, func() error {
		if conn, err := attempt(true, of(old), nil); err == nil {
			conn.Close()
			return os.ErrExist
		}
		return nil
	})
	if conn, err := attempt(true, mine, tickets); err == nil {
		t.Errorf("a session of an authority that is gone is resumed: %v", conn.ConnectionState().DidResume)
		conn.Close()
	}
	expect("fresh after the change", true, true, of(fresh))

	require.NoError(t, atomicfile.ReplacePath(file, fresh.pem()[:100], atomicfile.Mode(0o644)))
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("half a file: %v", err)
	}
	expect("fresh after half a file", true, true, of(fresh))
	for text, mode := range map[string]ClientCertificates{"allowed: none": "perhaps", file: "required"} {
		if _, err := c.ClientConfig(mode, file); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if config, err := c.ClientConfig(NoClientCertificates, ""); err != nil || config.ClientAuth != tls.NoClientCert {
		t.Errorf("none: %v", err)
	}
}
