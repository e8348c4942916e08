package certs

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

// trusted returns the pool of a client with this cafile.
func trusted(t *testing.T, folder string) *x509.CertPool {
	t.Helper()
	pool, _, err := readPool(CAFile(folder))
	require.NoError(t, err)
	return pool
}

func TestLocalCA(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "state", "tls")
	var observed events
	c := open(t, Options{LocalCA: folder, LocalNames: []string{"sessions.internal", "10.0.0.1", "localhost"},
		Observer: observed.record})
	l := listen(t)
	serve(t, l, c.TLSConfig())
	pool := trusted(t, folder)
	for _, name := range []string{"localhost", "sessions.internal"} {
		if _, err := served(l, pool, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert, err := served(l, pool, "")
	require.NoError(t, err)
	for _, address := range []string{"127.0.0.1", "::1", "10.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: address}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	_, err = served(l, pool, "elsewhere.internal")
	require.NoError(t, refused(err))
	list, err := x509.ParseRevocationList(mustRead(t, strings.TrimPrefix(cert.CRLDistributionPoints[0], "file://")))
	require.NoError(t, err)
	if err := list.CheckSignatureFrom(c.local.cert); err != nil || len(list.RevokedCertificateEntries) != 0 ||
		list.NextUpdate.Before(cert.NotAfter) {
		t.Errorf("revocation list %+v: %v", list, err)
	}
	for name, mode := range map[string]os.FileMode{"ca.crl": 0o644, "ca.pem": 0o644, "ca-key.pem": 0o600} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); left != nil {
		t.Errorf("temporary files are left: %v", left)
	}
	if ca := c.local.cert; !ca.MaxPathLenZero || time.Until(ca.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("CA: path length %d, until %v", ca.MaxPathLen, ca.NotAfter)
	}
	if e := c.Expiries(); len(e) != 1 || e[0].Source != FromLocalCA ||
		len(observed.of(Loaded, "sessions.internal")) != 1 {
		t.Errorf("%v, %+v", e, observed.all)
	}

	// A client that trusted the CA before a restart trusts it after, also with other names.
	again := open(t, Options{LocalCA: folder, LocalNames: []string{"other.internal"}})
	l = listen(t)
	serve(t, l, again.TLSConfig())
	_, err = served(l, pool, "other.internal")
	require.NoError(t, err)
}

func TestLocalCARenews(t *testing.T) {
	t.Parallel()
	var observed events
	now := time.Now()
	clock := func() time.Time { return now }
	ca, err := openLocalCA(t.TempDir(), nil, clock, slog.New(slog.DiscardHandler), observed.record)
	require.NoError(t, err)
	first := ca.index().first
	now = now.Add(leafLife * 6 / 10)
	ca.renew()
	if ca.index().first != first {
		t.Error("the certificate is renewed with more than a third of its life left")
	}
	now = now.Add(leafLife / 10)
	ca.renew()
	second := ca.index().first
	if second == first || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Error("the certificate is not renewed with less than a third of its life left")
	}
	// No certificate outlives the CA.
	now = ca.cert.NotAfter.Add(-time.Hour)
	ca.renew()
	ca.renew()
	if last := ca.index().first.Leaf.NotAfter; last.After(ca.cert.NotAfter) {
		t.Errorf("until %v, the CA until %v", last, ca.cert.NotAfter)
	}
}

func TestLocalCADamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(folder string) error{
		"no key":        func(folder string) error { return os.Remove(CAKeyFile(folder)) },
		"another's key": func(folder string) error { return os.Rename(CAKeyFile(folder)+".other", CAKeyFile(folder)) },
		"half":          func(folder string) error { return os.Truncate(CAFile(folder), 100) },
		"no CA": func(folder string) error {
			os.WriteFile(CAKeyFile(folder), mustRead(t, folder+"/tls.key"), 0o600)
			return os.Rename(folder+"/tls.crt", CAFile(folder))
		},
	} {
		folder, other := t.TempDir(), t.TempDir()
		open(t, Options{LocalCA: folder}).Close()
		open(t, Options{LocalCA: other}).Close()
		require.NoError(t, os.Rename(CAKeyFile(other), CAKeyFile(folder)+".other"))
		newAuthority(t, "none").files(t, folder, "localhost")
		before := mustRead(t, CAFile(folder))
		require.NoError(t, damage(folder))
		if _, err := New(Options{LocalCA: folder}); err == nil || !strings.Contains(err.Error(), "remove") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "no key" && string(mustRead(t, CAFile(folder))) != string(before) {
			t.Errorf("%s: the CA was replaced", name)
		}
	}
	// An interrupted start leaves a key without a certificate.
	folder := t.TempDir()
	open(t, Options{LocalCA: folder}).Close()
	require.NoError(t, os.Remove(CAFile(folder)))
	open(t, Options{LocalCA: folder})
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}
