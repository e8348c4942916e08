package client_test

import (
	"errors"
	"strings"
	"testing"

	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
)

func TestWhoAmI(t *testing.T) {
	srv := start(t, servertest.Config{})
	facts, err := dial(t, dsnOf(srv, ""), client.Options{}).WhoAmI(t.Context())
	if err != nil || facts["tenant"] != "acme" || facts["app"] != "shop" || facts["role"] == "" || facts["lifetime_s"] == "" {
		t.Errorf("%v, %v", facts, err)
	}
}

// TestTLSRequired: also who asks for several things at once hears why the server closes the connection.
func TestTLSRequired(t *testing.T) {
	srv := start(t, servertest.Config{Listen: server.Listen{Name: "strict", Allow: servertest.Loopback, Plaintext: server.PlaintextNever}})
	if _, err := client.Dial(t.Context(), dsnOf(srv, ""), client.Options{}); !errors.Is(err, client.ErrTLSRequired) {
		t.Errorf("%v", err)
	}
}

// TestReveal: what Reveal writes is read as the same DSN.
func TestReveal(t *testing.T) {
	for _, text := range []string{
		"tls://shop:" + secret + "@host:9090/acme?lock_timeout=10&cafile=/a/b.pem",
		"tcp://shop:%40%3A%2F%3F%23%25xxxxx@[::1]:1/acme", "unix://shop:xxxxx@/run/s?tenant=acme", "tcp://host:9090",
	} {
		parsed, err := client.ParseDSN(text)
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.ParseDSN(parsed.Reveal())
		if err != nil || again.Secret.Reveal() != parsed.Secret.Reveal() || again.String() != parsed.String() {
			t.Errorf("%s is written as %s: %v", text, parsed.Reveal(), err)
		}
		if strings.Contains(parsed.String(), secret) {
			t.Errorf("String shows the secret")
		}
	}
}
