package e2e

import (
	"strings"
	"testing"

	"sessionserver/auth"
	"sessionserver/server/servertest"
)

// TestDSNCheckWithoutCertificate checks that dsn check names the likely cause if the server has no certificate for the
// name.
func TestDSNCheckWithoutCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servertest.Certificate{Name: "other.example"}.Write(t, dir, "other")
	for name, row := range map[string]struct{ tls, host, want string }{
		// A client that asks for an address gets the first certificate of ACME.
		"ACME": {`{acme: {names: [sessions.example], agree_terms: true, directory: "https://127.0.0.1:1/",
  storage: DIR/acme}}`,
			"127.0.0.1", "The server has no certificate for 127.0.0.1 at this moment, most likely. With ACME"},
		"files": {"{certificates: [{cert: " + dir + "/other.pem, key: " + dir + "/other.key}]}",
			"localhost", "The server has no certificate for localhost: use a name"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := auth.NewSecret()
			h := deployment{tls: row.tls, tenants: map[string]string{"acme": tenantFile("", "shop "+secret)}}.serve(t)
			defer h.stop()
			address := strings.Replace(h.addr, "127.0.0.1", row.host, 1)
			_, stderr, status := newCLI(t, "").Run("tls://shop:"+secret+"@"+address+"/acme", "dsn", "check", "-")
			if status != 1 || !strings.Contains(stderr, row.want) {
				t.Errorf("status %d\n%s", status, stderr)
			}
			if strings.Contains(stderr, "client_certificates") {
				t.Errorf("the output names client certificates:\n%s", stderr)
			}
		})
	}
}
