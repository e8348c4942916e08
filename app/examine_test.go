package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sessionserver/configs"
	"sessionserver/server/servertest"
)

const day = 24 * time.Hour

// TestExaminePublicAddress checks that the host of DSNs must be in a certificate, unless a balancer may terminate TLS.
func TestExaminePublicAddress(t *testing.T) {
	dir := t.TempDir()
	servertest.Certificate{Name: "*.one.example", Authority: true, NotBefore: time.Now().Add(-day),
		NotAfter: time.Now().Add(100 * day)}.Write(t, dir, "one")
	files := "tls: {certificates: [{cert: " + dir + "/one.pem, key: " + dir + "/one.key}]}\n"
	acme := func(names string) string {
		return "tls: {acme: {names: [" + names + "], agree_terms: true, storage: " + dir +
			"/acme, dns_program: /bin/true}}\n"
	}
	for _, row := range []struct {
		text           string
		problem, noted bool
	}{
		{"public_address: tls://sessions.one.example\n" + files, false, false},
		{"public_address: tls://SESSIONS.one.example:9090\n" + files, false, false},
		{"public_address: tls://one.example\n" + files, true, false},
		{"public_address: tls://192.0.2.1\n" + files, true, false},
		{"public_address: tcp://192.0.2.1\n" + files, false, false},
		{"public_address: tls://a.example\n" + acme("b.example, a.example"), false, false},
		{"public_address: tls://a.b.example\n" + acme(`"*.b.example"`), false, false},
		{"public_address: tls://a.a.b.example\n" + acme(`"*.b.example"`), true, false},
		{"public_address: tls://anything\ntls: {local_ca: " + dir + "/ca}\n", false, false},
		{"public_address: tls://anything\n", false, true},
		{"listen: [{address: \"127.0.0.1:0\", allow: [::1], proxies: [::1]}]\npublic_address: tls://anything\n" + files,
			false, true},
	} {
		cfg, err := configs.Parse("c.yaml", []byte("storage: {driver: memory}\n"+row.text))
		if err != nil {
			t.Fatalf("%s: %v", row.text, err)
		}
		found := Examine(cfg, new(configs.Tenants), time.Now())
		if got := strings.Contains(fmt.Sprint(found.Problems),
			"public_address: no certificate is for"); got != row.problem {
			t.Errorf("%s: problems %v", row.text, found.Problems)
		}
		if got := strings.Contains(fmt.Sprint(found.Notes), "public_address"); got != row.noted {
			t.Errorf("%s: notes %q", row.text, found.Notes)
		}
	}
}
