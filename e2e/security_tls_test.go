package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"sessionserver/auth"
	"sessionserver/client"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestSecurityTestssl checks that testssl.sh has no finding of severity MEDIUM or above.
func TestSecurityTestssl(t *testing.T) {
	t.Parallel()
	path := servertest.Program(t, "testssl")
	h := deployment{ // with short time-outs, since testssl waits for the server to close
		tls: "{local_ca: DIR/ca, handshake_timeout: 3s}", settings: "limits: {login_timeout: 2s}\n",
		tenants: map[string]string{"acme": tenantFile("", "shop "+auth.NewSecret())},
	}.serve(t)
	_, port, err := net.SplitHostPort(h.addr)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), path, "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1",
		"--add-ca", h.ca, "--jsonfile", report, "localhost:"+port)
	cmd.WaitDelay = 5 * time.Second
	out, _ := cmd.CombinedOutput() // the status counts findings of any severity
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(content, &findings); err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	found := map[string]string{}
	for _, f := range findings {
		found[f.ID] = f.Severity + " " + f.Finding
		switch f.Severity {
		case "OK", "INFO", "LOW", "DEBUG":
		case "WARN": // not a finding, but a limitation of testssl or its openssl
			t.Logf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		default: // MEDIUM, HIGH, CRITICAL, FATAL
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	// The checks did run.
	for id, want := range map[string]string{
		"SSLv2": "OK not offered", "SSLv3": "OK not offered", "TLS1": "INFO not offered", "TLS1_1": "INFO not offered",
		"TLS1_2": "OK offered", "TLS1_3": "OK offered", "cipherlist_NULL": "OK not offered",
		"cipherlist_EXPORT":   "OK not offered",
		"cert_chain_of_trust": "OK passed.", "cert_expirationStatus": "OK", "heartbleed": "OK not vulnerable",
		"CCS":   "OK not vulnerable",
		"ROBOT": "OK not vulnerable", "secure_client_renego": "OK not vulnerable", "SWEET32": "OK not vulnerable",
		"RC4": "OK not vulnerable",
	} {
		if !strings.HasPrefix(found[id], want) {
			t.Errorf("%s: %q, not %q", id, found[id], want)
		}
	}
}

// names is a DNS server that resolves every name to this machine.
type names struct{}

func (names) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(r)
	for _, q := range r.Question {
		if q.Qtype == dns.TypeA {
			reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: q.Qtype,
				Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
		}
	}
	_ = w.WriteMsg(reply)
}

// TestSecurityACME checks that a server without a certificate gets one from a real ACME server, which validates it on
// the port of sessions. Clients then connect with TLS.
func TestSecurityACME(t *testing.T) {
	t.Parallel()
	zone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{Listener: zone, Handler: names{}}
	go func() { _ = resolver.ActivateAndServe() }()
	t.Cleanup(func() { _ = resolver.Shutdown() })
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 3600}})
	// The port to validate is known when the program listens. Until then requests wait.
	var front http.Handler
	knows := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-knows
		front.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	roots, issuer := write("roots.pem", server.Certificate().Raw), write("issuer.pem", authority.GetRootCert(0).DER)

	secret := auth.NewSecret()
	h := deployment{
		listen: `[{name: main, address: "127.0.0.1:0", plaintext: never, allow: [127.0.0.0/8]}]`,
		tls: fmt.Sprintf("{acme: {names: [sessions.example.com], on_demand: true, email: ops@example.com, "+
			"agree_terms: true, directory: %q, ca_roots: %s, storage: DIR/acme}}",
			server.URL+wfe.DirectoryPath, roots),
		tenants: map[string]string{"acme": tenantFile("hosts: [sessions.acme.example]", "shop "+secret)},
	}.serve(t)
	port, err := strconv.Atoi(h.addr[strings.LastIndex(h.addr, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	validation := va.New(quiet, 1, port, false, zone.Addr().String(), store)
	frontend := wfe.New(quiet, store, validation, authority, []string{"pebble.test"}, false, false, 0, 0)
	front = frontend.Handler()
	close(knows)
	for _, host := range []string{"sessions.example.com", "sessions.acme.example"} {
		dsn := fmt.Sprintf("tls://shop:%s@%s:%d/acme?cafile=%s", secret, host, port, issuer)
		dial := client.Options{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.addr)
		}}
		var c *client.Client
		require.Eventually(t, "a certificate for "+host+" was obtained", func() bool {
			c, err = client.Dial(t.Context(), dsn, dial)
			return err == nil
		})
		defer c.Close()
		s, err := c.New(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		id := s.ID()
		if err := s.Put(t.Context(), "a", "b"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if values, err := c.View(t.Context(), id); err != nil || values.Get("a") != "b" {
			t.Errorf("%s: %v, %v", host, values, err)
		}
	}
	if _, err := client.Dial(t.Context(), fmt.Sprintf("tls://shop:%s@localhost:%d/acme?cafile=%s", secret, port,
		issuer), client.Options{}); err == nil {
		t.Error("an unknown name is served")
	}
}
