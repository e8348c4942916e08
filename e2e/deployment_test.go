package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// deployment describes a server that tenants share: with a folder of tenants, and TLS with a local CA on the port that
// serves plaintext too. In all its texts DIR is the folder of its files. The tests named TestSecurity… attack it.
type deployment struct {
	listen   string            // the setting listen; by default one listener for this machine
	storage  string            // the setting storage; by default memory
	tls      string            // the setting tls
	settings string            // further settings, as lines of YAML
	tenants  map[string]string // the files of tenants, by name
}

// instance is a deployment that was written, or that runs.
type instance struct {
	*process
	dir  string
	file string // the configuration
	ca   string // the certificate of the local CA
}

// write writes the files.
func (d deployment) write(t testing.TB) *instance {
	t.Helper()
	if d.listen == "" {
		d.listen = `[{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8]}]`
	}
	if d.storage == "" {
		d.storage = "{driver: memory}"
	}
	if d.tls == "" {
		d.tls = "{local_ca: DIR/ca}"
	}
	if !strings.Contains(d.settings, "session: ") {
		d.settings += "\nsession: {strict: false}\n" // tests choose ids
	}
	dir := t.TempDir()
	h := &instance{dir: dir, file: filepath.Join(dir, "config.yaml"), ca: certs.CAFile(filepath.Join(dir, "ca"))}
	const format = "listen: %s\ntenants: DIR/tenants.d\ntls: %s\nstorage: %s\n%s"
	text := fmt.Sprintf(format, d.listen, d.tls, d.storage, d.settings)
	require.NoError(t, os.WriteFile(h.file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tenants.d"), 0o700))
	for name, text := range d.tenants {
		h.writeTenant(t, name, text)
	}
	return h
}

// serve writes the files and starts a server.
func (d deployment) serve(t testing.TB) *instance {
	t.Helper()
	h := d.write(t)
	h.process = serve(t, "--config", h.file)
	return h
}

// writeTenant replaces the file of a tenant atomically, as editors do.
func (h *instance) writeTenant(t testing.TB, name, text string) {
	t.Helper()
	file := filepath.Join(h.dir, "tenants.d", name+".yaml")
	require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
}

// tenantFile returns the file of a tenant for clients of this machine, with further settings. Each app is given as
// "name secret secret".
func tenantFile(settings string, apps ...string) string {
	var b strings.Builder
	if !strings.Contains(settings, "allow: ") {
		b.WriteString("allow: [127.0.0.0/8]\n")
	}
	fmt.Fprintf(&b, "%s\napps:\n", settings)
	for _, app := range apps {
		words := strings.Fields(app)
		fmt.Fprintf(&b, "  %s:\n    role: readwrite\n    secrets: [", words[0])
		for i, secret := range words[1:] {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q", auth.HashSecret(secret).String())
		}
		b.WriteString("]\n")
	}
	return b.String()
}

// command runs a subcommand on the configuration, which must succeed, and returns its standard output.
func (h *instance) command(t testing.TB, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.Command(binary(), append(args, "--config", h.file)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	return stdout.String()
}

// secretOf returns the secret in a DSN that a subcommand has printed.
func secretOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(dsn))
	require.NoError(t, err)
	secret, _ := u.User.Password()
	if !auth.LooksLikeSecret(secret) {
		t.Fatalf("no secret in %q", dsn)
	}
	return secret
}

// clientTLS returns the TLS configuration of a client that trusts the local CA.
func (h *instance) clientTLS(t *testing.T) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(servertest.ReadFile(t, h.ca))) {
		t.Fatalf("no certificate in %s", h.ca)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"sessionserver"}}
}

// connectTLS connects with TLS.
func (h *instance) connectTLS(t *testing.T) *servertest.Conn {
	t.Helper()
	return servertest.Connect(t, h.addr).TLS(h.clientTLS(t))
}

// connectAs connects and authenticates as an app.
func (h *instance) connectAs(t *testing.T, app, secret string) *servertest.Conn {
	t.Helper()
	c := servertest.Connect(t, h.addr)
	c.OK("auth " + app + " " + secret)
	return c
}

// cycle makes the requests of a web application that creates a session as acme/shop. With a TLS configuration it
// connects with TLS.
func cycle(addr, secret string, cfg *tls.Config) error {
	c, err := servertest.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if cfg != nil {
		secured := tls.Client(c.Conn, cfg)
		if err := secured.Handshake(); err != nil {
			return err
		}
		c = servertest.NewConn(nil, secured)
	}
	for _, line := range []string{"auth acme/shop " + secret, "new", "put a b", "close", "quit"} {
		if _, err := c.Do(line); err != nil {
			return err
		}
	}
	return nil
}
