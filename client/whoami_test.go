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
	identity, err := dial(t, dsnOf(srv, ""), client.Options{}).WhoAmI(t.Context())
	if err != nil || identity["tenant"] != "acme" || identity["app"] != "shop" ||
		identity["role"] == "" || identity["lifetime_s"] == "" {
		t.Errorf("WhoAmI = %v, %v", identity, err)
	}
}

// TestTLSRequired verifies that the reason for a closed connection is reported also after pipelined requests.
func TestTLSRequired(t *testing.T) {
	listen := server.Listen{Name: "strict", Allow: servertest.Loopback, Plaintext: server.PlaintextNever}
	srv := start(t, servertest.Config{Listen: listen})
	if _, err := client.Dial(t.Context(), dsnOf(srv, ""), client.Options{}); !errors.Is(err, client.ErrTLSRequired) {
		t.Errorf("%v", err)
	}
}

// TestReveal verifies that the result of Reveal is parsed as the same DSN.
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
			t.Errorf("Reveal of %s is %s: %v", text, parsed.Reveal(), err)
		}
		if strings.Contains(parsed.String(), secret) {
			t.Errorf("String contains the secret")
		}
	}
}
