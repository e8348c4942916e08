package server_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

// certified returns a tenant whose app has names of certificates.
func certified(name string, names ...auth.CertificateName) server.Tenant {
	t := servertest.Tenant(name, "")
	t.Apps[0].Certificates = names
	return t
}

// TestClientCertificates checks that a connection gets the app of any name in its certificate. A certificate with no
// app's name, or with names of two apps, gives no identity, not even the anonymous one of the listener.
func TestClientCertificates(t *testing.T) {
	a := newAuthority(t)
	pinned := a.named("pinned", nil)
	fingerprint := fmt.Sprintf("sha256:%x", sha256.Sum256(pinned.Certificates[0].Certificate[0]))
	s := servertest.Start(t, servertest.Config{
		Listen: overTLS(a),
		Tenants: []server.Tenant{
			servertest.Tenant("test/app", "secret"),
			certified("dns/app", "dns:shop.example.com", "dns:both.example.com", "dns:mine.example.com"),
			certified("uri/app", "uri:spiffe://example.com/shop", "dns:both.example.com",
				"uri:spiffe://example.com/mine"),
			certified("subject/app", "subject:CN=shop"),
			certified("print/app", auth.CertificateName(fingerprint)),
		},
	})
	for name, row := range map[string]struct {
		cfg  *tls.Config
		want string // the tenant, or "" for no identity
	}{
		"none":              {a.client(), "test"},
		"dns":               {a.named("x", []string{"other.example.com", "SHOP.example.com"}), "dns"},
		"uri":               {a.named("x", nil, "spiffe://example.com/shop"), "uri"},
		"subject":           {a.named("shop", nil), "subject"},
		"fingerprint":       {pinned, "print"},
		"unknown":           {a.named("stranger", []string{"stranger.example.com"}), ""},
		"like the pinned":   {a.named("pinned", nil), ""},
		"common name only":  {a.named("shop.example.com", nil), ""},
		"wildcard":          {a.named("x", []string{"*.example.com"}), ""},
		"claimed by two":    {a.named("x", []string{"both.example.com"}), ""},
		"of two apps":       {a.named("x", []string{"mine.example.com"}, "spiffe://example.com/mine"), ""},
		"claimed and clear": {a.named("x", []string{"both.example.com", "shop.example.com"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, s).TLS(row.cfg)
			check := func() {
				t.Helper()
				if row.want == "" {
					p.Ask("whoami", "err NOAUTH ")
					p.Ask("new", "err NOAUTH ")
				} else {
					p.Ask("whoami", "ok tenant="+row.want+" app=app ")
				}
			}
			check()
			p.Ask("auth test/app secret", "ok")
			p.Ask("whoami", "ok tenant=test ")
			p.Ask("reset", "ok RESET")
			check()
		})
	}
}

// TestCertificateRevoked checks that connections end when the name is removed from the app, or the app from the
// tenant.
func TestCertificateRevoked(t *testing.T) {
	a := newAuthority(t)
	for name, after := range map[string][]server.Tenant{
		"the name":   {certified("shop/app")},
		"the app":    {certified("shop/other", "dns:shop.example.com")},
		"the tenant": {},
		"ambiguous":  {certified("shop/app", "dns:shop.example.com"), certified("b/app", "dns:shop.example.com")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			observed := newObserver()
			s := servertest.Start(t, servertest.Config{
				Listen: overTLS(a), Options: server.Options{Observer: observed},
				Tenants: []server.Tenant{certified("shop/app", "dns:shop.example.com")},
			})
			p := dial(t, s).TLS(a.named("x", []string{"shop.example.com"}))
			p.Ask("whoami", "ok tenant=shop ")
			if err := s.SetTenants(after); err != nil {
				t.Fatal(err)
			}
			p.Rest()
			observed.wantClosed(t, server.Revoked)
		})
	}
}

// TestCertificateExpires checks that an expired certificate ends its connection and open session at the next command.
func TestCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, observed := newAuthority(t), newObserver()
		cfg := a.client()
		cfg.Certificates = []tls.Certificate{a.issue(&x509.Certificate{
			DNSNames: []string{"shop.example.com"}, NotAfter: time.Now().Add(5 * time.Minute),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})}
		opts := server.Options{Observer: observed, Tenants: []server.Tenant{certified("shop/app",
			"dns:shop.example.com")}}
		opts.Tenants[0].Apps = append(opts.Tenants[0].Apps, servertest.Tenant("shop/other", "secret").Apps...)
		bubble(t, opts, secureEverywhere(a), func(t *testing.T, _ *server.Server, dial func(string) *servertest.Conn) {
			p := dial("192.0.2.1:1").TLS(cfg)
			id := p.Ask("new", "ok ")
			p.Ask("commit", "ok")
			p.Ask("close", "ok")
			p.Ask("open "+id, "ok")
			p.Ask("put foo dropped", "ok")
			time.Sleep(5 * time.Minute)
			p.Ask("get foo", "ok dropped")
			time.Sleep(time.Nanosecond)
			if text := p.Ask("close", "err NOAUTH "); !strings.Contains(text, "closed") {
				t.Errorf("reply does not report the end of the connection: %s", text)
			}
			p.Closed()
			if got := <-observed.closed; got != server.Revoked {
				t.Errorf("closed for %v", got)
			}
			q := dial("192.0.2.1:2")
			q.Ask("auth shop/other secret", "ok")
			q.Ask("open "+id+" rw 0", "ok")
			q.Ask("get foo", "err NOKEY ")
		})
	})
}
