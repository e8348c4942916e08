package e2e

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestDSNCheck checks valid DSNs, and DSNs with each common mistake.
func TestDSNCheck(t *testing.T) {
	c := newCLI(t, "")
	text := "listen:\n- {name: proxied, address: \"127.0.0.1:0\", allow: [127.0.0.1], proxies: [127.0.0.1]}\n" +
		"- {name: all, address: \"0.0.0.0:0\", allow: [127.0.0.0/8]}\n" +
		"- {name: main, address: \"127.0.0.1:0\", allow: [127.0.0.1]}\n" +
		"- {name: strict, address: \"127.0.0.1:0\", allow: [127.0.0.1], plaintext: never}\n" +
		"- {name: closed, address: \"127.0.0.1:0\", allow: [192.0.2.1]}\n" +
		"- {name: mtls, address: \"127.0.0.1:0\", allow: [127.0.0.1], client_certificates: required, client_ca: " +
		c.Dir + "/app.pem}\n" +
		"tenants: " + c.Dir + "/tenants.d\naudit: {output: " + c.Dir +
		"/audit.log}\nstorage: {driver: memory}\ntls: {local_ca: " + c.Dir + "/ca}\n"
	if err := os.WriteFile(c.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	servertest.Certificate{Name: "app.example"}.Write(t, c.Dir, "app")
	c.Do("tenant", "create", "acme")
	c.Do("tenant", "create", "full")
	c.Do("tenant", "create", "slow")
	c.Do("tenant", "create", "away", "--allow", "192.0.2.1")
	more := func(tenant, text string) {
		t.Helper()
		if err := os.WriteFile(c.File(tenant+".yaml"), []byte(strings.Replace(c.Read(tenant+".yaml"), "\n"+
			"apps:\n", "\n"+text+"\napps:\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	more("full", "session: {max_bytes: 1}")
	more("slow", "rates: {app: {per_second: 0.01, burst: 8}}")
	secrets := map[string]string{}
	c.Do("tenant", "create", "reads")
	c.Do("tenant", "create", "carts")
	c.Do("tenant", "create", "blind")
	for tenant, flags := range map[string][]string{"acme": nil, "full": nil, "slow": nil, "away": nil,
		"reads": {"--role", "readonly"}, "carts": {"--write", "cart.*"}, "blind": {"--read", "cart.*"}} {
		dsn := c.Do(append([]string{"app", "create", tenant + "/shop", "--address", "tls://x"}, flags...)...)
		secrets[tenant] = strings.TrimSuffix(strings.TrimPrefix(dsn, "tls://shop:"), "@x:9090/"+tenant+"\n")
	}
	c.Do("app", "create", "acme/mesh", "--no-secret", "--certificate", "dns:app.example", "--address", "tls://x")
	certificate := "&certfile=" + c.Dir + "/app.pem&keyfile=" + c.Dir + "/app.key"
	s := serve(t, "--config", c.Config)
	addresses := map[string]string{}
	require.Eventually(t, "all listeners serve", func() bool {
		for _, name := range []string{"proxied", "all", "main", "strict", "closed", "mtls"} {
			_, rest, _ := strings.Cut(s.log(), `"listener":"`+name+`","address":"`)
			addresses[name], _, _ = strings.Cut(rest, `"`)
		}
		return addresses["mtls"] != ""
	})
	main, ca := addresses["main"], "?cafile="+filepath.Join(c.Dir, "ca", "ca.pem")
	// replying starts a server that sends a text to every client.
	replying := func(text string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = nc.Read(make([]byte, 1<<10)) // a reset could precede the text otherwise
				_, _ = nc.Write([]byte(text))
				_ = nc.Close()
			}
		}()
		return l.Addr().String()
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_ = dead.Close()
	_, port, err := net.SplitHostPort(addresses["all"])
	if err != nil {
		t.Fatal(err)
	}

	servertest.WriteFiles(t, c.Dir, map[string]string{"app.dsn": "tls://shop:" + secrets["acme"] + "@" + main +
		"/acme" + ca + "\n"})
	for _, row := range []struct {
		name, dsn string
		status    int
		want      []string
	}{
		{"TLS", "tls://shop:SECRET@" + main + "/acme" + ca, 0,
			[]string{"DSN            tls://shop:xxxxx@", "TLS            TLS 1.3, TLS_", "issued by ", "expires 20",
				"identity       acme/shop, role readwrite, seen from 127.0.0.1", "round trip",
				"new, put, close, open, get, destroy in ", "Everything works."}},
		{"a file", "file://" + c.Dir + "/app.dsn", 0, []string{"identity       acme/shop", "Everything works."}},
		{"no file", "file://" + c.Dir + "/none.dsn", 1, []string{"none.dsn: no such file"}},
		{"a readonly app", "tls://shop:SECRET@" + main + "/reads" + ca, 0,
			[]string{"the trial session is not allowed to this app: new: DENIED this app may only read",
				"credentials are good"}},
		{"an app of few keys", "tls://shop:SECRET@" + main + "/carts" + ca, 0,
			[]string{`the trial session is not allowed to this app: put: DENIED this app may not write this key ` +
				`(key "dsn_check")`}},
		{"an app that reads few keys", "tls://shop:SECRET@" + main + "/blind" + ca, 0,
			[]string{`the trial session is not allowed to this app: get: DENIED this app may not read this key (key ` +
				`"dsn_check")`, "credentials are good"}},
		{"nothing left behind by it", "tls://shop:SECRET@" + main + "/blind" + ca, 0, []string{"sessions 0 of "}},
		{"plaintext", "tcp://shop:SECRET@" + main + "/acme", 0, []string{"TLS            none", "Everything works."}},
		{"secret", "tls://shop:hss_wrong@" + main + "/acme" + ca, 1,
			[]string{"BADAUTH", "Tenant, app or secret are wrong"}},
		{"app", "tls://shops:SECRET@" + main + "/acme" + ca, 1, []string{"BADAUTH"}},
		{"no credentials", "tls://" + main + ca, 1, []string{"NOAUTH", "put app and secret into the DSN"}},
		{"unknown CA", "tls://shop:SECRET@" + main + "/acme", 1,
			[]string{"The server certificate is signed by an unknown authority", "?cafile=", "issued by CN="}},
		{"host name", "tls://shop:SECRET@127.0.0.2:" + port + "/acme" + ca, 1,
			[]string{"is for localhost", "not for 127.0.0.2"}},
		{"no TLS", "tcp://shop:SECRET@" + addresses["strict"] + "/acme", 1,
			[]string{"TLSREQUIRED", "begin the DSN with tls://"}},
		{"listener's allowlist", "tls://shop:SECRET@" + addresses["closed"] + "/acme" + ca, 1, nil},
		{"listener's allowlist, plain", "tcp://shop:SECRET@" + addresses["closed"] + "/acme", 1,
			[]string{"IPDENIED", "add it to allow"}},
		{"tenant's allowlist", "tls://shop:SECRET@" + main + "/away" + ca, 1, []string{"IPDENIED", "add it to allow"}},
		{"client certificate", "tls://shop:SECRET@" + addresses["mtls"] + "/acme" + ca, 1,
			[]string{"certfile and keyfile"}},
		{"certificate", "tls://" + addresses["mtls"] + "/acme" + ca + certificate, 0,
			[]string{"identity       acme/mesh", "Everything works."}},
		{"certificate of another tenant", "tls://" + addresses["mtls"] + "/away" + ca + certificate, 1,
			[]string{`FAILED: dial: the certificate authenticates as "acme/mesh" and the DSN has the tenant "away"`,
				"The certificate is that of acme/mesh: ", "app create away/APP --certificate NAME"}},
		{"unknown certificate", "tls://" + main + "/acme" + ca + certificate, 1, []string{"NOAUTH"}},
		{"PROXY header, TLS", "tls://shop:SECRET@" + addresses["proxied"] + "/acme" + ca, 1,
			[]string{"replied: PROTOCOL this address must send a PROXY header first", "connect through the balancer"}},
		{"PROXY header, plain", "tcp://shop:SECRET@" + addresses["proxied"] + "/acme", 1,
			[]string{"FAILED: dial: PROTOCOL", "connect through the balancer"}},
		{"refused in place of TLS", "tls://shop:SECRET@" + replying("err IPDENIED not from here\r\n") + "/acme" + ca,
			1, []string{"replied: IPDENIED not from here", "add it to allow"}},
		{"another server", "tls://shop:SECRET@" + replying("SSH-2.0-x\r\n") + "/acme" + ca, 1,
			[]string{"does not speak TLS: see whether host and port are right"}},
		{"closed before TLS", "tls://shop:SECRET@" + replying("") + "/acme" + ca, 1,
			[]string{"before the TLS handshake was over", "listen[].proxies"}},
		{"full", "tls://shop:SECRET@" + main + "/full" + ca, 1, []string{"TOOLARGE"}},
		{"rate", "tls://shop:SECRET@" + main + "/slow" + ca, 1,
			[]string{"RATELIMITED", "raise rates in the tenant's file"}},
		{"refused", "tls://shop:SECRET@" + dead.Addr().String() + "/acme", 1, []string{"Nothing listens at 127.0.0.1"}},
		{"name", "tls://shop:SECRET@no-such-host.invalid/acme", 1,
			[]string{"No address is known for no-such-host.invalid"}},
		{"socket", "unix://shop:SECRET@" + c.Dir + "/none?tenant=acme", 1, []string{"/none not found: "}},
		{"cafile", "tls://shop:SECRET@" + main + "/acme?cafile=/none.pem", 1,
			[]string{"A file that the DSN names does not exist"}},
		{"silence", "tls://shop:SECRET@" + silent.Addr().String() + "/acme?timeout=0.05", 1,
			[]string{"sent no reply in time"}},
		{"no DSN", "hello world", 1, []string{"DSN: byte 6"}},
		{"@", "tls://shop:SECRET/x@" + main, 1, []string{"percent-encode"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			secret := secrets["acme"]
			for tenant := range secrets {
				if strings.Contains(row.dsn, "/"+tenant) {
					secret = secrets[tenant]
				}
			}
			out, stderr, status := c.Run(strings.ReplaceAll(row.dsn, "SECRET", secret)+"\n", "dsn", "check", "-")
			if status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			for _, want := range row.want {
				if !strings.Contains(out+stderr, want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if strings.Contains(stderr, "tcp://") && strings.HasPrefix(row.dsn, "tls://") {
				t.Error("the advice is plaintext")
			}
			if strings.Contains(out+stderr, secret[4:20]) {
				t.Error("the output contains the secret")
			}
			if t.Failed() {
				t.Logf("the output is:\n%s%s", out, stderr)
			}
		})
	}
	block, _ := pem.Decode([]byte(servertest.ReadFile(t, filepath.Join(c.Dir, "app.pem"))))
	came := fmt.Sprintf(`"app":"mesh".*"reason":"certificate","detail":"sha256 %x; CN=app\.example; dns:app\.example"`,
		sha256.Sum256(block.Bytes))
	if events := servertest.ReadFile(t, filepath.Join(c.Dir,
		"audit.log")); !regexp.MustCompile(came).MatchString(events) {
		t.Errorf("no event names the certificate of acme/mesh:\n%s", events)
	}
	dsn := strings.ReplaceAll("tls://shop:SECRET@"+main+"/acme"+ca, "SECRET", secrets["acme"])
	if out, stderr, status := c.Run("", "dsn", "check", dsn); status != 0 {
		t.Errorf("as an argument: %d\n%s%s", status, out, stderr)
	}
	if out, stderr, status := c.Run("", "dsn", "check"); status != 1 || !strings.Contains(stderr, "SESSIONSERVER_DSN") {
		t.Errorf("without a DSN: %d\n%s%s", status, out, stderr)
	}
	t.Setenv("SESSIONSERVER_DSN", dsn)
	if out, stderr, status := c.Run("", "dsn", "check"); status != 0 {
		t.Errorf("from the environment: %d\n%s%s", status, out, stderr)
	}
	if out, stderr, status := c.Run("", "dsn", dsn); status != 2 ||
		strings.Contains(out+stderr, secrets["acme"][4:20]) {
		t.Errorf("without an argument: %d\n%s%s", status, out, stderr)
	}
	for _, secret := range secrets {
		if strings.Contains(s.log()+s.stdout(), secret[4:20]) {
			t.Error("the log contains a secret")
		}
	}
}
