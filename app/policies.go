package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"

	"sessionserver/configs"
	"sessionserver/policy/opa"
)

// PolicySource returns the source of the policies that cfg names, or those that ship with the server.
func PolicySource(cfg configs.Policy) (opa.Source, error) {
	switch b := cfg.Bundle; {
	case cfg.Folder != "":
		return opa.Folder(cfg.Folder), nil
	case b.Used():
		opts := opa.BundleOptions{
			URL: b.URL, KeyID: b.KeyID, Algorithm: b.Algorithm, Scope: b.Scope, Poll: b.Poll, Keep: b.Keep,
			Key: func() (string, error) {
				key, err := bundleKey(b)
				if err != nil {
					err = fmt.Errorf("the key of the policies: %w", err)
				}
				return key, err
			},
			Roots: func() (*x509.CertPool, error) { return bundleRoots(b) },
		}
		if b.TokenFile != "" {
			opts.Token = func() (string, error) { return readToken(b.TokenFile) }
		}
		return opa.Bundle(opts)
	}
	return opa.FS("the default", configs.DefaultPolicy()), nil
}

// bundleKey reads the key that verifies the signature of a bundle.
func bundleKey(b configs.Bundle) (string, error) {
	key, err := ReadShort(b.KeyFile)
	if err != nil {
		return "", err
	}
	if strings.Contains(key, "PRIVATE KEY-----") {
		return "", fmt.Errorf("%s is the private key, which belongs to the signer alone; the public one is made of it "+
			"with: openssl pkey -in PRIVATE -pubout -out PUBLIC", b.KeyFile)
	}
	return key, nil
}

// bundleRoots reads the authorities of the server of a bundle. It returns nil for those that this machine trusts.
func bundleRoots(b configs.Bundle) (*x509.CertPool, error) {
	if b.CARoots == "" {
		return nil, nil
	}
	text, err := os.ReadFile(b.CARoots)
	if err != nil {
		return nil, fmt.Errorf("the authorities of the policies' server: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("certificate not found in %s: it must hold certificates as PEM", b.CARoots)
	}
	return roots, nil
}

// ReadShort reads a file that holds a key or a token.
func ReadShort(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return "", err
	case len(text) == 0:
		return "", fmt.Errorf("%s is empty: write the key or token to it", path)
	case len(text) > most:
		return "", fmt.Errorf("%s has more than %d bytes: name a file with the key or token alone", path, most)
	}
	return string(text), nil
}

// readToken reads a bearer token: one word of visible ASCII.
func readToken(path string) (string, error) {
	text, err := ReadShort(path)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	token := strings.TrimSpace(text)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("the token: %s is not a token (allowed: one word)", path)
	}
	return token, nil
}

// openPolicy opens the engine that decides about every operation. It has no tenants yet.
func (a *App) openPolicy(ctx context.Context) (err error) {
	cfg := a.cfg.Policy
	source, err := PolicySource(cfg)
	if err == nil {
		a.policy, err = opa.New(ctx, opa.Options{
			Source: source, Timeout: cfg.Timeout, Cache: cfg.Cache, Logger: a.log,
			Decided: a.metrics.Policy(), Reloaded: a.policyReloaded, Log: a.audit.decisionLog(),
		})
	}
	if err != nil {
		return fmt.Errorf("cannot use the policies: %w (no operation is allowed without policies: correct them or the "+
			"policy section of the configuration)", err)
	}
	return nil
}

// policyReloaded records a read of the policies.
func (a *App) policyReloaded(err error) {
	a.audit.policyReloaded(err)
	a.reloads.note(policyReload, err)
}
