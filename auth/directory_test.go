package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var (
	secretA, secretB, secretC = NewSecret(), NewSecret(), NewSecret()

	everywhere = Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
)

func directory(t *testing.T, tenants ...Tenant) *Directory {
	t.Helper()
	d, err := NewDirectory(tenants)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// acme returns a tenant whose app shop has these secrets and certificate names.
func acme(secrets []string, names ...CertificateName) Tenant {
	app := App{Name: "shop", Role: ReadWrite, Certificates: names}
	for _, s := range secrets {
		app.Secrets = append(app.Secrets, HashSecret(s))
	}
	return Tenant{Name: "acme", Access: everywhere, Apps: []App{app, {Name: "idle", Role: ReadWrite}}}
}

func TestSecret(t *testing.T) {
	otherShop := App{Name: "shop", Role: ReadWrite, Secrets: []SecretHash{HashSecret(secretC)}}
	d := directory(t, acme([]string{secretA, secretB}), Tenant{Name: "other", Apps: []App{otherShop}})
	for _, s := range []string{secretA, secretB} {
		g, err := d.Secret("acme/shop", s)
		if err != nil || g.Identity != (Identity{"acme", "shop"}) || g.Role != ReadWrite || !g.Expires.IsZero() {
			t.Errorf("Secret = %+v, %v", g, err)
		}
	}
	zero := string(make([]byte, 32))
	for _, row := range [][2]string{
		{"acme/shop", secretC}, {"acme/shop", ""}, {"acme/shop", HashSecret(secretA).String()},
		{"acme/shop", secretA + " "}, {"acme/shop", zero},
		{"other/shop", secretA}, {"acme/idle", secretA}, {"acme/idle", ""}, {"acme/none", secretA},
		{"none/shop", secretA}, {"", secretA}, {"/", ""}, {"acme", secretA}, {"ACME/shop", secretA},
		{"acme/shop/", secretA}, {"../shop", secretA},
	} {
		if g, err := d.Secret(row[0], row[1]); err != ErrBadCredentials || g != (Grant{}) {
			t.Errorf("Secret(%q) = %+v, %v, want ErrBadCredentials", row[0], g, err)
		}
	}
	if g, err := directory(t).Secret("acme/shop", secretA); err != ErrBadCredentials || g != (Grant{}) {
		t.Errorf("empty directory: Secret = %+v, %v, want ErrBadCredentials", g, err)
	}
}

// TestRenew: a grant is valid as long as its credentials are.
func TestRenew(t *testing.T) {
	cert := certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{"shop.example"} })
	before := directory(t, acme([]string{secretA, secretB}, "dns:shop.example"))
	byA, errA := before.Secret("acme/shop", secretA)
	byB, errB := before.Secret("acme/shop", secretB)
	byCert, errC := before.Certificate(cert)
	anonymous, errD := before.Anonymous(Identity{"acme", "shop"})
	if err := errors.Join(errA, errB, errC, errD); err != nil {
		t.Fatal(err)
	}
	duplicate := App{Name: "c", Role: ReadWrite, Certificates: []CertificateName{"dns:shop.example"}}
	moved := App{Name: "b", Role: ReadWrite, Secrets: []SecretHash{HashSecret(secretA)}}
	for _, row := range []struct {
		name                  string
		now                   *Directory
		a, b, cert, anonymous bool
	}{
		{"no change", before, true, true, true, true},
		{"rotated", directory(t, acme([]string{secretB, secretC}, "dns:shop.example")), false, true, true, true},
		{"no secrets", directory(t, acme(nil, "dns:shop.example")), false, false, true, true},
		{"no certificate", directory(t, acme([]string{secretA, secretB})), true, true, false, true},
		{"certificate of two apps", directory(t, acme([]string{secretA, secretB}, "dns:shop.example"),
			Tenant{Name: "b", Apps: []App{duplicate}}), true, true, false, true},
		{"no app", directory(t, Tenant{Name: "acme", Access: everywhere}), false, false, false, false},
		{"secret of another app", directory(t, Tenant{
			Name: "acme", Access: everywhere, Apps: []App{{Name: "shop", Role: ReadWrite}, moved},
		}), false, false, false, true},
		{"no tenant", directory(t), false, false, false, false},
	} {
		for credentials, g := range map[string]struct {
			Grant
			valid bool
		}{
			"a": {byA, row.a}, "b": {byB, row.b},
			"certificate": {byCert, row.cert}, "anonymous": {anonymous, row.anonymous},
		} {
			got, err := row.now.Renew(g.Grant)
			if g.valid && (err != nil || got != g.Grant) || !g.valid && (err != ErrBadCredentials || got != (Grant{})) {
				t.Errorf("%s: grant by %s: %+v, %v; want valid: %t", row.name, credentials, got, err, g.valid)
			}
		}
	}
	if _, err := before.Renew(Grant{}); err != ErrBadCredentials {
		t.Errorf("Renew of the zero Grant: error = %v, want ErrBadCredentials", err)
	}
	if _, err := before.Anonymous(Identity{"acme", "none"}); err != ErrBadCredentials {
		t.Errorf("Anonymous with an unknown app: error = %v, want ErrBadCredentials", err)
	}
}

func TestDirectoryAdmits(t *testing.T) {
	narrow := Allowlist{Allow: ranges(t, "10.1.0.0/16 192.0.2.0/24")}
	d := directory(t,
		Tenant{
			Name:   "a",
			Access: Allowlist{Allow: ranges(t, "10.0.0.0/8"), Deny: ranges(t, "10.1.1.0/24")},
			Apps: []App{
				{Name: "wide", Role: ReadWrite}, {Name: "narrow", Role: ReadWrite, Access: &narrow},
				{Name: "none", Role: ReadWrite, Access: &Allowlist{}},
			},
		},
		Tenant{Name: "b", Apps: []App{{Name: "wide", Role: ReadWrite}}})
	for text, want := range map[string]string{
		"10.0.0.1": "a/wide", "10.1.0.1": "a/narrow a/wide", "10.1.1.1": "", "192.0.2.1": "", "::1": "",
		"::ffff:10.1.0.1": "a/narrow a/wide",
	} {
		var got []string
		for _, name := range []string{"a/narrow", "a/none", "a/wide", "b/wide", "a/x", "x/wide", "/"} {
			tenant, app, _ := strings.Cut(name, "/")
			if d.Admits(Identity{tenant, app}, netip.MustParseAddr(text)) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("from %s: %v, want %s", text, got, want)
		}
	}
}

func TestNewDirectoryRefuses(t *testing.T) {
	app := func(names ...string) (apps []App) {
		for _, name := range names {
			apps = append(apps, App{Name: name, Role: ReadWrite})
		}
		return apps
	}
	_, err := NewDirectory([]Tenant{
		{Name: "a", Apps: app("x", "x", "X", "")}, {Name: "a"}, {Name: ""}, {Name: "A"},
		{Name: "b", Apps: []App{
			{Name: "x"}, {Name: "y", Role: "king"}, {Name: "z", Role: ReadWrite, Secrets: make([]SecretHash, 3)},
		}},
	})
	want := []string{
		`app "a/x"`, `app "a/X"`, `app "a/"`, `tenant "a"`, `tenant ""`, `tenant "A"`,
		`app b/x: unknown role ""`, `app b/y: unknown role "king"`, `app b/z: 3 secrets`,
	}
	if err == nil || len(strings.Split(err.Error(), "\n")) != len(want) {
		t.Fatal(err)
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if !strings.Contains(line, want[i]) {
			t.Errorf("error %q, want %q", line, want[i])
		}
	}
}

// certificate returns a self-signed certificate. This package does not verify certificates.
func certificate(t *testing.T, names func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "shop", Organization: []string{"Acme, Inc."}},
		NotAfter:     time.Now().Add(time.Hour),
	}
	names(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificate(t *testing.T) {
	uri, err := url.Parse("spiffe://example.com/shop")
	if err != nil {
		t.Fatal(err)
	}
	cert := certificate(t, func(c *x509.Certificate) {
		c.DNSNames, c.URIs = []string{"Shop.Example", "www.shop.example"}, []*url.URL{uri}
		c.EmailAddresses, c.IPAddresses = []string{"dns:mail.example@x"}, nil
	})
	sum := sha256.Sum256(cert.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	app := func(name string, names ...string) App {
		a := App{Name: name, Role: ReadWrite}
		for _, text := range names {
			n, err := ParseCertificateName(text)
			if err != nil {
				t.Fatal(err)
			}
			a.Certificates = append(a.Certificates, n)
		}
		return a
	}
	for _, row := range []struct {
		name string
		apps []App
		want string
	}{
		{"DNS", []App{app("a", "dns:shop.EXAMPLE"), app("b", "dns:example")}, "a"},
		{"second DNS", []App{app("a", "dns:www.shop.example")}, "a"},
		{"URI", []App{app("a", "uri:spiffe://example.com/shop")}, "a"},
		{"subject", []App{app("a", `subject:CN=shop,O=Acme\, Inc.`)}, "a"},
		{"fingerprint", []App{app("a", "sha256:"+strings.ToUpper(fingerprint))}, "a"},
		{"several names of one app", []App{app("a", "dns:shop.example", "sha256:"+fingerprint, "dns:other")}, "a"},
		{"no match", []App{app("a", "dns:example", "uri:spiffe://example.com", "uri:spiffe://example.com/shop/",
			"subject:CN=shop", "sha256:"+strings.Repeat("0", 64), "dns:mail.example@x")}, ""},
		{"one name, two apps", []App{app("a", "dns:shop.example"), app("b", "dns:Shop.example")}, ""},
		{"two names, two apps", []App{app("a", "dns:shop.example"), app("b", "uri:spiffe://example.com/shop")}, ""},
		{"one of two names, two apps", []App{
			app("a", "dns:shop.example", "dns:www.shop.example"), app("b", "dns:www.shop.example"),
		}, ""},
		{"three apps", []App{
			app("a", "dns:shop.example"), app("b", "dns:shop.example"), app("c", "dns:shop.example"),
		}, ""},
		{"no apps", nil, ""},
	} {
		d := directory(t, Tenant{Name: "acme", Apps: row.apps})
		g, err := d.Certificate(cert)
		if row.want == "" {
			if err != ErrBadCredentials || g != (Grant{}) {
				t.Errorf("%s: Certificate = %+v, %v, want ErrBadCredentials", row.name, g, err)
			}
			continue
		}
		want := Identity{"acme", row.want}
		if err != nil || g.Identity != want || !g.Expires.Equal(cert.NotAfter) || g.Role != ReadWrite {
			t.Errorf("%s: Certificate = %+v, %v, want %s", row.name, g, err, want)
		}
	}
}

func TestParseCertificateName(t *testing.T) {
	hash := strings.Repeat("0aB9", 16)
	for text, want := range map[string]string{
		"dns:Shop.Example":                           "dns:shop.example",
		"uri:spiffe://Example.com/Shop":              "uri:spiffe://Example.com/Shop",
		"subject:CN=Shop,O=Acme":                     "subject:CN=Shop,O=Acme",
		"subject:O=a b:c":                            "subject:O=a b:c",
		"sha256:" + hash:                             "sha256:" + strings.ToLower(hash),
		"sha256:" + strings.Repeat("0a:", 31) + "0A": "sha256:" + strings.Repeat("0a", 32),
	} {
		if got, err := ParseCertificateName(text); err != nil || string(got) != want {
			t.Errorf("ParseCertificateName(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "dns:", "dns", "shop.example", "DNS:shop.example", "dns:a b", "dns:a:b", "dns:a/b", "uri:shop", "uri:",
		"subject:shop", "subject:", "sha256:", "sha256:" + hash[2:], "sha256:" + hash + "00", "sha256:x" + hash[1:],
		"email:a@b", ":x", strings.Repeat("x", 1000),
	} {
		if got, err := ParseCertificateName(text); err == nil || got != "" || len(err.Error()) > 300 {
			t.Errorf("ParseCertificateName(%.80q) = %q, %v, want a short error", text, got, err)
		}
	}
}
