package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

const onLoopback = "admin: {address: \"127.0.0.1:0\"}\n"

// TestReadyDrain checks that a draining server reports so to operators until the last connection has ended.
func TestReadyDrain(t *testing.T) {
	file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n"+onLoopback)
	s := serve(t, "--config", file)
	url := "http://" + s.admin
	require.Eventually(t, "it is ready", func() bool {
		status, _ := servertest.Get(t, http.DefaultClient, url+"/readyz")
		return status == 200
	})
	c := servertest.Connect(t, s.addr)
	c.OK("new") // the drain waits for it
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	require.Eventually(t, "it drains", func() bool {
		status, text := servertest.Get(t, http.DefaultClient, url+"/readyz")
		return status == 503 && text == "draining\n"
	})
	if status, _ := servertest.Get(t, http.DefaultClient, url+"/healthz"); status != 200 {
		t.Errorf("health is %d during the drain", status)
	}
	c.OK("close")
	s.awaitExit()
}

// trusting returns a client that trusts the certificates in a file.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestAdminNetwork checks that beyond the loopback operators need HTTPS, and a token or a certificate for everything
// but health.
func TestAdminNetwork(t *testing.T) {
	dir := t.TempDir()
	servertest.Certificate{Name: "localhost"}.Write(t, dir, "server")
	servertest.Certificate{Name: "operator.example"}.Write(t, dir, "operator")
	servertest.Certificate{Name: "stranger.example"}.Write(t, dir, "stranger")
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("t", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(name string) *http.Client {
		c := trusting(t, filepath.Join(dir, "server.pem"))
		config := c.Transport.(*http.Transport).TLSClientConfig
		if name != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &pair, nil
			}
		}
		return c
	}
	settings := strings.ReplaceAll("admin: {address: \"0.0.0.0:0\", token_file: DIR/token, client_ca: "+
		"DIR/operator.pem, certificate: DIR/server.pem, key: DIR/server.key, profiles: true}\n", "DIR", dir)
	file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n"+settings)
	s := serve(t, "--config", file)
	_, port, _ := net.SplitHostPort(s.admin)
	url := "https://localhost:" + port
	for _, row := range []struct {
		what, certificate, path, token string
		want                           int
	}{
		{"health", "", "/healthz", "", 200}, {"readiness", "", "/readyz", "", 200},
		{"status without credentials", "", "/status", "", 401},
		{"profiles without credentials", "", "/debug/pprof/", "", 401},
		{"wrong token", "", "/status", strings.Repeat("T", 40), 401},
		{"token", "", "/status", strings.Repeat("t", 40), 200}, {"certificate", "operator", "/status", "", 200},
		{"profiles", "operator", "/debug/pprof/heap", "", 200},
	} {
		if status, _ := servertest.Get(t, client(row.certificate), url+row.path, "Authorization",
			"Bearer "+row.token); status != row.want {
			t.Errorf("%s: %d, want %d", row.what, status, row.want)
		}
	}
	if _, text := servertest.Get(t, client("operator"), url+"/metrics"); !strings.Contains(text,
		"\nsessionserver_certificate_expiry_timestamp_seconds{name=\"localhost\",source=\"file\"} ") {
		t.Errorf("no metric of when the operators' certificate expires:\n%s", text)
	}
	if reply, err := client("stranger").Get(url + "/status"); err == nil {
		_ = reply.Body.Close()
		t.Errorf("an untrusted certificate gets %d", reply.StatusCode)
	}
	if reply, err := http.Get("http://localhost:" + port + "/healthz"); err == nil {
		_ = reply.Body.Close()
		if reply.StatusCode != http.StatusBadRequest {
			t.Errorf("plaintext gets %d", reply.StatusCode)
		}
	}

	// SIGHUP reads the token again. An invalid token changes nothing.
	asked := func(token string) bool {
		status, _ := servertest.Get(t, client(""), url+"/status", "Authorization", "Bearer "+token)
		return status == 200
	}
	if err := os.WriteFile(token, []byte(strings.Repeat("n", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	require.Eventually(t, "the new token is taken", func() bool { return asked(strings.Repeat("n", 40)) })
	if asked(strings.Repeat("t", 40)) {
		t.Error("the old token is still accepted")
	}
	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	require.Eventually(t, "the failure is logged", func() bool {
		return strings.Contains(s.log(), `"what":"admin_token"`)
	})
	if !asked(strings.Repeat("n", 40)) || asked("short") {
		t.Error("an invalid token was applied")
	}
}

// TestReadyAudit checks that the status shows why the audit log cannot be written. The server is not ready if it
// refuses operations without the log.
func TestReadyAudit(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no /dev/full")
	}
	for onFailure, ready := range map[string]int{"refuse": 503, "continue": 200} {
		secret := auth.NewSecret()
		h := deployment{
			settings: onLoopback + "audit: {output: DIR/audit.log, on_failure: " + onFailure + "}\n",
			tenants:  map[string]string{"acme": tenantFile("", "shop "+secret)},
		}.serve(t)
		url := "http://" + h.admin
		turn := func(do func() error) {
			t.Helper()
			if err := errors.Join(do(), h.cmd.Process.Signal(syscall.SIGHUP)); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(h.dir, "audit.log")
		turn(func() error { return errors.Join(os.Remove(path), os.Symlink(full, path)) })
		require.Eventually(t, onFailure+": the status shows the failure", func() bool {
			_, text := servertest.Get(t, http.DefaultClient, url+"/status")
			return strings.Contains(text, "the log cannot be written: ")
		})
		if status, text := servertest.Get(t, http.DefaultClient, url+"/readyz"); status != ready || ready == 503 &&
			!strings.HasPrefix(text, "the audit log cannot be written, ") {
			t.Errorf("%s: %d %s", onFailure, status, text)
		}
		turn(func() error { return os.Remove(path) })
		require.Eventually(t, onFailure+": the server has recovered", func() bool {
			status, _ := servertest.Get(t, http.DefaultClient, url+"/readyz")
			_, text := servertest.Get(t, http.DefaultClient, url+"/status")
			return status == 200 && !strings.Contains(text, "cannot be written")
		})
	}
}
