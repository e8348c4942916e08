package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sessionserver/client"
	"sessionserver/configs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestCommandsAtOnce checks that of several processes that change one file none undoes the change of another.
func TestCommandsAtOnce(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	const count = 12
	var all []*exec.Cmd
	for i := range count {
		cmd := exec.Command(binary(), "app", "create", fmt.Sprintf("acme/app-%d", i), "--config", c.Config)
		cmd.Stderr = new(bytes.Buffer)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, cmd.Stderr)
		}
	}
	cfg := configs.Default()
	tenant, err := configs.LoadTenant(c.File("acme.yaml"), &cfg)
	if err != nil || len(tenant.Apps) != count {
		t.Fatalf("%v\n%s", err, c.Read("acme.yaml"))
	}
	if out, stderr, status := c.Run("", "check", c.Config); status != 0 {
		t.Errorf("check: status %d\n%s%s", status, out, stderr)
	}
}

// TestTenantsServed checks that a running server applies what commands do to its tenants.
func TestTenantsServed(t *testing.T) {
	c := newCLI(t, "")
	c.Do("tenant", "create", "acme")
	s := serve(t, "--config", c.Config)
	address := "tcp://" + s.addr
	secretOf := func(dsn string) string {
		_, rest, _ := strings.Cut(dsn, ":hss_")
		secret, _, _ := strings.Cut(rest, "@")
		return "hss_" + secret
	}
	first := secretOf(c.Do("app", "create", "acme/shop", "--address", address))
	login := func(secret string) (*servertest.Conn, error) {
		conn := servertest.Connect(t, s.addr)
		_, err := conn.Do("auth acme/shop " + secret)
		return conn, err
	}
	var old *servertest.Conn
	require.Eventually(t, "the app is served", func() (ok bool) {
		var err error
		old, err = login(first)
		return err == nil
	})
	id := old.OK("new")
	old.OK("put a b")
	old.OK("close")

	second := secretOf(c.Do("app", "rotate", "acme/shop", "--address", address))
	var fresh *servertest.Conn
	require.Eventually(t, "the new secret is served", func() (ok bool) {
		var err error
		fresh, err = login(second)
		return err == nil
	})
	old.OK("ping") // rotation ends no connection
	c.Do("app", "revoke", "acme/shop", "--oldest")
	for { // the server may send a last line
		if _, err := old.In.ReadString('\n'); err != nil {
			break
		}
	}
	fresh.OK("open " + id + " r")
	fresh.OK("abort")

	c.Do("tenant", "delete", "acme", "--drop-sessions")
	require.Eventually(t, "the sessions are dropped", func() bool {
		_, err := os.Lstat(c.File("acme.drop"))
		return os.IsNotExist(err)
	})
	c.Do("tenant", "create", "acme")
	third := secretOf(c.Do("app", "create", "acme/shop", "--address", address))
	require.Eventually(t, "the tenant is served again", func() (ok bool) {
		var err error
		fresh, err = login(third)
		return err == nil
	})
	if _, err := fresh.Do("open " + id + " r"); err == nil || !strings.Contains(err.Error(), "NOTFOUND") {
		t.Errorf("a dropped session: %v", err)
	}
	for _, secret := range []string{first, second, third} {
		if strings.Contains(s.log()+s.stdout(), secret) {
			t.Error("a secret was logged")
		}
		c.HoldsNot(secret)
	}
}

// TestTenantBeforeServe checks that a tenant created before the first start of serve --dev is kept beside dev/app.
func TestTenantBeforeServe(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	c := newCLI(t, "")
	for _, args := range [][]string{{"tenant", "create", "acme"}, {"app", "create", "acme/shop"}} {
		if out, stderr, status := c.Run("", append(args, "--dev", "--state", state)...); status != 0 {
			t.Fatalf("%v: status %d\n%s%s", args, status, out, stderr)
		}
	}
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", state)
	servertest.Connect(t, s.addr).OK("new")
	info, err := os.Stat(filepath.Join(state, "tenants.d", "acme.yaml"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestNoNewDSNRefused checks that a new DSN works as soon as the command that created it has returned, and that a
// revoked one fails as soon as that command has. Several commands run at the same time.
func TestNoNewDSNRefused(t *testing.T) {
	t.Parallel()
	h := deployment{tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\n",
		"zoo": "allow: [127.0.0.0/8]\n"}}.serve(t)
	defer h.stop()
	dial := func(dsn string) error {
		c, err := client.Dial(t.Context(), strings.TrimSpace(dsn), client.Options{MaxOpen: 1})
		if err != nil {
			return err
		}
		_, err = c.WhoAmI(t.Context())
		c.Close()
		return err
	}
	address := "tls://" + h.addr + "?cafile=" + h.ca
	run := func(args ...string) (string, error) {
		out, stderr, status := newCLI(t, "").Run("", append(args, "--config", h.file)...)
		if status != 0 {
			return "", fmt.Errorf("%v: status %d\n%s%s", args, status, out, stderr)
		}
		return out, nil
	}
	var loops sync.WaitGroup
	for loop, tenant := range []string{"acme", "acme", "zoo", "zoo"} {
		loops.Go(func() {
			for i := range 8 {
				app := fmt.Sprintf("%s/app-%d-%d", tenant, loop, i)
				first, err := run("app", "create", app, "--address", address)
				if err == nil {
					err = dial(first)
				}
				if err != nil {
					t.Errorf("a new app: %v", err)
					return
				}
				second, err := run("app", "rotate", app, "--address", address)
				if err == nil {
					err = dial(second)
				}
				if err == nil {
					_, err = run("app", "revoke", app, "--oldest")
				}
				if err == nil {
					err = dial(second)
				}
				if err != nil {
					t.Errorf("a rotated app: %v", err)
					return
				}
				if dial(first) == nil {
					t.Errorf("the old secret of %s is valid after its revocation", app)
				}
				if _, err = run("app", "revoke", app); err != nil || dial(second) == nil {
					t.Errorf("%s is valid after its revocation: %v", app, err)
				}
			}
		})
	}
	loops.Wait()
	if _, err := run("tenant", "create", "late"); err != nil {
		t.Fatal(err)
	}
	dsn, err := run("app", "create", "late/shop", "--address", address)
	if err == nil {
		err = dial(dsn)
	}
	if err != nil {
		t.Errorf("a new tenant: %v", err)
	}
	if _, err := run("tenant", "delete", "late"); err != nil || dial(dsn) == nil {
		t.Errorf("a tenant is served after its deletion: %v", err)
	}
}
