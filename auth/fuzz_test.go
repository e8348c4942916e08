package auth

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// fuzzed returns a directory in which a/app has the secret "one" and a/none has no secret.
func fuzzed(t testing.TB, access *Allowlist) ([]Tenant, *Directory) {
	t.Helper()
	tenants := []Tenant{{
		Name: "a", Access: Allowlist{Allow: slices.Clone(access.Allow)},
		Apps: []App{
			{Name: "app", Role: ReadWrite, Access: access, Secrets: []SecretHash{HashSecret("one")}},
			{Name: "none", Role: ReadWrite},
		},
	}}
	d, err := NewDirectory(tenants)
	if err != nil {
		t.Fatal(err)
	}
	return tenants, d
}

// TestDirectoryIsACopy: changing the tenants after NewDirectory does not change the directory.
func TestDirectoryIsACopy(t *testing.T) {
	access := &Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	given, d := fuzzed(t, access)
	given[0].Name = "b"
	given[0].Access.Allow[0] = netip.Prefix{}
	access.Allow[0] = netip.Prefix{}
	given[0].Apps[0].Secrets[0] = HashSecret("two")
	given[0].Apps[0].Name = "other"
	g, err := d.Secret("a/app", "one")
	if err != nil || !d.Admits(g.Identity, netip.MustParseAddr("192.0.2.1")) {
		t.Errorf("Secret = %+v, %v; want a grant that is admitted", g, err)
	}
}

// TestRangesWrittenAsIPv6: an IPv4 range may be written as IPv6, also in Deny.
func TestRangesWrittenAsIPv6(t *testing.T) {
	l := Allowlist{
		Allow: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.9/128")},
	}
	for ip, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "192.0.2.9": false, "::ffff:192.0.2.9": false,
	} {
		if got := l.Admits(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Admits(%s) = %t, want %t", ip, got, want)
		}
	}
}

// FuzzParseSecretHash: a hash that is parsed has the text it was parsed from.
func FuzzParseSecretHash(f *testing.F) {
	f.Add(HashSecret("x").String())
	f.Add(NewSecret())
	f.Add("sha256:00")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseSecretHash(text)
		if err == nil && !strings.EqualFold(h.String(), text) {
			t.Errorf("ParseSecretHash(%q) = %s", text, h)
		}
	})
}

// FuzzParseCertificateName: a parsed name is parsed as itself.
func FuzzParseCertificateName(f *testing.F) {
	for _, s := range []string{"dns:x", "uri:a:b", "subject:CN=x", "sha256:" + strings.Repeat("0", 64), "dns:\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := ParseCertificateName(text)
		if err != nil {
			return
		}
		if again, err := ParseCertificateName(string(name)); err != nil || again != name {
			t.Errorf("ParseCertificateName(%q) = %q, which is parsed as %q, %v", text, name, again, err)
		}
	})
}

// FuzzSecret: only the one secret of the one app is valid.
func FuzzSecret(f *testing.F) {
	_, d := fuzzed(f, &Allowlist{})
	f.Add("a/app", "one")
	f.Add("a/none", "")
	f.Fuzz(func(t *testing.T, name, secret string) {
		g, err := d.Secret(name, secret)
		if valid := name == "a/app" && secret == "one"; valid != (err == nil) || valid == g.Identity.IsZero() {
			t.Errorf("Secret(%q, %q) = %+v, %v, want valid: %t", name, secret, g, err, valid)
		}
	})
}
