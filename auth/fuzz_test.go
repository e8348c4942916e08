package auth

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// fuzzed is a directory in which a/app has the secret "one" and a/none has none.
func fuzzed(t testing.TB, everywhere *Allowlist) ([]Tenant, *Directory) {
	t.Helper()
	tenants := []Tenant{{
		Name: "a", Access: Allowlist{Allow: slices.Clone(everywhere.Allow)},
		Apps: []App{{Name: "app", Role: ReadWrite, Access: everywhere, Secrets: []SecretHash{HashSecret("one")}}, {Name: "none", Role: ReadWrite}},
	}}
	d, err := NewDirectory(tenants)
	if err != nil {
		t.Fatal(err)
	}
	return tenants, d
}

// TestDirectoryIsItsOwn: changing what a directory was made of changes nothing in it.
func TestDirectoryIsItsOwn(t *testing.T) {
	everywhere := &Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	given, d := fuzzed(t, everywhere)
	given[0].Name = "b"
	given[0].Access.Allow[0] = netip.Prefix{}
	everywhere.Allow[0] = netip.Prefix{}
	given[0].Apps[0].Secrets[0] = HashSecret("two")
	given[0].Apps[0].Name = "other"
	g, err := d.Secret("a/app", "one")
	if err != nil || !d.Admits(g.Identity, netip.MustParseAddr("192.0.2.1")) {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestRangesWrittenAsIPv6: an IPv4 range may be written as IPv6, above all one that is denied.
func TestRangesWrittenAsIPv6(t *testing.T) {
	l := Allowlist{
		Allow: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")}, Deny: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.9/128")},
	}
	for ip, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "192.0.2.9": false, "::ffff:192.0.2.9": false} {
		if got := l.Admits(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
}

// FuzzParseSecretHash: what is read is what is written.
func FuzzParseSecretHash(f *testing.F) {
	f.Add(HashSecret("x").String())
	f.Add(NewSecret())
	f.Add("sha256:00")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseSecretHash(text)
		if err == nil && !strings.EqualFold(h.String(), text) {
			t.Errorf("%q is read as %s", text, h)
		}
	})
}

// FuzzParseCertificateName: a name that was read is read as itself again.
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
			t.Errorf("%q is %q, which is %q, %v", text, name, again, err)
		}
	})
}

// FuzzSecret: nothing but the one secret is good, for the one name.
func FuzzSecret(f *testing.F) {
	_, d := fuzzed(f, &Allowlist{})
	f.Add("a/app", "one")
	f.Add("a/none", "")
	f.Fuzz(func(t *testing.T, name, secret string) {
		g, err := d.Secret(name, secret)
		if good := name == "a/app" && secret == "one"; good != (err == nil) || good == g.Identity.IsZero() {
			t.Errorf("%q %q: %+v, %v", name, secret, g, err)
		}
	})
}
