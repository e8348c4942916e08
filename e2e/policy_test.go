package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/wire"
)

// framedConn is a client of one framing, whose replies have the form of lines.
type framedConn struct {
	*servertest.Conn
	framing wire.Framing
	replies *wire.ReplyReader
}

func newFramedConn(c *servertest.Conn, f wire.Framing) *framedConn {
	return &framedConn{c, f, wire.NewReplyReader(c.In)}
}

// expect sends a command. The reply must be the wanted one, or begin with it: ok, ok and a payload, or err and a code.
// It returns the payload.
func (s *framedConn) expect(t *testing.T, want string, words ...string) string {
	t.Helper()
	request := []byte(strings.Join(words, " ") + "\r\n")
	if s.framing == wire.RESP {
		request = wire.AppendRequest(nil, words...)
	}
	if _, err := s.Write(request); err != nil {
		t.Fatal(err)
	}
	reply := ""
	if s.framing == wire.RESP {
		r, err := s.replies.Next()
		if err != nil {
			t.Fatal(err)
		}
		reply = replyLine(r)
	} else {
		line, err := s.In.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		reply = strings.TrimSuffix(line, "\r\n")
	}
	if reply != want && !strings.HasPrefix(reply, want+" ") {
		t.Errorf("%v: %s: %s, want %s", s.framing, strings.Join(words, " "), reply, want)
	}
	return strings.TrimPrefix(reply, "ok ")
}

// replyLine returns a reply in the form of a line. Maps are keys and values in turn.
func replyLine(r wire.Reply) string {
	switch {
	case r.Err != nil:
		return "err " + string(r.Err.Code) + " " + r.Err.Message
	case r.IsNull():
		return "err NOKEY"
	case r.Kind == ':':
		return fmt.Sprint("ok ", r.Int)
	case r.Kind == '+' && string(r.Bytes) == "OK":
		return "ok"
	case len(r.Items) > 0 || r.Kind == '*' || r.Kind == '%' || r.Kind == '~':
		var items []string
		for _, item := range r.Items {
			items = append(items, strings.TrimPrefix(replyLine(item), "ok "))
		}
		return "ok " + strings.Join(items, "|")
	}
	return "ok " + string(r.Bytes)
}

// putAll returns the words of put_all.
func (s *framedConn) putAll(pairs ...string) []string {
	if s.framing == wire.RESP {
		return append([]string{"put_all"}, pairs...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "a:%d:{", len(pairs)/2)
	for _, text := range pairs {
		fmt.Fprintf(&b, "s:%d:%q;", len(text), text)
	}
	return []string{"put_all", b.String() + "}"}
}

// app returns an app for the file of a tenant.
func app(name, secret, rights string) string {
	return fmt.Sprintf("  %s: {secrets: [%q], %s}\n", name, auth.HashSecret(secret), rights)
}

// TestPolicyRoles checks what the default policy allows to roles, and to patterns of keys in a session that several
// apps share, in both framings.
func TestPolicyRoles(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\napps:\n" +
		app("login", secret, "role: readwrite") +
		app("shop", secret, "role: readwrite, write: [\"cart.*\", seen]") +
		app("reports", secret, "role: readonly, read: [\"order.*\", \"cart.*\"]") +
		app("blind", secret, "role: readwrite, read: []") +
		app("root", secret, "role: admin")}}.serve(t)
	for _, f := range []wire.Framing{wire.Line, wire.RESP} {
		as := func(name string) *framedConn { return newFramedConn(h.connectAs(t, "acme/"+name, secret), f) }
		login, shop, reports, blind, root := as("login"), as("shop"), as("reports"), as("blind"), as("root")

		id := login.expect(t, "ok", "new")
		for _, key := range []string{"user.name", "cart.a", "order.1"} {
			login.expect(t, "ok", "put", key, "1")
		}
		login.expect(t, "ok", "close")

		shop.expect(t, "ok", "open", id)
		shop.expect(t, "ok 1", "get", "user.name")
		for _, words := range [][]string{{"put", "user.name", "2"}, {"put", "other", "2"}, {"remove", "user.name"},
			{"expire", "user.name", "9"}, shop.putAll("cart.b", "2", "user.name", "2")} {
			shop.expect(t, "err DENIED this app may not write this key", words...)
		}
		shop.expect(t, "ok user.name|cart.a|order.1", "keys")
		shop.expect(t, "ok", "put", "cart.a", "2")
		shop.expect(t, "ok", shop.putAll("seen", "2", "cart.b", "2")...)
		if got := shop.expect(t, "ok", "get_all"); strings.Contains(got, "cart.a") ||
			!strings.Contains(got, "cart.b") || !strings.Contains(got, "user.name") {
			t.Errorf("%v: after put_all the values are %s", f, got)
		}
		shop.expect(t, "ok", "close")

		for _, words := range [][]string{{"new"}, {"open", id}, {"open", id, "u"}} {
			reports.expect(t, "err DENIED this app may only read", words...)
		}
		reports.expect(t, "ok", "open", id, "r")
		keys := strings.Split(reports.expect(t, "ok", "keys"), "|")
		if slices.Sort(keys); !slices.Equal(keys, []string{"cart.b", "order.1"}) {
			t.Errorf("%v: the keys of reports are %v", f, keys)
		}
		if got := reports.expect(t, "ok", "get_all"); strings.Contains(got, "user.name") ||
			strings.Contains(got, "seen") || !strings.Contains(got, "order.1") {
			t.Errorf("%v: the values of reports are %s", f, got)
		}
		for _, words := range [][]string{{"get", "user.name"}, {"exists", "seen"}, {"get", "missing"}} {
			reports.expect(t, "err DENIED this app may not read this key", words...)
		}
		for _, words := range [][]string{{"put", "order.1", "2"}, {"remove", "order.1"}, {"destroy"}, {"regenerate_id"},
			{"lifetime", "60"}, reports.putAll("order.1", "2")} {
			reports.expect(t, "err DENIED this app may only read", words...)
		}
		reports.expect(t, "ok 1", "get", "order.1")
		reports.expect(t, "ok", "stat")
		reports.expect(t, "ok", "lifetime")
		reports.expect(t, "ok", "close")
		reports.expect(t, "ok", "open", id, "s")
		reports.expect(t, "ok", "abort")

		blind.expect(t, "ok", "open", id)
		blind.expect(t, "err DENIED this app may not read this key", "get", "cart.b")
		blind.expect(t, "ok", "put", "from.blind", "1")
		if got := blind.expect(t, "ok", "keys"); strings.Contains(got, ".") {
			t.Errorf("%v: the keys of an app that may read none are %s", f, got)
		}
		blind.expect(t, "ok", "close")

		root.expect(t, "ok", "open", id)
		root.expect(t, "ok 1", "get", "from.blind")
		root.expect(t, "ok", "put", "user.name", "3")
		root.expect(t, "ok", "commit")
		root.expect(t, "ok", "abort")
		root.expect(t, "ok", "open", id)
		root.expect(t, "ok", "destroy")
	}
}

// TestPolicyExamples checks the five examples and the default policy together, and the policy of a tenant beside the
// operator's. Each refuses only what it is for, and all must allow.
func TestPolicyExamples(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	file := func(more string, apps ...string) string {
		return "allow: [0.0.0.0/0]\n" + more + "\napps:\n" + strings.Join(apps, "")
	}
	b := deployment{
		listen: `[{name: main, address: "127.0.0.1:0", allow: [0.0.0.0/0], proxies: [127.0.0.0/8], plaintext: ` +
			`always, client_certificates: optional, client_ca: DIR/clients.pem}]`,
		settings: "policy: {folder: DIR/policies}\n",
		tenants: map[string]string{
			"acme": file("", app("shop", secret, "role: readwrite"), app("login", secret, "role: readwrite"),
				app("reports", secret, "role: readonly")),
			"free":  file("", app("shop", secret, "role: readwrite")),
			"bank":  file("", app("shop", secret, "role: readwrite")),
			"timed": file("", app("shop", secret, "role: readwrite"), app("reader", secret, "role: readonly")),
			"own": file("policy: {closed: [new]}", app("shop", secret, "role: readwrite"),
				app("reader", secret, "role: readonly")),
		},
	}.write(t)
	servertest.Certificate{Subject: pkix.Name{CommonName: "shop", Organization: []string{"Bank"}},
		Name: "shop.example"}.Write(t, b.dir, "bank")
	servertest.Certificate{Subject: pkix.Name{CommonName: "shop", Organization: []string{"Other"}},
		Name: "shop.example"}.Write(t, b.dir, "other")
	var clients []byte
	for _, name := range []string{"bank.pem", "other.pem"} {
		text, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, text...)
	}
	files := map[string]string{"clients.pem": string(clients)}
	files["policies/tenants/own/a.rego"] = `package sessionserver.tenant

allow if not closed

closed if input.command in data.tenants.own.settings.closed

reasons contains "closed by the tenant"
`
	for to, from := range map[string]string{
		"default.rego": "default.rego", "reporting.rego": "examples/reporting.rego",
		"login_keys.rego":                 "examples/login_keys.rego",
		"client_certificate.rego":         "examples/client_certificate.rego",
		"blocked_range.rego":              "examples/blocked_range.rego",
		"tenants/timed/office_hours.rego": "examples/office_hours.rego",
	} {
		text, err := os.ReadFile(filepath.Join("../configs/policies", from))
		if err != nil {
			t.Fatal(err)
		}
		files["policies/"+to] = string(text)
	}
	servertest.WriteFiles(t, b.dir, files)
	b.process = serve(t, "--config", b.file)

	from := func(address, who string) *framedConn {
		t.Helper()
		c := servertest.Connect(t, b.addr)
		if _, err := fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1 2\r\n", address); err != nil {
			t.Fatal(err)
		}
		c.OK("auth " + who + " " + secret)
		return newFramedConn(c, wire.Line)
	}
	shop, login, reports := from("192.0.2.1", "acme/shop"), from("192.0.2.1", "acme/login"),
		from("192.0.2.1", "acme/reports")
	id := login.expect(t, "ok", "new")
	login.expect(t, "ok", "put", "user.name", "ada")
	login.expect(t, "ok", "close")
	shop.expect(t, "ok", "open", id)
	shop.expect(t, "err DENIED only the app login may write user.*", "put", "user.name", "eve")
	shop.expect(t, "ok ada", "get", "user.name")
	shop.expect(t, "ok", "put", "cart", "1")
	reports.expect(t, "err DENIED reports may only read the saved state: open ID s", "open", id, "r", "0")
	reports.expect(t, "ok", "open", id, "s")
	reports.expect(t, "ok user.name", "keys")
	reports.expect(t, "ok", "close")
	shop.expect(t, "ok", "close")
	free := from("192.0.2.1", "free/shop")
	free.expect(t, "ok", "new")
	free.expect(t, "ok", "put", "user.name", "eve") // the tenant has no app login

	blocked := from("203.0.113.9", "acme/shop")
	blocked.expect(t, "err DENIED this network may only read", "open", id)
	blocked.expect(t, "ok", "open", id, "r")
	blocked.expect(t, "ok ada", "get", "user.name")
	blocked.expect(t, "ok", "close")
	from("203.0.113.9", "free/shop").expect(t, "ok", "new")

	const certify = "err DENIED a client certificate of O=Bank is required"
	from("192.0.2.1", "bank/shop").expect(t, certify, "new")
	for name, want := range map[string]string{"bank": "ok", "other": certify} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(b.dir, name+".pem"), filepath.Join(b.dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		c := servertest.Connect(t, b.addr)
		if _, err := fmt.Fprint(c, "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"); err != nil {
			t.Fatal(err)
		}
		trust := b.clientTLS(t)
		trust.Certificates = []tls.Certificate{pair}
		secured := tls.Client(c.Conn, trust)
		c.Conn = secured
		c.In.Reset(secured)
		c.OK("auth bank/shop " + secret)
		newFramedConn(c, wire.Line).expect(t, want, "new")
	}

	open := func() bool {
		zone, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().In(zone)
		return now.Weekday() != time.Saturday && now.Weekday() != time.Sunday && now.Hour() >= 8 && now.Hour() < 18
	}
	for before := !open(); before != open(); { // the hour may change meanwhile
		before = open()
		want := "err DENIED access is limited to office hours"
		if before {
			want = "ok"
		}
		if timed := from("192.0.2.1", "timed/shop"); before == open() {
			timed.expect(t, want, "whoami")
		}
	}
	// the policy of the operator is evaluated first
	from("192.0.2.1", "timed/reader").expect(t, "err DENIED this app may only read", "new")

	own, reader := from("192.0.2.1", "own/shop"), from("192.0.2.1", "own/reader")
	own.expect(t, "err DENIED closed by the tenant", "new")
	own.expect(t, "ok", "whoami")
	reader.expect(t, "err DENIED this app may only read", "new")
	b.writeTenant(t, "own", file("policy: {closed: [whoami]}", app("shop", secret, "role: readwrite"),
		app("reader", secret, "role: readonly")))
	require.Eventually(t, "the new settings of the tenant reach its policy", func() bool {
		_, err := own.Do("whoami")
		return err != nil
	})
	own.expect(t, "err DENIED closed by the tenant", "whoami")
	own.expect(t, "ok", "new")
	reader.expect(t, "err DENIED this app may only read", "new")
}

// TestPolicyReloadUnderLoad replaces the folder of policies again and again. Each of two policies consists of four
// files with a version, and every decision must show one version only.
func TestPolicyReloadUnderLoad(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	b := deployment{settings: "policy: {folder: DIR/policies}\n",
		tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\napps:\n" +
			app("shop", secret, "role: readwrite")}}.write(t)
	for _, version := range []string{"1", "2"} {
		text := fmt.Sprintf("{%q: %q}", "version", version)
		servertest.WriteFiles(t, filepath.Join(b.dir, "v"+version), map[string]string{
			"a/data.json": text, "z/data.json": text,
			"m.rego": "package m\n\nversion := \"" + version + "\"\n",
			"a.rego": "package sessionserver.authz\n\nallow if not input.key\n\nreasons contains sprintf(\"" + version +
				" %s %s %s for %s\", [data.a.version, data.m.version, data.z.version, input.key])\n",
		})
	}
	turn := func(version string) {
		t.Helper()
		if err := os.Symlink("v"+version, filepath.Join(b.dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(b.dir, "next"), filepath.Join(b.dir, "policies")); err != nil {
			t.Fatal(err)
		}
	}
	turn("1")
	b.process = serve(t, "--config", b.file)
	var decisions [2]atomic.Int64
	var clients sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer clients.Wait()
	defer stop()
	for i := range 4 {
		c := b.connectAs(t, "acme/shop", secret)
		c.OK("new")
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("k%d.%d", i, n%5) // mostly a cached decision
				_, err := c.Do("get " + key)
				switch text := fmt.Sprint(err); text {
				case fmt.Sprintf("get %s: err DENIED 1 1 1 1 for %[1]s (key %[1]q)", key):
					decisions[0].Add(1)
				case fmt.Sprintf("get %s: err DENIED 2 2 2 2 for %[1]s (key %[1]q)", key):
					decisions[1].Add(1)
				default:
					t.Errorf("%s", text)
					return
				}
				if n%50 == 49 { // successes restore the error budget
					for range 50 {
						if _, err := c.Do("stat"); err != nil {
							t.Error(err)
							return
						}
					}
				}
			}
		})
	}
	for i := range 100 {
		version := 1 - i%2
		before := decisions[version].Load()
		turn(fmt.Sprint(version + 1))
		// the folder is polled every few seconds only
		if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		require.Eventually(t, "the other policy decides", func() bool {
			return decisions[version].Load() > before || t.Failed()
		})
	}
	t.Logf("%d decisions by one, %d by the other", decisions[0].Load(), decisions[1].Load())
}

// bundleServer serves a bundle to clients with the right token.
type bundleServer struct {
	mu   sync.Mutex
	body []byte
}

func (b *bundleServer) put(body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body = body
}

func (b *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer letmein" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b.body)))
	_, _ = w.Write(b.body)
}

// packBundle returns a bundle whose policy denies everything for a reason, signed with a secret.
func packBundle(t *testing.T, secret, revision, reason string) []byte {
	t.Helper()
	text := fmt.Sprintf("package sessionserver.authz\n\nallow if false\n\nreasons contains %q\n", reason)
	module, err := ast.ParseModuleWithOpts("a.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	out := bundle.Bundle{
		Manifest: bundle.Manifest{Revision: revision}, Data: map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "a.rego", Path: "a.rego", Raw: []byte(text), Parsed: module}},
	}
	out.Manifest.Init()
	if err := out.GenerateSignature(bundle.NewSigningConfig(secret, "HS256", ""), "policies", false); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := bundle.NewWriter(&packed).DisableFormat(true).Write(out); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestPolicyBundle checks that a server takes its policies from a bundle. An invalid bundle, an invalid signature and
// an unreachable server leave the policy in force, also over a restart, and are logged.
func TestPolicyBundle(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	server := &bundleServer{}
	web := httptest.NewServer(server)
	defer web.Close()
	b := deployment{
		settings: "policy:\n  bundle: {url: \"" + web.URL +
			"/p.tar.gz?key=hidden\", token_file: DIR/token, key_file: DIR/key, key_id: policies, algorithm: HS256, " +
			"poll: 1s, keep: DIR/kept}\n" +
			"log: {level: info}\n",
		tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\napps:\n" + app("shop", secret, "role: readwrite")},
	}.write(t)
	servertest.WriteFiles(t, b.dir, map[string]string{"token": "letmein\n", "key": "signing secret"})
	decides := func(reason string) {
		t.Helper()
		c := b.connectAs(t, "acme/shop", secret)
		require.Eventually(t, "the policy with reason "+reason+" decides", func() bool {
			_, err := c.Do("whoami")
			return err != nil && strings.HasSuffix(err.Error(), "err DENIED "+reason)
		})
		_ = c.Close()
	}
	logs := func(what string) {
		t.Helper()
		require.Eventually(t, "the log has "+what, func() bool { return strings.Contains(b.log(), what) })
	}
	server.put(packBundle(t, "another secret", "0", "nothing"))
	if out, stderr, status := newCLI(t, "").Run("", "check", b.file); status == 0 ||
		!strings.Contains(stderr, "config.yaml:6: policy.bundle.url: "+web.URL+"/p.tar.gz: ") {
		t.Errorf("status %d\n%s%s", status, out, stderr)
	}
	if out, stderr, status := newCLI(t, "").Run("", "serve", "--config", b.file); status != 1 ||
		!strings.Contains(stderr, "cannot use the policies: ") {
		t.Errorf("it starts without a policy: status %d\n%s%s", status, out, stderr)
	}
	server.put(packBundle(t, "signing secret", "one", "first"))
	if out, stderr, status := newCLI(t, "").Run("", "check", b.file); status != 0 ||
		!strings.Contains(out, "revision one") || !strings.Contains(out, "note: policies come by plain http") {
		t.Errorf("status %d\n%s%s", status, out, stderr)
	}
	b.process = serve(t, "--config", b.file)
	decides("first")
	logs("policies come by plain http")
	logs(`"revision":"one"`)
	server.put([]byte("garbage"))
	logs("not a bundle")
	server.put(packBundle(t, "another secret", "bad", "bad"))
	logs("signature")
	decides("first")
	server.put(packBundle(t, "signing secret", "two", "second"))
	decides("second")
	logs(`"revision":"two"`)
	web.CloseClientConnections()
	web.Close()
	logs("connection refused")
	decides("second")
	b.stop()
	b.process = serve(t, "--config", b.file)
	decides("second")
	logs("kept policies are in force")
	if strings.Contains(b.log(), "hidden") || strings.Contains(b.log(), "letmein") {
		t.Errorf("the log contains a secret:\n%s", b.log())
	}
	b.stop()
}

// TestPolicyThousandTenants checks that policies see a thousand tenants with three apps each, and the change of a
// tenant at once.
func TestPolicyThousandTenants(t *testing.T) {
	secret := auth.NewSecret()
	text := func(i int, write string) string {
		return fmt.Sprintf("allow: [127.0.0.0/8]\npolicy: {number: %d}\napps:\n", i) +
			app("shop", secret, "role: readwrite, write: ["+write+"]") +
			app("login", auth.NewSecret(), "role: readwrite") + app("reports", auth.NewSecret(), "role: readonly")
	}
	tenants := make(map[string]string)
	for i := range 1000 {
		tenants[fmt.Sprintf("tenant%d", i)] = text(i, "\"cart.*\"")
	}
	h := deployment{settings: "policy: {folder: DIR/policies}\n", tenants: tenants}.write(t)
	shipped, err := fs.ReadFile(configs.DefaultPolicy(), "default.rego")
	if err != nil {
		t.Fatal(err)
	}
	servertest.WriteFiles(t, h.dir, map[string]string{"policies/default.rego": string(shipped),
		"policies/number.rego": "package sessionserver.authz\n\n" +
			"deny contains \"it is the last one\" if data.tenants[input.tenant].settings.number == 999\n"})
	began := time.Now()
	h.process = serve(t, "--config", h.file)
	t.Logf("started in %v", time.Since(began))
	h.connectAs(t, "tenant999/shop", secret).Refused("new", "DENIED")
	for _, i := range []int{0, 500, 998} {
		name := fmt.Sprintf("tenant%d", i)
		c := h.connectAs(t, name+"/shop", secret)
		c.OK("new")
		c.OK("put cart.a 1")
		c.Refused("put user.a 1", "DENIED")
		began := time.Now()
		h.writeTenant(t, name, text(i, "\"user.*\""))
		require.Eventually(t, "the new pattern decides", func() bool {
			_, err := c.Do("put user.a 1")
			return err == nil
		})
		t.Logf("a change of a tenant decided after %v", time.Since(began))
		c.Refused("put cart.a 1", "DENIED")
	}
}

// TestPolicyBundlePrivate checks bundles on a server with a private authority, and the errors for confused keys.
func TestPolicyBundlePrivate(t *testing.T) {
	t.Parallel()
	server := &bundleServer{}
	server.put(packBundle(t, "signing secret", "one", "first"))
	web := httptest.NewTLSServer(server)
	defer web.Close()
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	for more, want := range map[string]string{
		"algorithm: HS256, key_file: DIR/key, ca_roots: DIR/ca.pem": ": OK",
		"algorithm: HS256, key_file: DIR/key": "certificate signed by unknown authority; set " +
			"policy.bundle.ca_roots to the file of a private authority",
		"algorithm: HS256, key_file: DIR/key, ca_roots: DIR/key": "policy.bundle.ca_roots: DIR/key: certificate " +
			"not found in it",
		"algorithm: ES256, key_file: DIR/own.key": "policy.bundle.key_file: DIR/own.key is the " +
			"private key, which belongs to the signer alone; ",
	} {
		b := deployment{settings: "policy:\n  bundle: {url: \"" + web.URL +
			"/p.tar.gz\", token_file: DIR/token, key_id: policies, keep: DIR/kept, " + more + "}\n"}.write(t)
		servertest.Certificate{Name: "own.example"}.Write(t, b.dir, "own")
		servertest.WriteFiles(t, b.dir, map[string]string{
			"token": "letmein\n", "key": "signing secret",
			"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})),
		})
		out, stderr, _ := newCLI(t, "").Run("", "check", b.file)
		if !strings.Contains(out+stderr, strings.ReplaceAll(want, "DIR", b.dir)) {
			t.Errorf("%s:\n%s%s", more, out, stderr)
		}
	}
}
