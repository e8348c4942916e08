package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// everyState returns connections of an app in every state: idle, with a lock, waiting for a lock, within a request, and
// with TLS.
func (h *instance) everyState(t *testing.T, app, secret, lockedByOther string) map[string]*servertest.Conn {
	t.Helper()
	all := map[string]*servertest.Conn{
		"idle": h.connectAs(t, app, secret), "holding a lock": h.connectAs(t, app, secret),
		"waiting for a lock": h.connectAs(t, app, secret),
		"half a request":     h.connectAs(t, app, secret), "TLS": h.connectTLS(t),
		"reading": h.connectAs(t, app, secret),
	}
	all["TLS"].OK("auth " + app + " " + secret)
	all["holding a lock"].OK("open held-by-" + strings.ReplaceAll(app, "/", "-") + "-0000")
	all["holding a lock"].OK("put half written")
	all["reading"].OK("open " + lockedByOther + " s")
	if _, err := fmt.Fprintf(all["half a request"], "*2\r\n$3\r\nput\r\n$100\r\nxyz"); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(all["waiting for a lock"], "open %s rw 60000\r\n", lockedByOther); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "one client waits for the lock", func() bool {
		return strings.Contains(all["idle"].OK("whoami"), " waiters=1 ")
	})
	return all
}

// allClosed waits until the server has closed each connection.
func allClosed(t *testing.T, all map[string]*servertest.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	for state, c := range all {
		wg.Go(func() {
			if rest := c.Rest(); strings.Contains(rest, "ok") {
				t.Errorf("%s: the server still sends %q", state, rest)
			}
		})
	}
	wg.Wait()
}

// TestSecurityRevocation checks that a revocation ends all connections that depend on it, and no others.
func TestSecurityRevocation(t *testing.T) {
	t.Parallel()
	h := deployment{settings: "public_address: tls://localhost:9090\n" + unlimitedGuesses}.serve(t)
	secrets := map[string]string{}
	for _, tenant := range []string{"acme", "beta", "gamma"} {
		h.command(t, "tenant", "create", tenant)
	}
	for _, app := range []string{"acme/shop", "acme/api", "beta/shop", "gamma/shop"} {
		secrets[app] = secretOf(t, h.command(t, "app", "create", app))
	}
	require.Eventually(t, "the last app is known", func() bool {
		_, err := servertest.Connect(t, h.addr).Do("auth gamma/shop " + secrets["gamma/shop"])
		return err == nil
	})
	const locked = "locked-by-the-api-app-0"
	api, gamma := h.connectAs(t, "acme/api", secrets["acme/api"]), h.connectAs(t, "gamma/shop", secrets["gamma/shop"])
	api.OK("open " + locked)
	api.OK("put by api")
	api.OK("close")
	api.OK("open " + locked)
	api.OK("put by api2")
	gamma.OK("open " + locked)

	// Rotation ends no connection. The revocation of the old secret ends those that authenticated with it.
	olds := h.everyState(t, "acme/shop", secrets["acme/shop"], locked)
	next := secretOf(t, h.command(t, "app", "rotate", "acme/shop"))
	require.Eventually(t, "the new secret is known", func() bool {
		_, err := servertest.Connect(t, h.addr).Do("auth acme/shop " + next)
		return err == nil
	})
	both := h.connectAs(t, "acme/shop", secrets["acme/shop"])
	both.OK("auth acme/shop " + next) // with the new secret from now on
	for _, state := range []string{"idle", "holding a lock", "TLS", "reading"} {
		olds[state].OK("whoami")
	}
	if !strings.Contains(api.OK("whoami"), " waiters=1 ") {
		t.Error("rotation has ended a waiting connection")
	}
	h.command(t, "app", "revoke", "acme/shop", "--oldest")
	allClosed(t, olds)
	servertest.Connect(t, h.addr).Refused("auth acme/shop "+secrets["acme/shop"], "BADAUTH")
	both.OK("open held-by-acme-shop-0000 rw 0") // the lock is free
	if keys := both.OK("keys"); keys != "" {
		t.Errorf("an unfinished session was saved: %s", keys)
	}
	both.OK("abort")

	// Revocation of the app.
	news := h.everyState(t, "acme/shop", next, locked)
	news["both"] = both
	h.command(t, "app", "revoke", "acme/shop")
	allClosed(t, news)
	servertest.Connect(t, h.addr).Refused("auth acme/shop "+next, "BADAUTH")
	api.OK("close") // it was connected all the time
	api.OK("open " + locked + " rw 0")
	if got := api.OK("get by"); got != "api2" {
		t.Errorf("the value that the other app saved is %q", got)
	}

	// An invalid file changes nothing for its tenant, and does not delay the revocation of another.
	good, err := os.ReadFile(filepath.Join(h.dir, "tenants.d", "acme.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, broken := range []string{"", "allow: [127.0.0.0/8]\napps: {api: {role: emperor}}\n", "apps: [\n",
		strings.Replace(string(good), "sha256:", "sha256:0", 1), "allow: []\n", "\x00\xff"} {
		h.writeTenant(t, "acme", broken)
		if i == 0 {
			h.command(t, "app", "revoke", "gamma/shop")
			allClosed(t, map[string]*servertest.Conn{"gamma": gamma})
			servertest.Connect(t, h.addr).Refused("auth gamma/shop "+secrets["gamma/shop"], "BADAUTH")
		}
		tries := func() int {
			return len(regexp.MustCompile(`"msg":"(reloaded the rules|not everything was reloaded)`).FindAllString(
				h.log(), -1))
		}
		before := tries()
		if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		require.Eventually(t, "the reload has ended", func() bool { return tries() > before })
		api.OK("whoami")
		api.OK("get by")
		h.connectAs(t, "acme/api", secrets["acme/api"])
		servertest.Connect(t, h.addr).Refused("auth acme/shop "+next, "BADAUTH")
	}
	if log := h.log(); !strings.Contains(log, "acme.yaml") || !strings.Contains(log, "emperor") {
		t.Errorf("the log does not name the mistake:\n%s", log)
	}

	// Deletion of a tenant.
	beta := h.connectAs(t, "beta/shop", secrets["beta/shop"])
	beta.OK("open its-sessions-stay-0")
	beta.OK("put a b")
	beta.OK("close")
	beta.OK("open its-sessions-stay-0")
	everywhere := h.everyState(t, "beta/shop", secrets["beta/shop"], "its-sessions-stay-0")
	everywhere["itself"] = beta
	h.command(t, "tenant", "delete", "beta")
	allClosed(t, everywhere)
	servertest.Connect(t, h.addr).Refused("auth beta/shop "+secrets["beta/shop"], "BADAUTH")
	api.OK("close")
}
