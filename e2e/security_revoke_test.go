package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// operator runs a subcommand on the house's configuration and returns what it printed.
func (h *hosted) operator(t testing.TB, args ...string) string {
	t.Helper()
	var out, err strings.Builder
	cmd := exec.Command(binary(), append(args, "--config", h.file)...)
	cmd.Stdout, cmd.Stderr = &out, &err
	if failed := cmd.Run(); failed != nil {
		t.Fatalf("%v: %v\n%s", args, failed, err.String())
	}
	return out.String()
}

// secretOf is the secret in a DSN that a subcommand has printed.
func secretOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	if !auth.LooksLikeSecret(secret) {
		t.Fatalf("there is no secret in %q", dsn)
	}
	return secret
}

// everyState are connections in every state that one can be in, all of an app: idle, with a lock, waiting for one, in half a request, and by TLS.
func (h *hosted) everyState(t *testing.T, app, secret, lockedByOther string) map[string]*servertest.Conn {
	t.Helper()
	all := map[string]*servertest.Conn{
		"idle": h.as(t, app, secret), "holding a lock": h.as(t, app, secret), "waiting for a lock": h.as(t, app, secret),
		"half a request": h.as(t, app, secret), "TLS": h.secure(t), "reading": h.as(t, app, secret),
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
	require.Eventually(t, "nobody waits for the lock", func() bool {
		return strings.Contains(all["idle"].OK("whoami"), " waiters=1 ")
	})
	return all
}

// ended wants each of the connections to end.
func ended(t *testing.T, all map[string]*servertest.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	for state, c := range all {
		wg.Go(func() {
			if said := c.Rest(); strings.Contains(said, "ok") {
				t.Errorf("%s: it still says %q", state, said)
			}
		})
	}
	wg.Wait()
}

// TestSecurityRevocation: what an operator takes away ends whatever uses it, and nothing else.
func TestSecurityRevocation(t *testing.T) {
	t.Parallel()
	h := house{more: "public_address: tls://localhost:9090\n" + unlimitedGuesses}.serve(t)
	secrets := map[string]string{}
	for _, tenant := range []string{"acme", "beta", "gamma"} {
		h.operator(t, "tenant", "create", tenant)
	}
	for _, app := range []string{"acme/shop", "acme/api", "beta/shop", "gamma/shop"} {
		secrets[app] = secretOf(t, h.operator(t, "app", "create", app))
	}
	require.Eventually(t, "the last app is not known", func() bool {
		_, err := servertest.Connect(t, h.addr).Do("auth gamma/shop " + secrets["gamma/shop"])
		return err == nil
	})
	const locked = "locked-by-the-api-app-0"
	api, gamma := h.as(t, "acme/api", secrets["acme/api"]), h.as(t, "gamma/shop", secrets["gamma/shop"])
	api.OK("open " + locked)
	api.OK("put by api")
	api.OK("close")
	api.OK("open " + locked)
	api.OK("put by api2")
	gamma.OK("open " + locked)

	// Rotation drops nothing. The old secret's connections end with it, the new one's do not.
	olds := h.everyState(t, "acme/shop", secrets["acme/shop"], locked)
	next := secretOf(t, h.operator(t, "app", "rotate", "acme/shop"))
	require.Eventually(t, "the new secret is not known", func() bool {
		_, err := servertest.Connect(t, h.addr).Do("auth acme/shop " + next)
		return err == nil
	})
	both := h.as(t, "acme/shop", secrets["acme/shop"])
	both.OK("auth acme/shop " + next) // it uses the new one from now on
	for _, state := range []string{"idle", "holding a lock", "TLS", "reading"} {
		olds[state].OK("whoami")
	}
	if !strings.Contains(api.OK("whoami"), " waiters=1 ") {
		t.Error("rotation has ended a wait")
	}
	h.operator(t, "app", "revoke", "acme/shop", "--oldest")
	ended(t, olds)
	servertest.Connect(t, h.addr).Refused("auth acme/shop "+secrets["acme/shop"], "BADAUTH")
	both.OK("open held-by-acme-shop-0000 rw 0") // its lock is free
	if keys := both.OK("keys"); keys != "" {
		t.Errorf("half a session was saved: %s", keys)
	}
	both.OK("abort")

	// The whole app.
	news := h.everyState(t, "acme/shop", next, locked)
	news["both"] = both
	h.operator(t, "app", "revoke", "acme/shop")
	ended(t, news)
	servertest.Connect(t, h.addr).Refused("auth acme/shop "+next, "BADAUTH")
	api.OK("close") // it was there all the time
	api.OK("open " + locked + " rw 0")
	if got := api.OK("get by"); got != "api2" {
		t.Errorf("what the other app saved is %q", got)
	}

	// A broken file changes nothing for its tenant, and holds up nobody else's revocation.
	good, err := os.ReadFile(filepath.Join(h.dir, "tenants.d", "acme.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, broken := range []string{"", "allow: [127.0.0.0/8]\napps: {api: {role: emperor}}\n", "apps: [\n", strings.Replace(string(good), "sha256:", "sha256:0", 1), "allow: []\n", "\x00\xff"} {
		h.tenant(t, "acme", broken)
		if i == 0 {
			h.operator(t, "app", "revoke", "gamma/shop")
			ended(t, map[string]*servertest.Conn{"gamma": gamma})
			servertest.Connect(t, h.addr).Refused("auth gamma/shop "+secrets["gamma/shop"], "BADAUTH")
		}
		tries := func() int {
			return len(regexp.MustCompile(`"msg":"(reloaded the rules|not everything was reloaded)`).FindAllString(h.logged(), -1))
		}
		before := tries()
		if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		require.Eventually(t, "SIGHUP is not answered", func() bool { return tries() > before })
		api.OK("whoami")
		api.OK("get by")
		h.as(t, "acme/api", secrets["acme/api"])
		servertest.Connect(t, h.addr).Refused("auth acme/shop "+next, "BADAUTH")
	}
	if told := h.logged(); !strings.Contains(told, "acme.yaml") || !strings.Contains(told, "emperor") {
		t.Errorf("the log does not say what is wrong:\n%s", told)
	}

	// A tenant that is gone.
	beta := h.as(t, "beta/shop", secrets["beta/shop"])
	beta.OK("open its-sessions-stay-0")
	beta.OK("put a b")
	beta.OK("close")
	beta.OK("open its-sessions-stay-0")
	everywhere := h.everyState(t, "beta/shop", secrets["beta/shop"], "its-sessions-stay-0")
	everywhere["itself"] = beta
	h.operator(t, "tenant", "delete", "beta")
	ended(t, everywhere)
	servertest.Connect(t, h.addr).Refused("auth beta/shop "+secrets["beta/shop"], "BADAUTH")
	api.OK("close")
}
