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
	URL    string                 // http or https
	Token  func() (string, error) // answers the bearer token, each time that the server is asked; nil is none
	Roots  *x509.CertPool         // who vouches for the server; nil are those whom this machine trusts
	Client *http.Client           // nil is one that waits for 30 s and is not led away from HTTPS

	KeyID     string // of the signature; "" is "default"
	Key       string // a public key or certificate in PEM, or the secret itself of an HMAC
	Algorithm string // of the signature, such as RS256 or ES256
	Scope     string // that the signature must have, if it is to have one

	Poll time.Duration // how often to look for another one; 0 is 1 min
	Keep string        // the folder where the last good one is kept; "" is nowhere
	Max  int64         // how many bytes it may have, packed and each file in it; 0 is 16 MiB. Unpacked it may have four times as many
}

// served is a bundle on an HTTP server. It is used by one goroutine at a time.
type served struct {
	opts   BundleOptions
	verify *bundle.VerificationConfig

	raw     []byte // what was loaded last
	etag    string // of raw
	current string // the ETag of what decides
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
	if opts.Key == "" {
		return nil, errors.New("policy: the key is missing that bundles are signed with")
	}
	if opts.KeyID == "" {
		opts.KeyID = "default"
	}
	if opts.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: opts.Roots}
		opts.Client = &http.Client{Timeout: 30 * time.Second, CheckRedirect: stayPrivate, Transport: transport}
	}
	if opts.Poll <= 0 {
		opts.Poll = time.Minute
	}
	if opts.Max <= 0 {
		opts.Max = fileMax
	}
	key := &keys.Config{Key: opts.Key, Algorithm: opts.Algorithm, Scope: opts.Scope}
	return &served{opts: opts, verify: bundle.NewVerificationConfig(map[string]*keys.Config{opts.KeyID: key}, opts.KeyID, opts.Scope, nil)}, nil
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
	if b.current != "" {
		req.Header.Set("If-None-Match", b.current)
	}
	resp, err := b.opts.Client.Do(req)
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
	all, err := b.read(raw)
	if err != nil {
		return nil, err
	}
	b.raw, b.etag = raw, resp.Header.Get("ETag")
	return all, nil
}

// read verifies and parses a bundle.
func (b *served) read(raw []byte) (*contents, error) {
	if int64(len(raw)) > b.opts.Max {
		return nil, fmt.Errorf("the bundle has more than %d bytes", b.opts.Max)
	}
	if err := b.measure(raw); err != nil {
		return nil, err
	}
	parsed, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(raw), "").WithSizeLimitBytes(b.opts.Max)).
		WithRegoVersion(ast.RegoV1).WithProcessAnnotations(true).WithBundleVerificationConfig(b.verify).WithSizeLimitBytes(b.opts.Max).Read()
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
	b.current, b.raw = b.etag, nil
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
	return b.read(raw)
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
