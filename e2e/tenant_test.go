package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/configs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestCommandsAtOnce checks that of several processes that change one file none undoes the change of another.
func TestCommandsAtOnce(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.do("tenant", "create", "acme")
	const count = 12
	var all []*exec.Cmd
	for i := range count {
		cmd := exec.Command(binary(), "app", "create", fmt.Sprintf("acme/app-%d", i), "--config", c.config)
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
	tenant, err := configs.LoadTenant(c.file("acme.yaml"), &cfg)
	if err != nil || len(tenant.Apps) != count {
		t.Fatalf("%v\n%s", err, c.read("acme.yaml"))
	}
	if out, said, status := c.run("", "check", c.config); status != 0 {
		t.Errorf("check: status %d\n%s%s", status, out, said)
	}
}

// TestTenantsServed checks that a running server applies what commands do to its tenants.
func TestTenantsServed(t *testing.T) {
	c := newCLI(t, "")
	c.do("tenant", "create", "acme")
	s := serve(t, "--config", c.config)
	address := "tcp://" + s.addr
	secretOf := func(dsn string) string {
		_, rest, _ := strings.Cut(dsn, ":hss_")
		secret, _, _ := strings.Cut(rest, "@")
		return "hss_" + secret
	}
	first := secretOf(c.do("app", "create", "acme/shop", "--address", address))
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

	second := secretOf(c.do("app", "rotate", "acme/shop", "--address", address))
	var fresh *servertest.Conn
	require.Eventually(t, "the new secret is served", func() (ok bool) {
		var err error
		fresh, err = login(second)
		return err == nil
	})
	old.OK("ping") // rotation ends nothing
	c.do("app", "revoke", "acme/shop", "--oldest")
	for { // the server says goodbye, or nothing
		if _, err := old.In.ReadString('\n'); err != nil {
			break
		}
	}
	fresh.OK("open " + id + " r")
	fresh.OK("abort")

	c.do("tenant", "delete", "acme", "--drop-sessions")
	require.Eventually(t, "the sessions are dropped", func() bool {
		_, err := os.Lstat(c.file("acme.drop"))
		return os.IsNotExist(err)
	})
	c.do("tenant", "create", "acme")
	third := secretOf(c.do("app", "create", "acme/shop", "--address", address))
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
		c.holdsNot(secret)
	}
}

// TestTenantBeforeServe checks that a tenant created before the first start of serve --dev is kept beside dev/app.
func TestTenantBeforeServe(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	c := newCLI(t, "")
	for _, args := range [][]string{{"tenant", "create", "acme"}, {"app", "create", "acme/shop"}} {
		if out, said, status := c.run("", append(args, "--dev", "--state", state)...); status != 0 {
			t.Fatalf("%v: status %d\n%s%s", args, status, out, said)
		}
	}
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", state)
	servertest.Connect(t, s.addr).OK("new")
	info, err := os.Stat(filepath.Join(state, "tenants.d", "acme.yaml"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
