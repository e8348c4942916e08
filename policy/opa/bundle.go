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

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
)

// BundleOptions say where a bundle is, and who must have signed it.
type BundleOptions struct {
	URL string // http or https

	// The functions read files, at each look at the server: these may be replaced while the engine runs.
	Token func() (string, error)         // the bearer token; nil is none
	Roots func() (*x509.CertPool, error) // authorities that vouch for the server; nil are those of this machine
	Key   func() (string, error)         // a public key or certificate in PEM, or the secret itself of an HMAC

	KeyID     string // of the signature; "" is "default"
	Algorithm string // of the signature, such as RS256 or ES256
	Scope     string // that the signature must have, if it is to have one

	Client *http.Client // for tests; nil is one that waits for 30 s and is not led away from HTTPS

	Poll time.Duration // how often to look for another one; 0 is 1 min
	Keep string        // the folder where the last good one is kept; "" is nowhere
	Max  int64         // how many bytes it may have, packed and each file in it; 0 is 16 MiB. Unpacked it may have four times as many
}

// served is a bundle on an HTTP server. It is used by one goroutine at a time.
type served struct {
	opts BundleOptions

	raw     []byte // what was loaded last
	etag    string // of raw
	key     string // by which raw was verified
	current string // the ETag of what decides
	trusted string // the key by which what decides was verified
}

// Bundle is a source on an HTTP server: an OPA bundle that is signed. Its files are as FS tells. One without a signature or with another one is
// refused, and so are delta bundles, which have none.
func Bundle(opts BundleOptions) (Source, error) {
	u, err := url.Parse(opts.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("policy: %.200q is no URL of a bundle (allowed: http or https)", opts.URL)
	}
	if !keys.IsSupportedAlgorithm(opts.Algorithm) {
		return nil, fmt.Errorf("policy: %.20q is no algorithm of signatures (allowed: RS256, PS256, ES256, HS256, and these with 384 and 512)", opts.Algorithm)
	}
	if opts.Key == nil {
		return nil, errors.New("policy: the key is missing that bundles are signed with")
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

// client makes the client for one look at the server: the authorities may be others each time.
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

// stayPrivate follows no redirection from HTTPS to where others can read the token.
func stayPrivate(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("the server leads from one place to the next")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("the server leads away from HTTPS")
	}
	return nil
}

// String leaves out what a URL may have of secrets.
func (b *served) String() string {
	u, _ := url.Parse(b.opts.URL)
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (b *served) load(ctx context.Context) (*contents, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.opts.URL, nil)
	if err != nil {
		return nil, errors.New("the URL is none") // which may have secrets
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
	if b.current != "" && key == b.trusted { // under another key, what decides must be verified again
		req.Header.Set("If-None-Match", b.current)
	}
	client, err := b.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		if failed := (*url.Error)(nil); errors.As(err, &failed) {
			err = failed.Err // the rest tells the URL
		}
		if errors.As(err, new(x509.UnknownAuthorityError)) {
			err = fmt.Errorf("%w (policy.bundle.ca_roots names the file of an authority of your own)", err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, errSame
	case http.StatusOK:
	default:
		return nil, fmt.Errorf("the server answers %s", resp.Status)
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
		return nil, fmt.Errorf("the bundle has more than %d bytes", b.opts.Max)
	}
	if err := b.measure(raw); err != nil {
		return nil, err
	}
	signer := &keys.Config{Key: key, Algorithm: b.opts.Algorithm, Scope: b.opts.Scope}
	verify := bundle.NewVerificationConfig(map[string]*keys.Config{b.opts.KeyID: signer}, b.opts.KeyID, b.opts.Scope,
		nil)
	parsed, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(raw), "").WithSizeLimitBytes(b.opts.Max)).
		WithRegoVersion(ast.RegoV1).WithProcessAnnotations(true).WithBundleVerificationConfig(verify).WithSizeLimitBytes(b.opts.Max).Read()
	if err != nil {
		return nil, faults(err)
	}
	if parsed.Type() != bundle.SnapshotBundleType {
		return nil, errors.New("it is a delta bundle, which cannot be signed")
	}
	return sort(&parsed)
}

// measure refuses what is small only as long as it is packed.
func (b *served) measure(raw []byte) error {
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("it is no bundle: %w", err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(unpacked, 4*b.opts.Max+1))
	if err == nil && n > 4*b.opts.Max {
		err = fmt.Errorf("unpacked, the bundle has more than %d bytes", 4*b.opts.Max)
	}
	return err
}

// keptName is the file of the last good bundle.
const keptName = "bundle.tar.gz"

// keep writes the bundle so that it is there as a whole or not at all.
func (b *served) keep() error {
	raw := b.raw
	b.current, b.trusted, b.raw = b.etag, b.key, nil
	if b.opts.Keep == "" || raw == nil {
		return nil
	}
	if err := os.MkdirAll(b.opts.Keep, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(b.opts.Keep, "."+keptName+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it is still there
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(b.opts.Keep, keptName))
}

// kept reads what keep wrote, and trusts it no more than the server.
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

// follow looks now and then, not at the same moments as other servers.
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
