package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/auth"
	"sessionserver/certs"
	"sessionserver/server/servertest"
)

// house is a server that strangers share, run as users run it: with a folder of tenants, and TLS with a local CA on the port that serves
// plaintext too. The tests named TestSecurity… attack it from outside.
type house struct {
	listen  string            // the listeners as YAML; "" is one for this machine
	storage string            // the same for storage; "" is memory
	tls     string            // further settings of tls
	more    string            // further settings
	tenants map[string]string // the files
}

// hosted is a house that runs.
type hosted struct {
	*child
	dir  string // DIR in the settings
	file string // the configuration
	ca   string // the file of the local CA
}

// build writes a house's files, in which DIR is the folder of them all.
func (h house) build(t testing.TB) *hosted {
	t.Helper()
	if h.listen == "" {
		h.listen = `[{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8]}]`
	}
	if h.storage == "" {
		h.storage = "{driver: memory}"
	}
	if h.tls == "" {
		h.tls = "{local_ca: DIR/ca}"
	}
	dir := t.TempDir()
	b := &hosted{dir: dir, file: filepath.Join(dir, "config.yaml"), ca: certs.CAFile(filepath.Join(dir, "ca"))}
	if !strings.Contains(h.more, "session: ") {
		h.more += "\nsession: {strict: false}\n" // tests choose ids
	}
	text := fmt.Sprintf("listen: %s\ntenants: DIR/tenants.d\ntls: %s\nstorage: %s\n%s", h.listen, h.tls, h.storage, h.more)
	if err := os.WriteFile(b.file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tenants.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range h.tenants {
		b.tenant(t, name, text)
	}
	return b
}

// serve runs the house.
func (h house) serve(t testing.TB) *hosted {
	t.Helper()
	b := h.build(t)
	b.child = serve(t, "--config", b.file)
	return b
}

// tenant writes the file of a tenant as an editor does: it is never there by half.
func (h *hosted) tenant(t testing.TB, name, text string) {
	t.Helper()
	file := filepath.Join(h.dir, "tenants.d", name+".yaml")
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// tenantFile is the text of a tenant for this machine with apps, each written "name secret secret", and further settings.
func tenantFile(more string, apps ...string) string {
	var b strings.Builder
	if !strings.Contains(more, "allow: ") {
		b.WriteString("allow: [127.0.0.0/8]\n")
	}
	fmt.Fprintf(&b, "%s\napps:\n", more)
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

// trust is how a client connects to the house by TLS.
func (h *hosted) trust(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(h.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", h.ca)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"sessionserver"}}
}

// secure connects by TLS.
func (h *hosted) secure(t *testing.T) *servertest.Conn {
	t.Helper()
	c := servertest.Connect(t, h.addr)
	secured := tls.Client(c.Conn, h.trust(t))
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	return servertest.NewConn(t, secured)
}

// as connects and authenticates as an app.
func (h *hosted) as(t *testing.T, app, secret string) *servertest.Conn {
	t.Helper()
	c := servertest.Connect(t, h.addr)
	c.OK("auth " + app + " " + secret)
	return c
}

// cycle is what a web request does: connect, authenticate, and change a session of its own.
func cycle(addr string, trust *tls.Config, secret string, secured bool) error {
	c, err := servertest.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if secured {
		s := tls.Client(c.Conn, trust)
		if err := s.Handshake(); err != nil {
			return err
		}
		c = servertest.NewConn(nil, s)
	}
	for _, line := range []string{"auth acme/shop " + secret, "new", "put a b", "close", "quit"} {
		if _, err := c.Do(line); err != nil {
			return err
		}
	}
	return nil
}
