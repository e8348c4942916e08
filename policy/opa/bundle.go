package opa

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sessionserver/atomicfile"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
)

// BundleOptions are the location of a bundle and the signature that it must have.
type BundleOptions struct {
	URL string // http or https

	// The functions read files each time the bundle is fetched, so these files may be replaced while the engine runs.
	Token func() (string, error)         // bearer token; nil for none
	Roots func() (*x509.CertPool, error) // trusted authorities of the server; nil for those of the system
	Key   func() (string, error)         // public key or certificate in PEM, or the secret of an HMAC

	KeyID     string // key id of the signature; "" is "default"
	Algorithm string // algorithm of the signature, such as RS256 or ES256
	Scope     string // scope that the signature must have; "" for any

	// Client is for tests. Nil is a client with a time-out of 30 s that follows no redirect from HTTPS to HTTP.
	Client *http.Client

	Poll time.Duration // interval between fetches; 0 is 1 min
	Keep string        // folder for the last valid bundle; "" to keep none
	// Max is the limit in bytes for the packed bundle and for each file in it; 0 is 16 MiB. The unpacked bundle may
	// have four times as many.
	Max int64
}

// served is a bundle on an HTTP server. Only one goroutine at a time may use it.
type served struct {
	opts BundleOptions

	raw     []byte // the bundle that was loaded last
	etag    string // ETag of raw
	key     string // key that verified raw
	current string // ETag of the bundle in force
	trusted string // key that verified the bundle in force
}

// Bundle returns a source on an HTTP server: a signed OPA bundle. Its files are as for FS. A bundle without a valid
// signature is refused. So are delta bundles, which cannot be signed.
func Bundle(opts BundleOptions) (Source, error) {
	u, err := url.Parse(opts.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("policy: invalid bundle URL %.200q (allowed: http or https)", opts.URL)
	}
	if !keys.IsSupportedAlgorithm(opts.Algorithm) {
		return nil, fmt.Errorf("policy: unknown signature algorithm %.20q "+
			"(allowed: RS256, PS256, ES256, HS256, and these with 384 and 512)", opts.Algorithm)
	}
	if opts.Key == nil {
		return nil, errors.New("policy: BundleOptions has no key; bundles must be signed")
	}
	if opts.KeyID == "" {
		opts.KeyID = "default"
	}
	if opts.Poll <= 0 {
		opts.Poll = time.Minute
	}
	if opts.Max <= 0 {
		opts.Max = fileMax
	}
	return &served{opts: opts}, nil
}

// client returns the client for one fetch. The trusted authorities may differ each time.
func (b *served) client() (*http.Client, error) {
	if b.opts.Client != nil {
		return b.opts.Client, nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.TLSClientConfig = new(tls.Config)
	if b.opts.Roots != nil {
		var err error
		if transport.TLSClientConfig.RootCAs, err = b.opts.Roots(); err != nil {
			return nil, err
		}
	}
	return &http.Client{Timeout: 30 * time.Second, CheckRedirect: stayPrivate, Transport: transport}, nil
}

// stayPrivate refuses a redirect from HTTPS to HTTP, where others can read the token.
func stayPrivate(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirect from HTTPS to HTTP refused")
	}
	return nil
}

// String returns the URL without its user, password and query, which may contain secrets.
func (b *served) String() string {
	u, _ := url.Parse(b.opts.URL)
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (b *served) load(ctx context.Context) (*contents, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.opts.URL, nil)
	if err != nil {
		return nil, errors.New("invalid bundle URL") // without the URL, which may contain secrets
	}
	req.Header.Set("Prefer", "modes=snapshot")
	if b.opts.Token != nil {
		token, err := b.opts.Token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	key, err := b.opts.Key()
	if err != nil {
		return nil, err
	}
	if b.current != "" && key == b.trusted { // with another key the bundle in force must be verified again
		req.Header.Set("If-None-Match", b.current)
	}
	client, err := b.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // the rest contains the URL
		}
		if errors.As(err, new(x509.UnknownAuthorityError)) {
			err = fmt.Errorf("%w; set policy.bundle.ca_roots to the file of a private authority", err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, errSame
	case http.StatusOK:
	default:
		return nil, fmt.Errorf("bundle server returned %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, b.opts.Max+1))
	if err != nil {
		return nil, err
	}
	all, err := b.read(raw, key)
	if err != nil {
		return nil, err
	}
	b.raw, b.etag, b.key = raw, resp.Header.Get("ETag"), key
	return all, nil
}

// read verifies and parses a bundle.
func (b *served) read(raw []byte, key string) (*contents, error) {
	if int64(len(raw)) > b.opts.Max {
		return nil, fmt.Errorf("bundle exceeds %d bytes", b.opts.Max)
	}
	if err := b.measure(raw); err != nil {
		return nil, err
	}
	signer := &keys.Config{Key: key, Algorithm: b.opts.Algorithm, Scope: b.opts.Scope}
	verify := bundle.NewVerificationConfig(map[string]*keys.Config{b.opts.KeyID: signer}, b.opts.KeyID, b.opts.Scope,
		nil)
	loader := bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(raw), "").WithSizeLimitBytes(b.opts.Max)
	parsed, err := bundle.NewCustomReader(loader).WithRegoVersion(ast.RegoV1).WithProcessAnnotations(true).
		WithBundleVerificationConfig(verify).WithSizeLimitBytes(b.opts.Max).Read()
	if err != nil {
		return nil, faults(err)
	}
	if parsed.Type() != bundle.SnapshotBundleType {
		return nil, errors.New("delta bundle refused: it cannot be signed")
	}
	return sort(&parsed)
}

// measure refuses a bundle that is small only while it is packed.
func (b *served) measure(raw []byte) error {
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("not a bundle: %w", err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(unpacked, 4*b.opts.Max+1))
	if err == nil && n > 4*b.opts.Max {
		err = fmt.Errorf("unpacked bundle exceeds %d bytes", 4*b.opts.Max)
	}
	return err
}

// keptName is the file name of the last valid bundle.
const keptName = "bundle.tar.gz"

// keep writes the bundle atomically: the file contains all of it or does not exist.
func (b *served) keep() error {
	raw := b.raw
	b.current, b.trusted, b.raw = b.etag, b.key, nil
	if b.opts.Keep == "" || raw == nil {
		return nil
	}
	if err := os.MkdirAll(b.opts.Keep, 0o700); err != nil {
		return err
	}
	return atomicfile.ReplacePath(filepath.Join(b.opts.Keep, keptName), raw, atomicfile.Options{})
}

// kept reads the bundle that keep has written, and verifies it like one from the server.
func (b *served) kept() (*contents, error) {
	if b.opts.Keep == "" {
		return nil, errNothing
	}
	raw, err := os.ReadFile(filepath.Join(b.opts.Keep, keptName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNothing
	}
	if err != nil {
		return nil, err
	}
	key, err := b.opts.Key()
	if err != nil {
		return nil, err
	}
	return b.read(raw, key)
}

// follow calls changed about once each Poll, at other moments than other servers.
func (b *served) follow(ctx context.Context, changed func()) {
	for {
		wait := time.NewTimer(b.opts.Poll*9/10 + rand.N(b.opts.Poll/5+1))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
			changed()
		}
	}
}
