package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

func TestACMEFromNothingToRenewed(t *testing.T) {
	t.Parallel()
	l, ca := acmeListener(t, 20*time.Second)
	var observed events
	options := ca.acme(t, "renewed.example.com", "also.renewed.example.com")
	options.renewCheck = 500 * time.Millisecond
	c := open(t, Options{ACME: options, Observer: observed.record})
	// Five seconds after the beginning, by the clock alone: Pebble does not always know the certificate that is
	// replaced (ARI), and certmagic comes again after a minute only.
	c.acme.config.RenewalWindowRatio, c.acme.config.DisableARI = 0.75, true
	serve(t, l, c.TLSConfig())
	start(t, c, l)

	first := got(t, l, ca.issued, "renewed.example.com")
	got(t, l, ca.issued, "also.renewed.example.com")
	kept, err := dial(l, &tls.Config{RootCAs: ca.issued, ServerName: "renewed.example.com"})
	require.NoError(t, err)
	defer kept.Close()

	// Neither continuous handshakes nor open connections fail.
	stop, handshakes := make(chan struct{}), atomic.Int64{}
	var clients sync.WaitGroup
	for _, name := range []string{"renewed.example.com", "also.renewed.example.com"} {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := served(l, ca.issued, name); err != nil {
					t.Errorf("after %d handshakes: %v", handshakes.Load(), err)
					return
				}
				handshakes.Add(1)
			}
		})
	}
	require.EventuallyNoError(t, func() error {
		for _, name := range []string{"renewed.example.com", "also.renewed.example.com"} {
			if len(observed.of(Renewed, name)) == 0 {
				return errors.New(name + " is not renewed")
			}
		}
		return nil
	})
	require.EventuallyNoError(t, func() error {
		now, err := served(l, ca.issued, "renewed.example.com")
		if err == nil && now.Equal(first) {
			err = errors.New("the first certificate is still served")
		}
		return err
	})
	close(stop)
	clients.Wait()
	require.NoError(t, echo(kept))
	t.Logf("%d handshakes", handshakes.Load())

	for _, name := range []string{"renewed.example.com", "also.renewed.example.com"} {
		if n := len(observed.of(Obtained, name)); n != 1 {
			t.Errorf("%s was obtained %d times", name, n)
		}
		if n := len(observed.of(Failed, name)); n != 0 {
			t.Errorf("%s failed %d times", name, n)
		}
		if e := observed.of(Renewed, name)[0]; e.NotAfter.IsZero() || e.Source != FromACME {
			t.Errorf("%+v", e)
		}
	}
	if e := c.Expiries(); len(e) != 2 || e[1].Names[0] != "renewed.example.com" ||
		time.Until(e[1].NotAfter) > 21*time.Second {
		t.Errorf("expiries %v", e)
	}
}

func TestACMENames(t *testing.T) {
	t.Parallel()
	l, ca := acmeListener(t, 0)
	c := open(t, Options{ACME: ca.acme(t, "first.names.example.com", "second.names.example.com")})
	serve(t, l, c.TLSConfig())
	if _, err := served(l, ca.issued, "first.names.example.com"); err == nil ||
		!strings.Contains(err.Error(), "internal error") {
		t.Errorf("before the certificate is obtained: %v", err)
	}
	start(t, c, l)
	first := got(t, l, ca.issued, "first.names.example.com")
	got(t, l, ca.issued, "second.names.example.com")
	got(t, l, ca.issued, "SECOND.names.example.com")
	if cert := got(t, l, ca.issued, ""); !cert.Equal(first) {
		t.Errorf("without a name: %v", cert.DNSNames)
	}
	for _, name := range []string{"names.example.com", "x.names.example.com", "x.first.names.example.com",
		"localhost"} {
		_, err := served(l, ca.issued, name)
		require.NoError(t, refused(err))
	}
	for _, name := range []string{"first.names.example.com", "elsewhere.example.com", ""} {
		if err := challengeHello(l, name); err == nil {
			t.Errorf("a challenge for %q without an order succeeds", name)
		}
	}
	if err := c.Start(context.Background(), l.Addr()); err == nil {
		t.Error("a second Start succeeds")
	}
}

func TestACMERestartAsksForNothing(t *testing.T) {
	t.Parallel()
	l, ca := acmeListener(t, 0)
	options := ca.acme(t, "restart.example.com")
	c := open(t, Options{ACME: options})
	serve(t, l, c.TLSConfig())
	start(t, c, l)
	first := got(t, l, ca.issued, "restart.example.com")
	c.Close()
	c.Close()

	again := open(t, Options{ACME: options})
	second := listen(t)
	serve(t, second, again.TLSConfig())
	begin := time.Now()
	start(t, again, second)
	if cert := got(t, second, ca.issued, "restart.example.com"); !cert.Equal(first) {
		t.Error("the certificate is another one")
	}
	t.Logf("served %v after the start", time.Since(begin))
	if n := ca.orders.Load(); n != 1 {
		t.Errorf("%d orders", n)
	}
	entries, err := os.ReadDir(options.Storage)
	require.NoError(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// TestACMEHosts also requires client certificates of the listener, which an ACME server does not have.
func TestACMEHosts(t *testing.T) {
	t.Parallel()
	l, ca := acmeListener(t, 0)
	vouching := newAuthority(t, "clients")
	file := filepath.Join(t.TempDir(), "clients.pem")
	require.NoError(t, os.WriteFile(file, vouching.pem(), 0o644))
	me, err := tls.X509KeyPair(vouching.issue(t, nil, time.Hour, "me"))
	require.NoError(t, err)
	visit := func(name string) (*x509.Certificate, error) {
		conn, err := dial(l, &tls.Config{RootCAs: ca.issued, ServerName: name, Certificates: []tls.Certificate{me}})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0], nil
	}

	var observed events
	covering := newAuthority(t, "files")
	c := open(t, Options{
		ACME: ca.acme(t), Observer: observed.record,
		Files: []Pair{covering.files(t, t.TempDir(), "*.covered.example.com")},
	})
	config, err := c.ClientConfig(RequiredClientCertificates, file)
	require.NoError(t, err)
	serve(t, l, config)
	require.NoError(t, c.SetHosts([]string{"one.hosts.example.com"})) // kept until the start
	start(t, c, l)
	require.EventuallyNoError(t, func() error { _, err := visit("one.hosts.example.com"); return err })

	if err := c.SetHosts([]string{"one.hosts.example.com", "Two.hosts.example.com", "*.hosts.example.com", "localhost",
		"1.2.3.4",
		"a_b.example.com", "x.covered.example.com"}); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("bad hosts: %v", err)
	}
	require.EventuallyNoError(t, func() error { _, err := visit("two.hosts.example.com"); return err })
	require.NoError(t, c.SetHosts([]string{"two.hosts.example.com"}))
	_, err = visit("one.hosts.example.com")
	require.NoError(t, refused(err))
	if _, err := visit("two.hosts.example.com"); err != nil {
		t.Error(err)
	}
	if n := len(observed.of(Removed, "one.hosts.example.com")); n != 1 {
		t.Errorf("%d times removed", n)
	}
	if e := c.Expiries(); len(e) != 2 || e[1].Names[0] != "two.hosts.example.com" {
		t.Errorf("expiries %v", e)
	}

	orders := ca.orders.Load()
	require.NoError(t, c.SetHosts([]string{"one.hosts.example.com", "two.hosts.example.com"}))
	require.EventuallyNoError(t, func() error { _, err := visit("one.hosts.example.com"); return err })
	if n := ca.orders.Load(); n != orders || orders != 2 {
		t.Errorf("%d orders, then %d", orders, n)
	}
	if _, err := served(l, ca.issued, "two.hosts.example.com"); err == nil {
		t.Error("a client without a certificate is served")
	}
	// A client that offers the challenge's protocol beside ours needs a certificate too.
	conn, err := dial(l, &tls.Config{RootCAs: ca.issued, ServerName: "two.hosts.example.com",
		NextProtos: []string{challengeProtocol, Protocol}})
	if err == nil {
		conn.Close()
		t.Error("a client without a certificate that offers acme-tls/1 is served")
	}
}

// TestACMEHostRemovedWhileItIsObtained checks that a host removed during its challenge is not served.
func TestACMEHostRemovedWhileItIsObtained(t *testing.T) {
	t.Parallel()
	l, ca := acmeListener(t, 0)
	var observed events
	c := open(t, Options{ACME: ca.acme(t), Observer: observed.record})
	config := c.TLSConfig()
	choose := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(hello)
		if isChallenge(hello) && cert != nil {
			c.SetHosts(nil)
		}
		return cert, err
	}
	serve(t, l, config)
	start(t, c, l)
	require.NoError(t, c.SetHosts([]string{"gone.example.com"}))
	require.EventuallyNoError(t, func() error {
		if len(observed.of(Removed, "gone.example.com")) == 0 {
			return errors.New("it was not removed")
		}
		return nil
	})
	c.Close()
	_, err := served(l, ca.issued, "gone.example.com")
	require.NoError(t, refused(err))
	if e := c.Expiries(); len(e) != 0 {
		t.Errorf("expiries %v", e)
	}
}

func TestACMEOverHTTP(t *testing.T) {
	t.Parallel()
	l, front := listen(t), listen(t)
	ca := newPebble(t, 1, front.Addr().(*net.TCPAddr).Port, 0)
	options := ca.acme(t, "http.example.com")
	options.HTTPAddress = "127.0.0.1:0"
	c := open(t, Options{ACME: options})
	serve(t, l, c.TLSConfig())
	start(t, c, l)
	// The port to which the ACME server connects is forwarded to the listener, as a router forwards port 80.
	behind := net.JoinHostPort(c.acme.issuer.ListenHost, fmt.Sprint(c.acme.issuer.AltHTTPPort))
	go func() {
		for {
			in, err := front.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", behind)
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in)
				io.Copy(in, out)
			}()
		}
	}()
	got(t, l, ca.issued, "http.example.com")
	if err := challengeHello(l, "http.example.com"); err == nil {
		t.Error("a TLS-ALPN challenge succeeds")
	}

	taken := ca.acme(t, "http.example.com")
	taken.HTTPAddress = l.Addr().String()
	if err := open(t, Options{ACME: taken}).Start(context.Background(), l.Addr()); err == nil {
		t.Error("Start succeeds with a port in use")
	}
}

func TestACMEOverDNS(t *testing.T) {
	t.Parallel()
	l := listen(t)
	ca := newPebble(t, 1, 1, 0)
	options := ca.acme(t, "*.dns.example.com", "dns.example.com")
	options.DNSProgram = ca.dns.program(t)
	c := open(t, Options{ACME: options})
	serve(t, l, c.TLSConfig())
	require.NoError(t, c.Start(context.Background(), nil)) // DNS-01 needs no listener
	got(t, l, ca.issued, "dns.example.com")
	require.NoError(t, c.SetHosts([]string{"tenant.dns.example.com"})) // the wildcard is enough
	got(t, l, ca.issued, "tenant.dns.example.com")
	_, err := served(l, ca.issued, "a.b.dns.example.com")
	require.NoError(t, refused(err))
	require.EventuallyNoError(t, func() error {
		if n := ca.dns.records(); n != 0 {
			return fmt.Errorf("%d records are left", n)
		}
		return nil
	})
	if n := ca.orders.Load(); n != 2 {
		t.Errorf("%d orders", n)
	}
}

func TestDNSProgramThatFails(t *testing.T) {
	t.Parallel()
	l := listen(t)
	ca := newPebble(t, 1, 1, 0)
	options := ca.acme(t, "fails.example.com")
	options.DNSProgram = hookProgram(t, "fail")
	var observed events
	var log logged
	c := open(t, Options{ACME: options, Observer: observed.record, Log: log.logger()})
	start(t, c, l)
	require.EventuallyNoError(t, func() error {
		failed := observed.of(Failed, "fails.example.com")
		if len(failed) == 0 {
			return errors.New("the observer got no failure")
		}
		if !strings.Contains(failed[0].Err.Error(), "the provider says no") {
			t.Errorf("%v", failed[0].Err)
		}
		return nil
	})
	if !strings.Contains(log.String(), "dns_program") {
		t.Error("no hint is logged")
	}

	err := dnsProgram{hookProgram(t, "hang")}.run(context.Background(), 200*time.Millisecond, "present", testChallenge)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that hangs: %v", err)
	}
}

func TestACMEInvalid(t *testing.T) {
	t.Parallel()
	good := func() *ACME { return &ACME{Names: []string{"a.example.com"}, AgreeTerms: true, Storage: t.TempDir()} }
	for text, spoil := range map[string]func(*ACME){
		"terms of service": func(a *ACME) { a.AgreeTerms = false },
		"storage folder":   func(a *ACME) { a.Storage = "" },
		"needs DNS-01":     func(a *ACME) { a.Names = []string{"*.example.com"} },
		`"1.2.3.4"`:        func(a *ACME) { a.Names = []string{"1.2.3.4"} },
		`"1.2.3"`:          func(a *ACME) { a.Names = []string{"1.2.3"} }, // as in configs
		`"a..b"`:           func(a *ACME) { a.Names = []string{"a..b"} },
		"none.pem":         func(a *ACME) { a.CARoots = filepath.Join(a.Storage, "none.pem") },
	} {
		o := good()
		spoil(o)
		if c, err := New(Options{ACME: o}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
			c.Close()
		}
	}
	c := open(t, Options{ACME: good()})
	if err := c.Start(context.Background(), &net.UnixAddr{Name: "/x"}); err == nil ||
		!strings.Contains(err.Error(), "http_address") {
		t.Errorf("a Unix socket: %v", err)
	}
	var log logged
	elsewhere := &ACME{AgreeTerms: true, Storage: t.TempDir(), Directory: "https://ca.example/directory"}
	c = open(t, Options{ACME: elsewhere, Log: log.logger()})
	require.NoError(t, c.Start(context.Background(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}))
	if !strings.Contains(log.String(), "connect to port 443 of each name") {
		t.Errorf("the log lacks that port 443 must lead to the listener:\n%s", log.String())
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New succeeds without a source")
	}
}
