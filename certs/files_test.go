package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sessionserver/atomicfile"
	"sessionserver/server/servertest/require"
)

// changed waits until get returns another certificate than old.
func changed(t *testing.T, get func() (*x509.Certificate, error), old *x509.Certificate) *x509.Certificate {
	t.Helper()
	var now *x509.Certificate
	require.EventuallyNoError(t, func() (err error) {
		if now, err = get(); err == nil && now.Equal(old) {
			err = errors.New("the certificate is the old one")
		}
		return err
	})
	return now
}

func TestFilesAreReloadedWhenTheyChange(t *testing.T) {
	t.Parallel()
	ca, folder := newAuthority(t, "files"), t.TempDir()
	pair := ca.files(t, folder, "files.test")
	var observed events
	var log logged
	c := open(t, Options{Files: []Pair{pair}, Observer: observed.record, Log: log.logger()})
	l := listen(t)
	serve(t, l, c.TLSConfig())
	start(t, c, l)
	get := func() (*x509.Certificate, error) { return served(l, ca.pool(), "files.test") }
	last, err := get()
	require.NoError(t, err)

	// Replaced by rename, as writePair does.
	ca.files(t, folder, "files.test")
	last = changed(t, get, last)

	// Written in place and in halves: the old one is served until both files are complete.
	cert, key := ca.issue(t, nil, time.Hour, "files.test")
	require.NoError(t, os.WriteFile(pair.Cert, cert[:len(cert)/2], 0o644))
	require.NoError(t, os.WriteFile(pair.Key, key[:len(key)/2], 0o600))
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), pair.Cert) {
		t.Errorf("half a file: %v", err)
	}
	if now, err := get(); err != nil || !now.Equal(last) {
		t.Errorf("half a file is accepted: %v", err)
	}
	require.NoError(t, os.WriteFile(pair.Cert, cert, 0o644))
	require.NoError(t, os.WriteFile(pair.Key, key, 0o600))
	last = changed(t, get, last)

	// A certificate with another key is refused, and so is half a chain. The error is reported once.
	other, otherKey := ca.issue(t, nil, time.Hour, "files.test")
	require.NoError(t, atomicfile.ReplacePath(pair.Cert, other, atomicfile.Mode(0o644)))
	if err := c.Reload(); err == nil {
		t.Error("Reload accepts a pair that does not match")
	}
	failures := len(observed.of(Failed, "files.test"))
	if failures < 2 {
		t.Errorf("%d failures were observed, want 2", failures)
	}
	for range 3 {
		if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "do not match") {
			t.Errorf("a pair that does not match: %v", err)
		}
	}
	if n := len(observed.of(Failed, "files.test")); n != failures {
		t.Errorf("%d more failures were observed, want 0", n-failures)
	}
	if now, err := get(); err != nil || !now.Equal(last) {
		t.Errorf("a pair that does not match is served: %v", err)
	}
	chain := slices.Concat(other, ca.pem())
	require.NoError(t, atomicfile.ReplacePath(pair.Key, otherKey, atomicfile.Mode(0o600)))
	require.NoError(t, atomicfile.ReplacePath(pair.Cert, chain[:len(chain)-40], atomicfile.Mode(0o644)))
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "ends within") {
		t.Errorf("half a chain: %v", err)
	}
	require.NoError(t, atomicfile.ReplacePath(pair.Cert, chain, atomicfile.Mode(0o644)))
	last = changed(t, get, last)
	observed.mu.Lock()
	mismatch := func(err error) bool { return err != nil && strings.Contains(err.Error(), "do not match") }
	if read := observed.read; !slices.ContainsFunc(read, mismatch) || read[len(read)-1] != nil {
		t.Errorf("the observer got %v", read)
	}
	observed.mu.Unlock()

	// A missing file keeps the previous certificate too.
	require.NoError(t, os.Remove(pair.Cert))
	if err := c.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if now, err := get(); err != nil || !now.Equal(last) {
		t.Errorf("no file: %v", err)
	}
	if n := len(observed.of(Renewed, "files.test")); n < 3 {
		t.Errorf("%d renewals were observed, want 3", n)
	}
}

// TestFilesBehindLinks swaps links as Kubernetes, certbot and deployments of releases do.
func TestFilesBehindLinks(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "links")
	relink := func(target, link string) {
		t.Helper()
		require.NoError(t, os.Symlink(target, link+".new"))
		require.NoError(t, os.Rename(link+".new", link))
	}
	for name, layout := range map[string]func(t *testing.T, root, release string) Pair{
		// tls.crt → ..data/tls.crt, ..data → ..release
		"kubernetes": func(t *testing.T, root, release string) Pair {
			ca.files(t, filepath.Join(root, ".."+release), "links.test")
			relink(".."+release, filepath.Join(root, "..data"))
			p := Pair{filepath.Join(root, "tls.crt"), filepath.Join(root, "tls.key")}
			if _, err := os.Lstat(p.Cert); err != nil {
				relink("..data/tls.crt", p.Cert)
				relink("..data/tls.key", p.Key)
			}
			return p
		},
		"certbot": func(t *testing.T, root, release string) Pair { // live/tls.crt → ../archive/release/tls.crt
			ca.files(t, filepath.Join(root, "archive", release), "links.test")
			require.NoError(t, os.MkdirAll(filepath.Join(root, "live"), 0o755))
			p := Pair{filepath.Join(root, "live", "tls.crt"), filepath.Join(root, "live", "tls.key")}
			relink("../archive/"+release+"/tls.crt", p.Cert)
			relink("../archive/"+release+"/tls.key", p.Key)
			return p
		},
		"releases": func(t *testing.T, root, release string) Pair { // current → /…/releases/release
			ca.files(t, filepath.Join(root, "releases", release, "tls"), "links.test")
			relink(filepath.Join(root, "releases", release), filepath.Join(root, "current"))
			return Pair{filepath.Join(root, "current", "tls", "tls.crt"),
				filepath.Join(root, "current", "tls", "tls.key")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			c := open(t, Options{Files: []Pair{layout(t, root, "1")}})
			l := listen(t)
			serve(t, l, c.TLSConfig())
			start(t, c, l)
			get := func() (*x509.Certificate, error) { return served(l, ca.pool(), "links.test") }
			last, err := get()
			require.NoError(t, err)
			layout(t, root, "2")
			last = changed(t, get, last)
			layout(t, root, "3") // the new folders are watched, too
			changed(t, get, last)
		})
	}
}

func TestFilesAreChosenByName(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "names")
	root := t.TempDir()
	write := func(folder string, cert, key []byte) Pair {
		return writePair(t, filepath.Join(root, folder), cert, key)
	}
	rsaCert, rsaKeyPEM := ca.issue(t, rsaKey(t), time.Hour, "both.test")
	ecCert, ecKeyPEM := ca.issue(t, nil, time.Hour, "both.test")
	c := open(t, Options{Files: []Pair{
		ca.files(t, filepath.Join(root, "default"), "default.test"),
		write("ec", ecCert, ecKeyPEM),
		write("rsa", rsaCert, rsaKeyPEM),
		ca.files(t, filepath.Join(root, "wild"), "*.wild.test"),
		ca.files(t, filepath.Join(root, "exact"), "exact.wild.test"),
	}})
	l := listen(t)
	serve(t, l, c.TLSConfig())
	for requested, expected := range map[string]string{
		"": "default.test", "default.test": "default.test", "DEFAULT.test": "default.test",
		"exact.wild.test": "exact.wild.test",
		"any.wild.test":   "*.wild.test", "both.test": "both.test",
	} {
		if cert, err := served(l, ca.pool(), requested); err != nil || cert.DNSNames[0] != expected {
			t.Errorf("%q: %v, %v", requested, cert, err)
		}
	}
	for _, requested := range []string{"wild.test", "a.b.wild.test", "other.test", "test"} {
		_, err := served(l, ca.pool(), requested)
		if err := refused(err); err != nil {
			t.Errorf("%q: %v", requested, err)
		}
	}
	for suite, algorithm := range map[uint16]x509.PublicKeyAlgorithm{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: x509.RSA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: x509.ECDSA,
	} {
		conn, err := dial(l, &tls.Config{
			RootCAs: ca.pool(), ServerName: "both.test", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite},
		})
		if err != nil {
			t.Errorf("%v: %v", algorithm, err)
			continue
		}
		if got := conn.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != algorithm {
			t.Errorf("a client of %v gets %v", algorithm, got)
		}
		conn.Close()
	}

	// A client that connects to an address gets the certificate for it, if there is one.
	byAddress := open(t, Options{Files: []Pair{
		ca.files(t, filepath.Join(root, "default"), "default.test"),
		ca.files(t, filepath.Join(root, "address"), "127.0.0.1"),
	}})
	l = listen(t)
	serve(t, l, byAddress.TLSConfig())
	conn, err := dial(l, &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1"})
	require.NoError(t, err)
	conn.Close()
}

func TestFilesExpiringOrInvalid(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "warnings")
	cert, key := ca.issue(t, nil, 13*24*time.Hour, "soon.test")
	pair := writePair(t, t.TempDir(), cert, key)
	fine := ca.files(t, t.TempDir(), "fine.test")
	var observed events
	c := open(t, Options{Files: []Pair{pair, fine}, Observer: observed.record})
	if len(observed.of(Expiring, "soon.test")) != 1 || len(observed.of(Expiring, "fine.test")) != 0 ||
		len(observed.of(Loaded, "fine.test")) != 1 {
		t.Errorf("%+v", observed.all)
	}
	if e := c.Expiries(); len(e) != 2 || e[0].Source != FromFile || e[0].Names[0] != "soon.test" ||
		time.Until(e[1].NotAfter) < 24*time.Hour {
		t.Errorf("%v", e)
	}

	nameless, key := ca.issue(t, nil, time.Hour, "")
	for text, bad := range map[string]Pair{
		"no such file": {Cert: "/nowhere/cert.pem", Key: pair.Key},
		"do not match": {Cert: pair.Cert, Key: fine.Key},
		"alternative":  writePair(t, t.TempDir(), nameless, key),
	} {
		if _, err := New(Options{Files: []Pair{fine, bad}}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a/b"), 0o755))
	require.NoError(t, os.Symlink("loop", filepath.Join(root, "loop")))
	require.NoError(t, os.Symlink("a/", filepath.Join(root, "link")))
	for path, expected := range map[string][]string{
		root + "/a/b/file":      {root + "/a/b"},
		root + "/link/b/file":   {root, root + "/a/b"},
		root + "/a/../link/b/f": {root, root + "/a/b"},
		root + "/loop/file":     {root},
		root + "/none/file":     {root + "/none"},
	} {
		if got := foldersTo(path); !slices.Equal(got, expected) {
			t.Errorf("%s: %v", path, got)
		}
	}
}
