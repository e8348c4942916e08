package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/atomicfile"
	"sessionserver/server/servertest/require"
)

// TestMain is also the program that DNS-01 runs: see hook.
func TestMain(m *testing.M) {
	if name, is := strings.CutPrefix(filepath.Base(os.Args[0]), hookPrefix); is {
		os.Exit(hook(name, os.Args[1:]))
	}
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Exit(m.Run())
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &authority{key: key, cert: sign(t, &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, key.Public(), key)}
}

func sign(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey,
	key crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) pem() []byte { return certPEM(a.cert.Raw) }

// issue returns a certificate for names and IP addresses, valid for life, and its key, both as PEM.
func (a *authority) issue(t *testing.T, key crypto.Signer, life time.Duration, names ...string) (cert, keyPEM []byte) {
	t.Helper()
	if key == nil {
		var err error
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return certPEM(sign(t, template, a.cert, key.Public(), a.key).Raw),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// files writes a certificate for names and its key into folder, each under its final name at once.
func (a *authority) files(t *testing.T, folder string, names ...string) Pair {
	t.Helper()
	cert, key := a.issue(t, nil, 90*24*time.Hour, names...)
	return writePair(t, folder, cert, key)
}

func writePair(t *testing.T, folder string, cert, key []byte) Pair {
	t.Helper()
	require.NoError(t, os.MkdirAll(folder, 0o755))
	p := Pair{Cert: filepath.Join(folder, "tls.crt"), Key: filepath.Join(folder, "tls.key")}
	require.NoError(t, atomicfile.ReplacePath(p.Cert, cert, atomicfile.Mode(0o644)))
	require.NoError(t, atomicfile.ReplacePath(p.Key, key, atomicfile.Mode(0o600)))
	return p
}

func rsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// events records the events of an observer.
type events struct {
	mu   sync.Mutex
	all  []Event
	read []error
}

func (e *events) record(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if event.Kind == FilesRead {
		e.read = append(e.read, event.Err)
		return
	}
	e.all = append(e.all, event)
}

// of returns the events of one kind for a name.
func (e *events) of(kind EventKind, name string) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var some []Event
	for _, event := range e.all {
		if event.Kind == kind && slices.Contains(event.Names, name) {
			some = append(some, event)
		}
	}
	return some
}

// logged is a log that a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open returns a Certs whose log a failing test prints.
func open(t *testing.T, o Options) *Certs {
	t.Helper()
	if o.Log == nil {
		var log logged
		o.Log = log.logger()
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
	c, err := New(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// start runs c beside a listener that serves.
func start(t *testing.T, c *Certs, l net.Listener) {
	t.Helper()
	require.NoError(t, c.Start(context.Background(), l.Addr()))
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// serve echoes on l. Like the session listener it closes the connection of a challenge after the handshake.
func serve(t *testing.T, l net.Listener, config *tls.Config) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(2 * time.Minute))
				session := tls.Server(conn, config)
				if session.Handshake() != nil || session.ConnectionState().NegotiatedProtocol == challengeProtocol {
					return
				}
				io.Copy(session, session)
			})
		}
	})
	t.Cleanup(func() { l.Close() })
}

// dial connects and has one byte echoed, which also proves that the server accepts the client's certificate.
func dial(l net.Listener, config *tls.Config) (*tls.Conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Minute}, Config: config}
	conn, err := dialer.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	session := conn.(*tls.Conn)
	if err := echo(session); err != nil {
		conn.Close()
		return nil, err
	}
	return session, nil
}

func echo(conn *tls.Conn) error {
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// served returns the certificate for a client that requests name, or no name with "", and trusts pool.
func served(l net.Listener, pool *x509.CertPool, name string) (*x509.Certificate, error) {
	config := &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{Protocol}}
	if name == "" {
		config.InsecureSkipVerify = true // crypto/tls sends no address as a name
		config.ServerName = "127.0.0.1"
	}
	conn, err := dial(l, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// refused checks that err is the error of a client that requests a name that is not served.
func refused(err error) error {
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		return fmt.Errorf("it is not refused with unrecognized_name but %w", err)
	}
	return nil
}
