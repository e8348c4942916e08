package configs

import (
	"encoding/json"
	"net/url"
	"time"
)

// Policy says which policies decide about operations: those of a folder, those of a bundle, or those that ship with the server.
type Policy struct {
	Folder  string        `yaml:"folder"` // of .rego and data files, or ""
	Bundle  Bundle        `yaml:"bundle"`
	Timeout time.Duration `yaml:"timeout"` // processor time of one evaluation; without a decision by then it is refused
	Cache   int           `yaml:"cache"`   // decisions that are remembered
}

// Bundle says where a bundle of policies is, and who must have signed it.
type Bundle struct {
	URL       string        `yaml:"url"`        // or "" for none
	TokenFile string        `yaml:"token_file"` // of a bearer token, or ""
	CARoots   string        `yaml:"ca_roots"`   // file of the authorities that vouch for the server, or "" for the system's
	KeyFile   string        `yaml:"key_file"`   // PEM of the public key or its certificate; for HMAC the secret itself
	KeyID     string        `yaml:"key_id"`
	Algorithm string        `yaml:"algorithm"`
	Scope     string        `yaml:"scope"` // that the signature must have, or ""
	Poll      time.Duration `yaml:"poll"`
	Keep      string        `yaml:"keep"` // folder of the last good one
}

// Used reports whether policies come from a bundle.
func (b Bundle) Used() bool { return b.URL != "" }

// Plain reports whether the bundle comes without TLS, so that whoever is on the way can hold back newer ones.
func (b Bundle) Plain() bool {
	u, err := url.Parse(b.URL)
	return err == nil && u.Scheme == "http"
}

func (v *validator) policy(p Policy) {
	v.within("policy.timeout", p.Timeout, time.Millisecond, 10*time.Second)
	v.number("policy.cache", int64(p.Cache), 16, 1<<24)
	b := p.Bundle
	if !b.Used() {
		for key, value := range map[string]string{"token_file": b.TokenFile, "ca_roots": b.CARoots, "key_file": b.KeyFile, "scope": b.Scope} {
			if value != "" {
				v.add("policy.bundle."+key, "%.80q, and there is no bundle (allowed: nothing, unless policy.bundle.url says where one is)", value)
			}
		}
		return
	}
	if p.Folder != "" {
		v.add("policy.folder", "%.80q, and policies come from a bundle (allowed: one of both)", p.Folder)
	}
	if u, err := url.Parse(b.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		v.add("policy.bundle.url", "this is none (allowed: https://…, or http://… within a network that nobody else is in)") // it may have a secret
	}
	if b.KeyFile == "" {
		v.add("policy.bundle.key_file", "it is missing (allowed: the PEM file of the key that bundles are signed with)")
	}
	v.oneOf("policy.bundle.algorithm", b.Algorithm,
		"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "HS256", "HS384", "HS512")
	v.within("policy.bundle.poll", b.Poll, time.Second, 24*time.Hour)
	if b.Keep == "" {
		v.add("policy.bundle.keep", "it is missing (allowed: a folder, from which the server starts while that of the bundle is away)")
	}
}

// PolicyMax is how much a tenant may say to policies, written as JSON.
const PolicyMax = 64 * KiB

// tenantPolicy bounds what a tenant says to policies: all of it is kept in memory, and gone through for each tenant when any has changed.
func (v *validator) tenantPolicy(settings map[string]any) {
	text, err := json.Marshal(settings)
	switch {
	case err != nil:
		v.add("policy", "%v", err)
	case Size(len(text)) > PolicyMax:
		v.add("policy", "it has %d bytes as JSON (allowed: %v)", len(text), PolicyMax)
	}
}
