package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// haproxy runs a real HAProxy with a frontend for each server, and returns the addresses of the frontends.
func haproxy(t *testing.T, servers ...string) (addrs []string, logged func() string) {
	t.Helper()
	return runHAProxy(t, len(servers), func(bind []string) string {
		config := "defaults\n    mode tcp\n    timeout connect 5s\n    timeout check 30s\n    timeout client 1m\n" +
			"    timeout server 1m\n"
		for i, server := range servers {
			config += fmt.Sprintf("frontend f%d\n    bind %s\n    default_backend b%d\n", i, bind[i], i)
			config += fmt.Sprintf("backend b%d\n    option tcp-check\n    server s %s inter 50ms rise 1 fall 1\n", i,
				server)
		}
		return config
	})
}

// runHAProxy runs a real HAProxy with a configuration for a number of frontends, and returns their addresses.
func runHAProxy(t *testing.T, frontends int, config func(bind []string) string) (addrs []string, logged func() string) {
	t.Helper()
	path := servertest.Program(t, "haproxy")
	dir := t.TempDir()
	cmd := exec.Command(path, "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	var bind []string
	for i := range frontends {
		l, err := net.Listen("tcp", "127.0.0.1:0") // HAProxy inherits it, so that the port stays reserved
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		addrs = append(addrs, l.Addr().String())
		bind = append(bind, fmt.Sprintf("fd@%d", 3+i))
		_ = l.Close()
	}
	text := "global\n    maxconn 200\n" + config(bind)
	if err := os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	return addrs, func() string {
		text, _ := os.ReadFile(out.Name())
		return string(text)
	}
}

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, from, to string) *servertest.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: require.Patience}
	nc, err := d.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return servertest.NewConn(t, nc)
}

// TestSecurityHAProxy checks that allowlists apply to the client behind a real HAProxy, with both versions of the PROXY
// protocol and with TLS passed through. Health checks succeed and are not logged.
func TestSecurityHAProxy(t *testing.T) {
	t.Parallel()
	servertest.Program(t, "haproxy")
	secret := auth.NewSecret()
	app := "    role: readwrite\n    secrets: [\"" + auth.HashSecret(secret).String() + "\"]\n"
	h := deployment{
		listen: `[{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/24], deny: [127.0.0.66], proxies: ` +
			`[127.0.0.1]}]`,
		settings: "log: {level: debug}\nsession: {strict: true}\n",
		tenants: map[string]string{"acme": "allow: [127.0.0.7, 127.0.0.8]\napps:\n  shop:\n" + app +
			"  narrow:\n    allow: [127.0.0.8]\n" + app},
	}.serve(t)
	addrs, logged := haproxy(t, h.addr+" send-proxy check check-send-proxy",
		h.addr+" send-proxy-v2 check check-send-proxy")
	checks := func() int { return strings.Count(h.log(), `"msg":"connection closed"`) }
	require.Eventually(t, "health checks run", func() bool { return checks() >= 10 })

	for version, addr := range addrs {
		for _, secured := range []bool{false, true} {
			open := func(from string) *servertest.Conn {
				c := dialFrom(t, from, addr)
				if !secured {
					return c
				}
				s := tls.Client(c.Conn, h.clientTLS(t))
				if err := s.Handshake(); err != nil {
					t.Fatalf("v%d from %s: %v\n%s", version+1, from, err, logged())
				}
				return servertest.NewConn(t, s)
			}
			c := open("127.0.0.7")
			c.OK("auth acme/shop " + secret)
			c.OK("new")
			c.OK("put a b")
			c.OK("close")
			if who := c.OK("whoami"); !strings.Contains(who, "address=127.0.0.7:") ||
				strings.Contains(who, " tls=1.3 ") != secured {
				t.Errorf("v%d, TLS %t: %s", version+1, secured, who)
			}
			c.Refused("auth acme/narrow "+secret, "IPDENIED")
			open("127.0.0.8").OK("auth acme/narrow " + secret)
			open("127.0.0.9").Refused("auth acme/shop "+secret, "IPDENIED")
			open("127.0.0.1").Refused("auth acme/shop "+secret, "IPDENIED")
		}
		for _, from := range []string{"127.0.0.66", "127.0.1.7"} {
			if rest := dialFrom(t, from, addr).Rest(); !strings.HasPrefix(rest, "err IPDENIED ") {
				t.Errorf("v%d from %s: %q", version+1, from, rest)
			}
		}
	}

	// Only a balancer may send a PROXY header, and it must.
	for _, header := range []string{"PROXY TCP4 127.0.0.7 127.0.0.1 1 2\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x07\x7f\x00\x00\x01\x00\x01\x00\x02"} {
		c := dialFrom(t, "127.0.0.9", h.addr)
		_, _ = io.WriteString(c, header+"auth acme/shop "+secret+"\r\nnew\r\n")
		// Version 2 begins with bytes that end a conversation in lines: empty lines, a NUL, QUIT.
		if rest := c.Rest(); !strings.HasPrefix(rest, "err ") || strings.Contains(rest, "ok ") ||
			strings.Count(rest, "ok") > strings.Count(header, "QUIT") {
			t.Errorf("the reply to a PROXY header of a client is %q", rest)
		}
		c = dialFrom(t, "127.0.0.1", h.addr) // the address of the balancer
		_, _ = io.WriteString(c, header+"auth acme/shop "+secret+"\r\nnew\r\n")
		if first, second := nextLine(c), nextLine(c); first != "ok" || !strings.HasPrefix(second, "ok ") {
			t.Errorf("the same from a balancer: %q, %q", first, second)
		}
	}
	for _, beginning := range []string{"auth acme/shop " + secret + "\r\n", "\x16\x03\x01\x02\x00\x01",
		"PROXY TCP4 256.1.1.1 x 1 2\r\n", strings.Repeat("P", 300), "PROXY TCP4 127.0.0.7 127.0.0.1 1 2"} {
		c := dialFrom(t, "127.0.0.1", h.addr)
		_, _ = io.WriteString(c, beginning+"\n")
		if rest := c.Rest(); !strings.HasPrefix(rest, "err PROTOCOL ") || strings.Count(rest, "\n") > 1 {
			t.Errorf("a balancer that begins with %.20q reads %q", beginning, rest)
		}
	}
	// A remote client is not served plaintext because the balancer is local.
	c := dialFrom(t, "127.0.0.1", h.addr)
	_, _ = io.WriteString(c, "PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\nping\r\n")
	if reply := nextLine(c); !strings.HasPrefix(reply, "err IPDENIED ") {
		t.Errorf("a remote client: %q", reply)
	}

	before := checks()
	require.Eventually(t, "health checks go on", func() bool { return checks() > before+10 })
	if text := logged(); strings.Contains(text, "DOWN") {
		t.Errorf("HAProxy reports that the server is down:\n%s", text)
	}
	loud := regexp.MustCompile(`(?m)^.*"level":"(WARN|ERROR)".*$`).FindAllString(h.log(), -1)
	if len(loud) > 5 { // one for each wrong beginning
		t.Errorf("%d warnings in the log:\n%s", len(loud), strings.Join(loud, "\n"))
	}
	t.Logf("%d connections, health checks among them; %d warnings", checks(), len(loud))
}

// TestHostingHAProxy runs the recipe of docs/hosting.md with a real HAProxy, whose own address is not in the allowlist.
// Clients get through, each kind of health check reports the state of the server, and the checks are not logged.
func TestHostingHAProxy(t *testing.T) {
	t.Parallel()
	servertest.Program(t, "haproxy")
	text, err := os.ReadFile("../docs/hosting.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile(`(?m)^    frontend sessions\n(?:    .*\n)+`).FindString(string(text))
	listen := regexp.MustCompile(`(?m)^    listen:\n      - (\{.*\})\n`).FindStringSubmatch(string(text))
	if recipe == "" || listen == nil {
		t.Fatal("docs/hosting.md has no recipe")
	}
	replace := func(text string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("the recipe lacks %q:\n%s", pairs[i], text)
			}
			text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
		}
		return text
	}
	secret := auth.NewSecret()
	h := deployment{
		listen: "[" + replace(listen[1], "10.0.0.5:9090", "127.0.0.1:0", "203.0.113.0/24", "127.0.0.7", "10.0.0.2",
			"127.0.0.1", "}", ", plaintext: never}") + "]",
		settings: "log: {level: debug}\naudit: {output: DIR/audit.log}\nsession: {strict: true}\n",
		tenants: map[string]string{
			"acme": "allow: [127.0.0.7]\napps:\n  shop:\n    role: readwrite\n    secrets: [\"" +
				auth.HashSecret(secret).String() + "\"]\n",
		},
	}.serve(t)
	// The interval is also a time-out. On a busy machine it may expire now and then, but not always.
	const often = " inter 1s fastinter 100ms rise 1 fall 10"
	kinds := map[string]func(recipe string) string{
		"the recipe": func(r string) string { return r },
		"version 1":  func(r string) string { return replace(r, "send-proxy-v2", "send-proxy") },
		"by TLS": func(r string) string {
			return replace(r, "check-send-proxy", "check-send-proxy check-ssl verify none")
		},
		"a connection alone": func(r string) string { return replace(r, "    option redis-check\n", "") },
		"one without a header": func(r string) string {
			return replace(r, "    option redis-check\n", "", "check check-send-proxy", "check addr 127.0.0.1")
		},
		"a connection that is TLS": func(r string) string {
			return replace(r, "    option redis-check\n", "", "check-send-proxy",
				"check-send-proxy check-ssl verify none")
		},
	}
	logs := make(map[string]func() string)
	for name, change := range kinds {
		addrs, logged := runHAProxy(t, 1, func(bind []string) string {
			return change(replace(recipe, "bind :9090", "bind "+bind[0], "10.0.0.5:9090", h.addr,
				"check check-send-proxy", "check check-send-proxy"+often,
				"timeout connect 5s\n", "timeout connect 5s\n        timeout check 30s\n"))
		})
		logs[name] = logged
		s := tls.Client(dialFrom(t, "127.0.0.7", addrs[0]).Conn, h.clientTLS(t))
		if err := s.Handshake(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, logged())
		}
		c := servertest.NewConn(t, s)
		c.OK("auth acme/shop " + secret)
		c.OK("new")
		c.OK("abort")
	}
	checks := func() int { return strings.Count(h.log(), `"msg":"connection closed"`) }
	before := checks()
	require.Eventually(t, "health checks run", func() bool { return checks() >= before+6*len(kinds) })
	for name, logged := range logs {
		if text := logged(); strings.Contains(text, "DOWN") || strings.Contains(text, "ALERT") {
			t.Errorf("%s: HAProxy reports that the server is down:\n%s", name, text)
		}
	}
	if loud := regexp.MustCompile(`(?m)^.*("level":"(WARN|ERROR)"|"msg":"refused").*$`).FindString(
		h.log()); loud != "" {
		t.Errorf("health checks are logged: %s", loud)
	}
	events, err := os.ReadFile(filepath.Join(h.dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	if bad := regexp.MustCompile(`(?m)^.*"event":"(connection.refused|operation.denied)".*$`).Find(events); bad != nil {
		t.Errorf("health checks are in the audit log: %s", bad)
	}
	h.stop()
	for name, logged := range logs {
		require.Eventually(t, name+": HAProxy reports that the server is down", func() bool {
			return strings.Contains(logged(), "DOWN")
		})
	}
}

// nextLine returns the next line that the server sends, or what precedes the end of the connection.
func nextLine(c *servertest.Conn) string {
	reply, _ := c.In.ReadString('\n')
	return strings.TrimSuffix(reply, "\r\n")
}
