package main

import (
	"fmt"
	"strings"
	"testing"

	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/session"
	"sessionserver/wire"
)

// TestDefaults checks that the defaults of the configuration are those of the packages, so that the documentation has
// one truth.
func TestDefaults(t *testing.T) {
	cfg := configs.Default()
	if got, want := cfg.Session.Settings(), session.DefaultSettings(); got != want {
		t.Errorf("rules for sessions: the configuration has %+v, package session %+v", got, want)
	}
	if got, want := cfg.Limits.Wire(), wire.DefaultLimits(); got != want {
		t.Errorf("limits: the configuration has %+v, package wire %+v", got, want)
	}
	if need := 2*cfg.Session.MaxKeys + 1; cfg.Limits.Args < need {
		t.Errorf("%d arguments are too few to put all of %d keys", cfg.Limits.Args, cfg.Session.MaxKeys)
	}
}

// TestSameRules checks rules that packages without a common import state separately.
func TestSameRules(t *testing.T) {
	for _, burst := range []int{server.BurstMin - 1, server.BurstMin} {
		_, err := configs.Parse("f", fmt.Appendf(nil, "rates: {tenant: {per_second: 1, burst: %d}}", burst))
		if (err == nil) != (burst >= server.BurstMin) {
			t.Errorf("%d at once: %v", burst, err)
		}
	}
	for _, algorithm := range []string{"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
		"HS256", "HS384", "HS512", "none", "EdDSA", ""} {
		_, configured := configs.Parse("f", fmt.Appendf(nil,
			"policy: {bundle: {url: \"https://x\", key_file: k, algorithm: %q}}", algorithm))
		_, opened := opa.Bundle(opa.BundleOptions{URL: "https://x", Key: func() (string, error) { return "k", nil },
			Algorithm: algorithm})
		if (configured == nil) != (opened == nil) {
			t.Errorf("algorithm %q: configs has %v, opa %v", algorithm, configured, opened)
		}
	}
	c, err := certs.New(certs.Options{ACME: &certs.ACME{AgreeTerms: true, Storage: t.TempDir(),
		Directory: "https://ca.example/directory"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	main, label := configs.Default(), strings.Repeat("a", 63)
	for _, name := range []string{
		"a.example", "a-b.example", "xn--a.example", "1.a", "a.1", "1.2.3", "1.2.3.4", "a", "", ".", "a.", ".a", "a..b",
		"-a.b", "a-.b", "a.b-", "a_b.c", "*.a.b", "a b.c", "ä.b", "::1",
		label + ".a", label + "a.b", strings.Repeat(label+".", 3) + label[:61], strings.Repeat(label+".", 3) +
			label[:62],
	} {
		_, asked := configs.ParseTenant("a.yaml", fmt.Appendf(nil, "allow: [::1]\nhosts: [%q]\n", name), &main)
		if given := c.SetHosts([]string{name}); (asked == nil) != (given == nil) {
			t.Errorf("%q: configs has %v, certs %v", name, asked, given)
		}
	}
}
