package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// authority is a certificate authority for a test, with a folder for its files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue creates a certificate and writes name.pem and name.key.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.t, err)
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", pkcs8)
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	require.NoError(a.t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// serve adds a listener to a running server until the test ends.
func serve(t *testing.T, srv *servertest.Server, l net.Listener) {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, server.Listen{Name: t.Name(), Allow: servertest.Loopback}) }()
	t.Cleanup(func() {
		l.Close()
		<-served
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	ca.issue("app", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.LoadX509KeyPair(ca.file("server.pem"), ca.file("server.key"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	hellos := make(chan *tls.ClientHelloInfo, 100)
	cfg := &tls.Config{
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"sessionserver"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hellos <- hello
			return nil, nil
		},
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	require.NoError(t, err)
	srv := start(t, servertest.Config{})
	serve(t, srv, l)
	base := "tls://shop:" + secret + "@" + l.Addr().String() + "/acme?"
	certificate := "certfile=" + ca.file("app.pem") + "&keyfile=" + ca.file("app.key")

	c := dial(t, base+"cafile="+ca.file("ca.pem")+"&"+certificate, client.Options{})
	id := save(t, c, map[string]string{"n": "1"})
	require.NoError(t, c.Update(t.Context(), id, increment))
	hello := <-hellos
	if slices.Min(hello.SupportedVersions) != tls.VersionTLS12 ||
		!slices.Equal(hello.SupportedProtos, []string{"sessionserver"}) {
		t.Errorf("the client offers %q, versions %x", hello.SupportedProtos, hello.SupportedVersions)
	}
	holder := open(t, c, id, client.OpenOptions{})
	_, err = c.Open(t.Context(), id, client.OpenOptions{Wait: client.NoWait})
	if !errors.Is(err, client.ErrLockTimeout) {
		t.Errorf("open of a locked session: %v", err)
	}
	holder.Abort(t.Context())

	for len(hellos) > 0 {
		<-hellos
	}
	custom := dial(t, base+certificate, client.Options{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}})
	require.NoError(t, custom.Ping(t.Context()))
	if hello := <-hellos; slices.Min(hello.SupportedVersions) != tls.VersionTLS13 {
		t.Errorf("Options.TLS is ignored: versions %x", hello.SupportedVersions)
	}

	_, err = client.Dial(t.Context(), base+certificate, client.Options{})
	var unknown x509.UnknownAuthorityError
	var broken *client.ConnError
	if !errors.As(err, &unknown) || !errors.As(err, &broken) {
		t.Errorf("unknown authority: %v", err)
	}
	_, err = client.Dial(t.Context(), base+"cafile="+ca.file("ca.pem"), client.Options{})
	if !errors.As(err, &broken) {
		t.Errorf("without a client certificate: %v", err)
	}
	if _, err := client.Dial(t.Context(), "tls://"+srv.Addr, client.Options{}); !errors.As(err, &broken) {
		t.Errorf("TLS to a plaintext listener: %v", err)
	}
	if _, err := client.Dial(t.Context(), "tcp://"+l.Addr().String(), client.Options{}); !errors.As(err, &broken) {
		t.Errorf("plaintext to a TLS listener: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	serve(t, start(t, servertest.Config{}), l)
	c := dial(t, "unix://shop:"+secret+"@"+path+"?tenant=acme", client.Options{})
	id := save(t, c, map[string]string{"n": "1"})
	require.NoError(t, c.Update(t.Context(), id, increment))
	if v, err := c.View(t.Context(), id); err != nil || v.Get("n") != "2" {
		t.Errorf("over a socket: %v, %v", v, err)
	}
	if _, err := client.Dial(t.Context(), "unix://"+path, client.Options{}); !errors.Is(err, client.ErrNoAuth) {
		t.Errorf("without credentials: %v", err)
	}
	_, err = client.Dial(t.Context(), "unix://shop:wrong@"+path+"?tenant=acme", client.Options{})
	if !errors.Is(err, client.ErrBadAuth) {
		t.Errorf("with a wrong secret: %v", err)
	}
}
