package e2e

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// chosen is an id that a client has made up.
const chosen = "chosen-by-the-visitor"

// as connects without TLS and authenticates with a DSN.
func as(t *testing.T, dsn string) *servertest.Conn {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("not a DSN")
	}
	secret, _ := u.User.Password()
	login := "auth " + strings.Trim(u.Path, "/") + "/" + u.User.Username() + " " + secret
	var c *servertest.Conn
	require.Eventually(t, "the server knows the app", func() bool {
		c = servertest.Connect(t, u.Host)
		_, err := c.Do(login)
		return err == nil
	})
	return c
}

// TestStrict checks that a new tenant accepts ids of the server only. A tenant created with --no-strict, and that of
// serve --dev, accept others, with a warning by tenant create, in the file and at each start.
func TestStrict(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
	cli := newCLI(t, "")
	command := func(args ...string) (out, stderr string) {
		t.Helper()
		out, stderr, status := cli.Run("", append(args, "--dev", "--state", state)...)
		if status != 0 {
			t.Fatalf("%v: status %d\n%s%s", args, status, out, stderr)
		}
		return out, stderr
	}
	const caution = "Clients can create sessions there under ids that they choose"
	for _, row := range []struct {
		tenant string
		flags  []string
		strict bool
	}{{"new", nil, true}, {"old", []string{"--no-strict"}, false},
		{"brief", []string{"--lifetime", "1h", "--no-strict"}, false}} {
		_, stderr := command(append([]string{"tenant", "create", row.tenant}, row.flags...)...)
		if strings.Contains(stderr, "CAUTION: tenant "+row.tenant+" is not strict. "+caution) == row.strict {
			t.Errorf("tenant create %s prints:\n%s", row.tenant, stderr)
		}
		dsn, _ := command("app", "create", row.tenant+"/app")
		c := as(t, strings.TrimSpace(dsn))
		out, failure, status := cli.Run(dsn, "dsn", "check", "-")
		if status != 0 || strings.Contains(out, "the server's own alone") != row.strict ||
			strings.Contains(out, "also those that clients choose") == row.strict {
			t.Errorf("dsn check: status %d\n%s%s", status, out, failure)
		}
		for _, mode := range []string{"", " rw", " w", " u", " r", " s"} {
			_, err := c.Do("open " + chosen + mode)
			created := !row.strict && (mode == "" || mode == " rw" || mode == " w")
			if created != (err == nil) || err != nil && !strings.Contains(err.Error(), "NOTFOUND") {
				t.Errorf("tenant %s, open%s: %v", row.tenant, mode, err)
			}
			if err == nil {
				c.OK("abort")
			}
		}
		text, err := os.ReadFile(filepath.Join(state, "tenants.d", row.tenant+".yaml"))
		if err != nil || strings.Contains(string(text), "  # CAUTION: ") == row.strict {
			t.Errorf("%v, the file of %s:\n%s", err, row.tenant, text)
		}
	}
	servertest.Connect(t, s.addr).OK("open " + chosen) // as dev/app, like a client of 2004
	if !strings.Contains(s.log(), `"level":"WARN","msg":"tenants that are not strict: dev. `+caution) {
		t.Errorf("no warning of tenant dev in the log\n%s", s.log())
	}
	s.kill()
	again := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
	if !strings.Contains(again.log(), `"level":"WARN","msg":"tenants that are not strict: brief dev old. `+caution) {
		t.Errorf("no warning of three tenants in the log\n%s", again.log())
	}
}

// TestCheckStrict checks that check notes tenants that are not strict, also without a folder of tenants.
func TestCheckStrict(t *testing.T) {
	c := newCLI(t, "")
	check := func(file, want string) {
		t.Helper()
		out, stderr, status := c.Run("", "check", file)
		if status != 0 || want != "" && !strings.Contains(out, want) || want == "" && strings.Contains(out, "strict") {
			t.Errorf("status %d, want %q\n%s%s", status, want, out, stderr)
		}
	}
	c.Do("tenant", "create", "new")
	check(c.Config, "")
	c.Do("tenant", "create", "old", "--no-strict")
	check(c.Config, "note: tenants that are not strict: old. ")
	text := "listen: [{name: main, address: \"127.0.0.1:0\", allow: [127.0.0.1], anonymous: acme/web}]\n" +
		"storage: {driver: memory}\n"
	file := filepath.Join(t.TempDir(), "c.yaml")
	for _, strict := range []bool{true, false} {
		more, want := "", ""
		if !strict {
			more, want = "session: {strict: false}\n", "note: tenants that are not strict: acme. "
		}
		if err := os.WriteFile(file, []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
		check(file, want)
		s := serve(t, "--config", file)
		_, err := servertest.Connect(t, s.addr).Do("open " + chosen)
		if strict != (err != nil) || strict == strings.Contains(s.log(), "session.strict is false") {
			t.Errorf("strict %t: %v\n%s", strict, err, s.log())
		}
	}
}
