package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// auditLine is a line of an audit log or a decision log.
type auditLine struct {
	Seq                                                                     uint64
	Event, Tenant, App, Address, Listener, Session, Command, Reason, Detail string
	Connection                                                              uint64
	Count                                                                   int64
	Decision                                                                string
}

func (l auditLine) String() string {
	return fmt.Sprintf("%s %s/%s %s %s %s %d", l.Event, l.Tenant, l.App, l.Command, l.Reason, l.Detail, l.Count)
}

// auditLines reads a log. It returns no lines if there is no file.
func auditLines(t testing.TB, path string) (all []auditLine) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l auditLine
		if !strings.HasSuffix(line, "\n") { // it is being written
			break
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, l)
	}
	return all
}

// pointTo replaces a symbolic link atomically.
func pointTo(t *testing.T, link, to string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

// TestAuditEverything causes all events of the audit log and looks for them. An event that it does not cause needs a
// reason.
func TestAuditEverything(t *testing.T) {
	t.Parallel()
	without := map[audit.Code]string{
		audit.CertificateRemoved: "certificates are removed with the hosts of tenants, which ACME alone has",
	}
	secret := map[string]string{}
	for _, app := range []string{"shop", "api", "next"} {
		secret[app] = auth.NewSecret()
	}
	acme := func(more string) string {
		return tenantFile("session: {lock_lease: 1s}\n"+more, "shop "+secret["shop"])
	}
	readonly := func(secret string) string {
		return fmt.Sprintf("  api:\n    role: readonly\n    secrets: [%q]\n", auth.HashSecret(secret).String())
	}
	h := deployment{
		storage: "{driver: log, path: DIR/state, sweep_interval: 20ms}",
		tls:     "{local_ca: DIR/ca, certificates: [{cert: DIR/one.pem, key: DIR/one.key}]}",
		settings: "policy: {folder: DIR/policy}\n" +
			"audit: {output: DIR/log/audit.log, sync: true, decisions: {output: DIR/log/decisions.log, sample: 1, " +
			"keys: clear}}\n",
		tenants: map[string]string{
			"acme":    acme("") + readonly(secret["api"]),
			"limited": tenantFile("rates: {app: {per_second: 0.001, burst: 8}}", "shop "+secret["shop"]),
			"small":   tenantFile("quotas: {sessions: 1}", "shop "+secret["shop"]),
		},
	}.write(t)
	path := func(name string) string { return filepath.Join(h.dir, name) }
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path(name)+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path(name)+".new", path(name)); err != nil {
			t.Fatal(err)
		}
	}
	servertest.Certificate{Name: "one.example"}.Write(t, h.dir, "one") // valid for an hour
	for _, folder := range []string{"log", "policy"} {
		if err := os.Mkdir(path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rego, err := fs.ReadFile(configs.DefaultPolicy(), "default.rego")
	if err != nil {
		t.Fatal(err)
	}
	write("policy/default.rego", rego)
	write("policy/failing.rego", []byte("package sessionserver.authz\n\n"+
		"allow := false if input.key == \"fails\"\n")) // a contradiction of other rules
	pointTo(t, path("log/audit.log"), path("log/good"))
	h.process = serve(t, "--config", h.file)

	events := func() []auditLine { return auditLines(t, path("log/good")) }
	// has waits for an event.
	has := func(c audit.Code, tenant, app, reason string) (found auditLine) {
		t.Helper()
		require.Eventually(t, fmt.Sprintf("there is a %s of %s/%s with reason %q", c, tenant, app, reason),
			func() bool {
				for _, l := range events() {
					if l.Event == c.String() && l.Tenant == tenant && l.App == app && l.Reason == reason {
						found = l
						return true
					}
				}
				return false
			})
		return found
	}
	reload := func() { _ = h.cmd.Process.Signal(syscall.SIGHUP) }

	// Events of clients.
	has(audit.ServerStarted, "", "", "")
	has(audit.CertificateRenewed, "", "", "loaded")
	has(audit.CertificateExpiring, "", "", "")
	a, b := h.connectAs(t, "acme/shop", secret["shop"]), h.connectAs(t, "acme/shop", secret["shop"])
	has(audit.ConnectionAuthenticated, "acme", "shop", "secret")
	unauthenticated := servertest.Connect(t, h.addr)
	unauthenticated.Refused("auth acme/shop "+auth.NewSecret(), "BADAUTH")
	if l := has(audit.AuthFailed, "acme", "shop", "secret"); l.Address != "127.0.0.1" || l.Listener != "main" ||
		l.Connection == 0 || l.Command != "auth" {
		t.Errorf("got %+v", l)
	}
	unauthenticated.Refused("auth "+auth.NewSecret()+" x", "BADAUTH")
	has(audit.AuthFailed, "", "", "secret") // an invalid name is not recorded
	_, _ = io.WriteString(servertest.Connect(t, h.addr), "\x16\x03\x01 this is not TLS, whatever it is")
	has(audit.ConnectionRefused, "", "", "handshake_failed")

	const id, short = "the-session-that-all-want", "the-session-that-is-short"
	a.OK("open " + id)
	a.OK("put user.name 4711")
	a.OK("close")
	hash := has(audit.SessionCreated, "acme", "shop", "").Session
	require.Eventually(t, "the lock is held within its lease", func() bool {
		a.OK("open " + id)
		_, err := b.Do("open " + id + " rw 0")
		if err == nil { // the lease had expired
			b.OK("abort")
			_, _ = a.Do("abort")
			return false
		}
		if !strings.Contains(err.Error(), ": err LOCKTIMEOUT ") {
			t.Fatal(err)
		}
		return true
	})
	has(audit.SessionLockTimeout, "acme", "shop", "")
	b.OK("open " + id + " rw 10000") // the lease is a second
	a.Refused("put a b", "LOCKLOST")
	if l := has(audit.SessionLockLost, "acme", "shop", ""); l.Session != hash || hash == "" {
		t.Errorf("got %+v of session %s", l, hash)
	}
	b.OK("regenerate_id")
	has(audit.SessionRegenerated, "acme", "shop", "")
	b.OK("destroy")
	has(audit.SessionDestroyed, "acme", "shop", "")
	b.OK("open " + short)
	b.OK("put a b")
	b.OK("lifetime 1")
	b.OK("close")
	has(audit.SessionExpired, "acme", "", "")
	api := h.connectAs(t, "acme/api", secret["api"])
	api.Refused("new", "DENIED")
	if l := has(audit.OperationDenied, "acme", "api", "policy"); l.Detail != "this app may only read" {
		t.Errorf("got %+v", l)
	}
	undecided := h.connectAs(t, "acme/shop", secret["shop"])
	undecided.OK("new")
	undecided.Refused("get fails", "UNAVAILABLE")
	has(audit.OperationUndecided, "acme", "shop", "failed")
	limited := h.connectAs(t, "limited/shop", secret["shop"])
	for range 4 {
		_, _ = limited.Do("open not-there-at-all-0000 u")
	}
	has(audit.OperationRateLimited, "limited", "shop", "app")
	small := h.connectAs(t, "small/shop", secret["shop"])
	for _, line := range []string{"new", "put a b", "close", "new", "put a b"} {
		small.OK(line)
	}
	small.Refused("close", "QUOTA")
	has(audit.OperationQuota, "small", "shop", "sessions")

	// Events of operators.
	h.writeTenant(t, "acme", acme("quotas: {sessions: 100}")+readonly(secret["next"]))
	has(audit.TenantChanged, "acme", "", "changed")
	has(audit.AppChanged, "acme", "api", "changed")
	api.Rest()
	has(audit.ConnectionRevoked, "acme", "api", "")
	h.writeTenant(t, "acme", acme(""))
	has(audit.AppRemoved, "acme", "api", "")
	h.writeTenant(t, "small", tenantFile("quotas: {sessions: 1}\npolicy: {plan: large}", "shop "+secret["shop"]))
	has(audit.TenantChanged, "small", "", "changed")
	h.writeTenant(t, "beta", tenantFile("", "shop "+secret["shop"]))
	has(audit.TenantChanged, "beta", "", "added")
	has(audit.AppChanged, "beta", "shop", "added")
	h.writeTenant(t, "beta", "apps: nonsense\n")
	has(audit.TenantFailed, "beta", "", "")
	if err := os.Remove(path("tenants.d/beta.yaml")); err != nil {
		t.Fatal(err)
	}
	has(audit.TenantRemoved, "beta", "", "")
	if err := os.Rename(path("tenants.d/small.yaml"), path("tenants.d/small.drop")); err != nil {
		t.Fatal(err)
	}
	if l := has(audit.TenantDropped, "small", "", ""); l.Count != 1 {
		t.Errorf("got %+v", l)
	}
	more := []byte("package sessionserver.authz\n\ndeny contains \"not now\" if input.command == \"expire\"\n")
	write("policy/more.rego", more)
	has(audit.PolicyChanged, "", "", "")
	write("policy/more.rego", []byte("package sessionserver.authz\n\nthis is no rego\n"))
	has(audit.PolicyFailed, "", "", "")
	write("policy/more.rego", more) // the same policy as before
	require.Eventually(t, "the policies are valid again", func() bool {
		return strings.Contains(h.log(), `"msg":"reloading works again","what":"policy"`)
	})
	servertest.Certificate{Name: "two.example"}.Write(t, h.dir, "one")
	reload()
	has(audit.ServerReloaded, "", "", "ok")
	has(audit.CertificateRenewed, "", "", "renewed")
	write("one.pem", []byte("nothing"))
	reload()
	has(audit.CertificateFailed, "", "", "")
	text := []byte(servertest.ReadFile(t, h.file))
	write("config.yaml", append([]byte("nonsense: 1\n"), text...))
	reload()
	has(audit.ServerReloaded, "", "", "failed")
	write("config.yaml", text)

	// The disk is full for a while.
	if _, err := os.Stat("/dev/full"); err == nil {
		a.OK("new")
		pointTo(t, path("log/audit.log"), "/dev/full")
		reload()
		require.Eventually(t, "the log fails", func() bool {
			_, err := b.Do("new")
			if err == nil {
				b.OK("abort")
			}
			return err != nil && strings.Contains(err.Error(), "err UNAVAILABLE the audit log")
		})
		a.Refused("close", "UNAVAILABLE")
		a.OK("abort")
		pointTo(t, path("log/audit.log"), path("log/good"))
		reload()
		has(audit.AuditLost, "", "", "")
		require.Eventually(t, "the log recovers", func() bool { _, err := a.Do("new"); return err == nil })
		a.OK("abort")
	} else {
		without[audit.AuditLost] = "this system has no /dev/full"
	}
	h.stop()
	has(audit.ServerStopped, "", "", "requested")

	found := map[string]bool{}
	changes := 0
	for _, l := range events() {
		found[l.Event] = true
		if l.Event == audit.PolicyChanged.String() {
			changes++
		}
	}
	if changes != 1 {
		t.Errorf("the policies have changed %d times", changes)
	}
	decisions := auditLines(t, path("log/decisions.log"))
	decided := map[string]bool{}
	for _, l := range decisions {
		found[l.Event] = true
		decided[l.Decision] = true
	}
	if !decided["allow"] || !decided["deny"] {
		t.Errorf("the decisions are %v", decided)
	}
	for _, c := range audit.Codes() {
		if excuse := without[c]; found[c.String()] == (excuse != "") {
			t.Errorf("%s: found %v, excused by %q", c, found[c.String()], excuse)
		}
	}
	if t.Failed() {
		for _, l := range events() {
			t.Log(l)
		}
		t.Log(h.log())
	}
}

// TestAuditRequired checks that a server does not start without its audit log, unless the configuration allows that.
func TestAuditRequired(t *testing.T) {
	file, state := servertest.WriteConfig(t, "storage: {driver: memory}\naudit: {output: STATE/none/audit.log}\n")
	_, stderr, status := newCLI(t, "").Run("", "serve", "--config", file)
	if status == 0 || !strings.Contains(stderr, `,"level":"ERROR","msg":"the server has ended with an `+
		`error","err":"cannot open the audit log`) ||
		!strings.Contains(stderr, filepath.Join(state, "none", "audit.log")) {
		t.Errorf("status %d: %s", status, stderr)
	}
	file, _ = servertest.WriteConfig(t, "storage: {driver: memory}\n"+
		"audit: {output: STATE/none/audit.log, on_failure: continue}\n")
	c := servertest.Connect(t, serve(t, "--config", file).addr)
	c.OK("new")
	c.OK("close")
}
