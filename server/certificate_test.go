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

// certified makes an app known by names of certificates.
func certified(name string, names ...auth.CertificateName) server.Tenant {
	t := servertest.Tenant(name, "")
	t.Apps[0].Certificates = names
	return t
}

// TestClientCertificates: a certificate makes its app of the connection, by whichever of its names; one that no app has, or that two could
// have, makes nobody of it, and not whoever is anonymous on this listener.
func TestClientCertificates(t *testing.T) {
	a := newAuthority(t)
	pinned := a.named("pinned", nil)
	fingerprint := fmt.Sprintf("sha256:%x", sha256.Sum256(pinned.Certificates[0].Certificate[0]))
	s := servertest.Start(t, servertest.Config{
		Listen: overTLS(a),
		Tenants: []server.Tenant{
			servertest.Tenant("test/app", "secret"),
			certified("dns/app", "dns:shop.example.com", "dns:both.example.com", "dns:mine.example.com"),
			certified("uri/app", "uri:spiffe://example.com/shop", "dns:both.example.com", "uri:spiffe://example.com/mine"),
			certified("subject/app", "subject:CN=shop"),
			certified("print/app", auth.CertificateName(fingerprint)),
		},
	})
	for name, row := range map[string]struct {
		cfg  *tls.Config
		want string // the tenant, or "" for nobody
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

// TestCertificateRevoked: taking the name from the app, or the app from the tenant, ends its connections.
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
			seen := newObserver()
			s := servertest.Start(t, servertest.Config{
				Listen: overTLS(a), Options: server.Options{Observer: seen},
				Tenants: []server.Tenant{certified("shop/app", "dns:shop.example.com")},
			})
			p := dial(t, s).TLS(a.named("x", []string{"shop.example.com"}))
			p.Ask("whoami", "ok tenant=shop ")
			if err := s.SetTenants(after); err != nil {
				t.Fatal(err)
			}
			p.Rest()
			seen.reason(t, server.Revoked)
		})
	}
}

// TestCertificateExpires: a certificate that is not good any more ends its connection at the next command, and an open session with it.
func TestCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, seen := newAuthority(t), newObserver()
		cfg := a.client()
		cfg.Certificates = []tls.Certificate{a.issue(&x509.Certificate{
			DNSNames: []string{"shop.example.com"}, NotAfter: time.Now().Add(5 * time.Minute),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})}
		opts := server.Options{Observer: seen, Tenants: []server.Tenant{certified("shop/app", "dns:shop.example.com")}}
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
				t.Errorf("it is not told that it is closed: %s", text)
			}
			p.Closed()
			if got := <-seen.closed; got != server.Revoked {
				t.Errorf("closed for %v", got)
			}
			q := dial("192.0.2.1:2")
			q.Ask("auth shop/other secret", "ok")
			q.Ask("open "+id+" rw 0", "ok")
			q.Ask("get foo", "err NOKEY ")
		})
	})
}
