package configs

import (
	"encoding/json"
	"net/url"
	"time"
)

// Policy names the source of the policies: a folder, a bundle, or by default the policy that ships with the server.
type Policy struct {
	Folder  string        `yaml:"folder"` // of .rego and data files, or ""
	Bundle  Bundle        `yaml:"bundle"`
	Timeout time.Duration `yaml:"timeout"` // processor time of one evaluation; beyond it the operation is refused
	Cache   int           `yaml:"cache"`   // number of cached decisions
}

// Bundle holds the location of a policy bundle and the properties of its signature.
type Bundle struct {
	URL       string        `yaml:"url"`        // "" for none
	TokenFile string        `yaml:"token_file"` // file of a bearer token, or ""
	CARoots   string        `yaml:"ca_roots"`   // file of the authorities for the HTTP server; "" is the system's
	KeyFile   string        `yaml:"key_file"`   // PEM of the public key or its certificate; for HMAC the secret itself
	KeyID     string        `yaml:"key_id"`
	Algorithm string        `yaml:"algorithm"`
	Scope     string        `yaml:"scope"` // required scope of the signature, or ""
	Poll      time.Duration `yaml:"poll"`
	Keep      string        `yaml:"keep"` // folder of the last good bundle
}

// Used reports whether policies come from a bundle.
func (b Bundle) Used() bool { return b.URL != "" }

// Plain reports whether the bundle is fetched without TLS, so that an attacker on the network can withhold newer ones.
func (b Bundle) Plain() bool {
	u, err := url.Parse(b.URL)
	return err == nil && u.Scheme == "http"
}

func (v *validator) policy(p Policy) {
	v.within("policy.timeout", p.Timeout, time.Millisecond, 10*time.Second)
	v.number("policy.cache", int64(p.Cache), 16, 1<<24)
	b := p.Bundle
	if !b.Used() {
		for key, value := range map[string]string{
			"token_file": b.TokenFile, "ca_roots": b.CARoots, "key_file": b.KeyFile, "scope": b.Scope,
		} {
			if value != "" {
				v.add("policy.bundle."+key, "%.80q without a bundle "+
					"(allowed: nothing, unless policy.bundle.url is set)", value)
			}
		}
		return
	}
	if p.Folder != "" {
		v.add("policy.folder", "%.80q, although policy.bundle.url is set (allowed: one of the two)", p.Folder)
	}
	if u, err := url.Parse(b.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// The URL may hold a secret, so the message does not quote it.
		v.add("policy.bundle.url", "invalid URL (allowed: https://…, or http://… within a private network)")
	}
	if b.KeyFile == "" {
		v.add("policy.bundle.key_file", "missing (allowed: the PEM file of the key that verifies the bundle)")
	}
	v.oneOf("policy.bundle.algorithm", b.Algorithm,
		"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "HS256", "HS384", "HS512")
	v.within("policy.bundle.poll", b.Poll, time.Second, 24*time.Hour)
	if b.Keep == "" {
		v.add("policy.bundle.keep", "missing (allowed: a folder, for a start while the HTTP server is unavailable)")
	}
}

// PolicyMax is the maximum size of a tenant's policy settings as JSON.
const PolicyMax = 64 * KiB

// tenantPolicy limits the policy settings of a tenant: they are kept in memory, and after a change of any tenant those
// of all tenants are processed.
func (v *validator) tenantPolicy(settings map[string]any) {
	text, err := json.Marshal(settings)
	switch {
	case err != nil:
		v.add("policy", "%v", err)
	case Size(len(text)) > PolicyMax:
		v.add("policy", "%d bytes as JSON (allowed: %v)", len(text), PolicyMax)
	}
}
