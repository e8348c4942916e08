package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// traffic is a server with clients that cause every event that dashboards and alerts are about.
type traffic struct {
	*instance
	tls      *tls.Config
	secrets  map[string]string // by app
	refusals sync.Map          // the codes of all refusals
}

// newTraffic serves two tenants: acme with quotas, and globex with a rate for its apps.
func newTraffic(t *testing.T) *traffic {
	t.Helper()
	secrets := map[string]string{}
	for _, app := range []string{"acme/shop", "acme/report", "globex/web"} {
		secrets[app] = auth.NewSecret()
	}
	report := "  report:\n    role: readonly\n    secrets: [\"" + auth.HashSecret(secrets["acme/report"]).String() +
		"\"]\n"
	const quotas = "quotas: {sessions: 12, bytes: 1MiB, connections: 50, waiters: 10, memory: 8MiB}\n" +
		"session: {lifetime: 1s, lock_lease: 1s}"
	h := deployment{
		listen: `
  - {name: public, address: "127.0.0.1:0", allow: [127.0.0.0/8]}
  - {name: local, address: "unix:DIR/socket", anonymous: acme/shop}`,
		storage: "{driver: log, path: DIR/sessions, sync: always, sweep_interval: 100ms}",
		settings: `admin: {address: "127.0.0.1:0"}
policy: {folder: DIR/policies}
audit: {output: DIR/audit.log}
rates: {session_creation: {per_second: 1000, burst: 10000}}
`,
		tenants: map[string]string{
			"acme": tenantFile(quotas, "shop "+secrets["acme/shop"]) + report,
			"globex": tenantFile("rates: {app: {per_second: 400, burst: 60}}",
				"web "+secrets["globex/web"]),
		},
	}.write(t)
	l := &traffic{instance: h, secrets: secrets}
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "policies"), 0o700))
	l.writePolicies(t, 0)
	l.process = serve(t, "--config", l.file)
	l.tls = l.clientTLS(t)
	return l
}

// writePolicies writes the shipped policy with a new comment.
func (l *traffic) writePolicies(t testing.TB, n int) {
	text, err := os.ReadFile("../configs/policies/default.rego")
	if err == nil {
		text = fmt.Appendf(text, "\n# Change %d.\n", n)
		err = os.WriteFile(filepath.Join(l.dir, "policies", "default.rego"), text, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// dial connects from an address of this machine, with TLS unless the version is 0.
func (l *traffic) dial(from string, version uint16) (*servertest.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: require.Patience}
	nc, err := d.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(require.Patience))
	if version != 0 {
		cfg := l.tls.Clone()
		cfg.MaxVersion = version
		secured := tls.Client(nc, cfg)
		if err := secured.Handshake(); err != nil {
			_ = nc.Close()
			return nil, err
		}
		nc = secured
	}
	return servertest.NewConn(nil, nc), nil
}

var refusal = regexp.MustCompile(`: err ([A-Z]+) `)

// send sends lines one after the other, and records the codes of refusals, which are part of the traffic.
func (l *traffic) send(c *servertest.Conn, lines ...string) {
	for _, line := range lines {
		if _, err := c.Do(line); err != nil {
			if m := refusal.FindStringSubmatch(err.Error()); m != nil {
				l.refusals.Store(m[1], true)
			}
		}
	}
}

// connected runs a function with a client that is authenticated as an app.
func (l *traffic) connected(app string, version uint16, f func(c *servertest.Conn)) {
	c, err := l.dial("127.0.0.1", version)
	if err != nil {
		l.t.Error(err)
		return
	}
	defer c.Close()
	l.send(c, "auth "+app+" "+l.secrets[app])
	f(c)
	l.send(c, "quit")
}

// round causes every event once.
func (l *traffic) round(n int) {
	id := fmt.Sprintf("a-session-of-the-load-%06d", n)
	for version, app := range map[uint16]string{tls.VersionTLS12: "acme/shop", tls.VersionTLS13: "globex/web"} {
		l.connected(app, version, func(c *servertest.Conn) {
			l.send(c, "new", "put a b", "get a", "get nothing", "close",
				"open "+id, "put a b", "close", "open "+id, "put a c", "close", "open "+id+" r", "get_all", "close",
				"open "+id, "regenerate_id", "close", "open "+id, "destroy")
		})
	}
	l.waitForLock(id + "-lock")
	l.refuse(id)
	if n%10 == 5 {
		l.writePolicies(l.t, n)
		l.touchTenant(n)
		_ = l.cmd.Process.Signal(syscall.SIGHUP)
	}
	if n%20 == 0 { // a lock is lost when its lease has expired and another client waits
		l.connected("acme/shop", 0, func(holder *servertest.Conn) {
			l.send(holder, "open "+id+"-lost")
			l.connected("acme/shop", 0, func(c *servertest.Conn) { l.send(c, "open "+id+"-lost rw 5000", "abort") })
			l.send(holder, "put a b")
		})
	}
}

// waitForLock lets a client hold a lock, a second one time out waiting for it, and a third one get it.
func (l *traffic) waitForLock(id string) {
	l.connected("acme/shop", 0, func(holder *servertest.Conn) {
		l.send(holder, "open "+id)
		l.connected("acme/shop", 0, func(c *servertest.Conn) { l.send(c, "open "+id+" rw 5") })
		l.connected("acme/shop", 0, func(c *servertest.Conn) {
			if _, err := fmt.Fprintf(c, "open %s\r\n", id); err != nil {
				return
			}
			l.send(holder, "put a "+strings.Repeat("x", 100<<10), "close")
			_, _ = c.In.ReadString('\n')
			l.send(c, "abort")
		})
	})
}

// refuse exceeds quotas, rates and rights, fails to authenticate, breaks off a TLS handshake, and uses the socket.
func (l *traffic) refuse(id string) {
	l.connected("acme/shop", 0, func(c *servertest.Conn) {
		for range 4 {
			l.send(c, "new", "put a b", "close", "abort")
		}
	})
	l.connected("globex/web", 0, func(c *servertest.Conn) {
		for range 80 {
			l.send(c, "whoami")
		}
	})
	l.connected("acme/report", 0, func(c *servertest.Conn) {
		l.send(c, "open "+id+" r", "close", "open "+id+" rw", "new")
	})
	for _, line := range []string{"new", "auth acme/shop " + auth.NewSecret(), "nonsense"} {
		if c, err := l.dial("127.0.0.66", 0); err == nil {
			l.send(c, line)
			_ = c.Close()
		}
	}
	if c, err := l.dial("127.0.0.1", 0); err == nil {
		_, _ = io.WriteString(c, "\x16\x03\x01\x00\x05hello")
		_, _ = c.In.ReadByte()
		_ = c.Close()
	}
	if nc, err := net.Dial("unix", filepath.Join(l.dir, "socket")); err == nil {
		c := servertest.NewConn(nil, nc)
		l.send(c, "whoami", "quit")
		_ = c.Close()
	}
}

// touchTenant changes a comment in the file of a tenant.
func (l *traffic) touchTenant(n int) {
	file := filepath.Join(l.dir, "tenants.d", "globex.yaml")
	text, err := os.ReadFile(file)
	if err == nil {
		settings, _, _ := strings.Cut(string(text), "# ")
		err = os.WriteFile(file+".new", fmt.Appendf(nil, "%s# Change %d.\n", settings, n), 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		l.t.Error(err)
	}
}
