package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/server/servertest"
)

// newCLI returns command lines that run within the test, on a new configuration with further settings.
func newCLI(t *testing.T, settings string) *servertest.CLI {
	t.Helper()
	command := func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
		return run(ctx, args, streams{stdin, stdout, stderr})
	}
	return servertest.NewCLI(t, command, settings)
}

var dsnPattern = regexp.MustCompile(`^tls://shop:(hss_[0-9A-Za-z]{49})@sessions\.example\.com:9090/acme\n$`)

// TestTenantCommands goes through the life of a tenant.
func TestTenantCommands(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Fails("not found: tenant create creates it", "app", "create", "acme/shop")
	c.Fails("cannot be the name of a tenant", "tenant", "create", "../acme")
	c.Fails("is not an address range", "tenant", "create", "acme", "--allow", "home")
	c.Fails("session.lifetime: 1ns (allowed: ", "tenant", "create", "acme", "--lifetime", "1ns")
	c.Do("tenant", "create", "acme", "--allow", "everybody", "--allow", "192.0.2.1,2001:db8::/32", "--lifetime", "90m")
	c.Fails("tenant acme exists already", "tenant", "create", "acme")
	if got := c.Read("acme.yaml"); !strings.Contains(got,
		"allow:\n  - 0.0.0.0/0\n  - ::/0\n  - 192.0.2.1/32\n  - 2001:db8::/32\n") ||
		!strings.Contains(got, "  lifetime: 1h30m0s\n") {
		t.Error(got)
	}
	c.Do("tenant", "create", "local")
	if got := c.Read("local.yaml"); !strings.Contains(got, "allow:\n  - 127.0.0.0/8\n  - ::1/128\n") {
		t.Errorf("all addresses are allowed by default:\n%s", got)
	}

	first := c.Do("app", "create", "acme/shop", "--certificate", "dns:Shop.example", "--certificate",
		"subject:CN=a,O=b", "--allow", "10.0.0.0/8")
	secret := dsnPattern.FindStringSubmatch(first)
	if secret == nil || !auth.LooksLikeSecret(secret[1]) {
		t.Fatalf("the output is %q", first)
	}
	hash := auth.HashSecret(secret[1])
	want := fmt.Sprintf("apps:\n  shop:\n    role: readwrite\n    secrets:\n      - %s # made %s\n"+
		"    certificates:\n      - dns:Shop.example\n      - subject:CN=a,O=b\n    allow:\n      - 10.0.0.0/8\n",
		hash, time.Now().Format(time.DateOnly))
	if got := c.Read("acme.yaml"); !strings.HasSuffix(got, want) {
		t.Errorf("the file:\n%s\nwant at its end:\n%s", got, want)
	}
	c.Fails("app acme/shop exists already", "app", "create", "acme/shop")
	c.Fails("unknown tenant acne", "app", "create", "acne/shop")
	c.Fails("is not tenant/app", "app", "create", "acme")
	c.Fails("is not a certificate name", "app", "create", "acme/x", "--certificate", "x")
	if got := c.Do("app", "create", "acme/mesh", "--certificate", "uri:spiffe://a/mesh",
		"--no-secret"); got != "tls://sessions.example.com:9090/acme?certfile=mesh.pem&keyfile=mesh.key\n" {
		t.Errorf("the output is %q", got)
	}

	c.Fails(`invalid key pattern`, "app", "create", "acme/x", "--read", "[")
	c.Fails(`apps.x.role: "x" (allowed: readwrite, readonly, admin)`, "app", "create", "acme/x", "--role", "x")
	c.Do("app", "create", "acme/reports", "--role", "readonly", "--read", "order.*", "--read", "{a,b}", "--write", "",
		"--certificate", "dns:reports.example", "--no-secret")
	want = "  reports:\n    role: readonly\n    certificates:\n      - dns:reports.example\n    read:\n" +
		"      - order.*\n      - '{a,b}'\n    write: []\n"
	if got := c.Read("acme.yaml"); !strings.HasSuffix(got, want) {
		t.Errorf("the file:\n%s\nwant at its end:\n%s", got, want)
	}
	if got := strings.Fields(c.Do("app", "list", "acme")); !slices.Contains(got, "order.*") ||
		!slices.Contains(got, "none") {
		t.Error(got)
	}
	if got := c.Do("tenant", "show", "acme"); !strings.Contains(got, "readonly; reads order.* {a,b}; writes none; ") {
		t.Error(got)
	}
	c.Do("app", "revoke", "acme/reports")
	// without patterns, which would be all keys to an app that may write
	c.Do("app", "create", "acme/looks", "--role", "readonly")
	if got := c.Do("app", "list", "acme"); !regexp.MustCompile(`acme/looks +readonly +\* +none `).MatchString(got) {
		t.Error(got)
	}
	if got := c.Do("tenant", "show", "acme"); !strings.Contains(got, "readonly; reads *; writes none; ") {
		t.Error(got)
	}
	c.Do("app", "revoke", "acme/looks")

	second := dsnPattern.FindStringSubmatch(c.Do("app", "rotate", "acme/shop"))
	if second == nil || second[1] == secret[1] {
		t.Fatalf("the output is %q", second)
	}
	c.Fails("has 2 secrets already, "+hash.Short()+" and "+auth.HashSecret(
		second[1]).Short()+": first end the old one with", "app", "rotate", "acme/shop")
	if got := c.Do("app", "list", "acme"); !strings.Contains(got,
		"acme/shop  readwrite  *     *      "+hash.Short()+" "+auth.HashSecret(second[1]).Short()) {
		t.Error(got)
	}
	c.Fails("allowed: the beginning of one of them", "app", "revoke", "acme/shop", "--secret", "")
	c.Fails("allowed: the beginning of one of them", "app", "revoke", "acme/shop", "--secret", "0")
	c.Fails("tenant acme has no app shops", "app", "revoke", "acme/shops", "--oldest")
	if got := c.Do("app", "revoke", "acme/shop", "--oldest"); got != "secret "+hash.Short()+" of app acme/shop is "+
		"revoked\n" {
		t.Errorf("the output is %q", got)
	}
	if got := c.Read("acme.yaml"); strings.Contains(got, hash.String()) ||
		!strings.Contains(got, auth.HashSecret(second[1]).String()) {
		t.Error(got)
	}
	c.Fails("no secret beside the one in use", "app", "revoke", "acme/shop", "--oldest")
	c.Do("app", "revoke", "acme/shop", "--secret", auth.HashSecret(second[1]).Short())
	if got := c.Read("acme.yaml"); strings.Contains(got, "secrets") {
		t.Error(got)
	}
	c.Do("app", "rotate", "acme/shop")
	c.Do("app", "revoke", "acme/shop")
	if got := c.Do("app", "list", "acme"); strings.Contains(got, "shop") || !strings.Contains(got, "acme/mesh") {
		t.Error(got)
	}

	if got := c.Do("tenant", "list"); !regexp.MustCompile(`(?m)^acme +1 +0\.0\.0\.0/0 ::/0 .*\nlocal +0 `).MatchString(
		got) {
		t.Error(got)
	}
	if got := c.Do("tenant", "show", "acme"); !strings.Contains(got, "1h30m0s unused") ||
		!strings.Contains(got, "uri:spiffe://a/mesh") {
		t.Error(got)
	}
	c.Do("tenant", "delete", "local")
	c.Fails("unknown tenant local", "tenant", "delete", "local")
	c.Do("tenant", "delete", "acme", "--drop-sessions")
	c.Fails("are still to be dropped", "tenant", "create", "acme")
	if got := c.Do("tenant", "list"); !strings.Contains(got, "deleted; its sessions are being dropped") {
		t.Error(got)
	}
	for _, s := range []string{secret[1], second[1]} {
		c.HoldsNot(s)
	}
}

// TestCommandsOnMistakes checks that an invalid file is reported and not changed. It can be deleted.
func TestCommandsOnMistakes(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	const wrong = "allow: [::1]\napps:\n  shop: {role: king}\n"
	if err := os.WriteFile(c.File("acme.yaml"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"app", "create", "acme/x"}, {"app", "rotate", "acme/shop"},
		{"app", "list", "acme"}, {"tenant", "show", "acme"}, {"tenant", "list"}} {
		c.Fails("acme.yaml:3: apps.shop.role: \"king\" (allowed: readwrite, readonly, admin)", args...)
	}
	out, stderr, status := c.Run("", "check", c.Config)
	if status != 1 || !strings.Contains(stderr, "acme.yaml:3: apps.shop.role") {
		t.Errorf("check: %d\n%s%s", status, out, stderr)
	}
	if c.Read("acme.yaml") != wrong {
		t.Error("the file was changed")
	}
	c.Do("tenant", "delete", "acme")
}

// TestRevokeOnMistakes checks that an app of an invalid file can be revoked, unless a server would ignore the change.
// The error then advises what to do.
func TestRevokeOnMistakes(t *testing.T) {
	c := newCLI(t, "")
	c.Do("tenant", "create", "acme")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(c.File("acme.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b := auth.HashSecret("a"), auth.HashSecret("b")
	apps := fmt.Sprintf("allow: [::1]\napps:\n  blog: {role: readwrite}\n  shop:\n    role: readwrite\n"+
		"    secrets:\n      - %s\n      - %s\n", a, b)
	without := strings.Replace(apps, "      - "+a.String()+"\n", "", 1)

	write("allow: [::1]\napps:\n  shop: {role: king, sekrets: 5}\n")
	if got := c.Do("app", "revoke", "acme/shop"); got != "app acme/shop is revoked\n" ||
		c.Read("acme.yaml") != "allow: [::1]\napps:\n" {
		t.Errorf("it prints %q\n%s", got, c.Read("acme.yaml"))
	}
	write(strings.Replace(apps, a.String(), "hash", 1)) // not a hash, and so the file is invalid
	if got := c.Do("app", "revoke", "acme/shop", "--oldest"); got != "a secret of app acme/shop is revoked\n" ||
		c.Read("acme.yaml") != without {
		t.Errorf("it prints %q\n%s", got, c.Read("acme.yaml"))
	}

	path := c.File("acme.yaml")
	for _, row := range []struct {
		text string
		args []string
		want string
	}{
		{"quotas: {sessions: many}\n" + apps, nil, "app acme/shop is not revoked: the file is invalid, and a server " +
			"keeps its previous state until it is valid:\n" +
			path + ":1: quotas.sessions: \"many\" (allowed: a whole number)\n\n" +
			"Mend these and try again. By hand: take the app out, at " + path + ":5, and mend the rest"},
		{"quotas: {sessions: -1}\n" + apps, []string{"--oldest"}, "take the line with its hash out, at " + path +
			":7, and mend the rest"},
		{apps + "quotas: [\n", nil, "invalid YAML"},
		{apps + "quotas: [\n", nil, "mv " + path + " " + path + ".off\n"},
	} {
		write(row.text)
		c.Fails(row.want, append([]string{"app", "revoke", "acme/shop"}, row.args...)...)
		if c.Read("acme.yaml") != row.text {
			t.Errorf("the file was changed:\n%s", c.Read("acme.yaml"))
		}
	}

	// that of the server is wrong: a running server keeps the configuration that it has read
	config, err := os.ReadFile(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Config, append(config, "limits: {line: long}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	write(apps)
	c.Fails("limits.line: \"long\"", "app", "rotate", "acme/blog")
	c.Do("app", "revoke", "acme/shop", "--secret", a.Short())
	if c.Read("acme.yaml") != without {
		t.Error(c.Read("acme.yaml"))
	}
	c.Do("tenant", "delete", "acme")
	if err := os.WriteFile(c.Config, []byte("tenants: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Fails("invalid YAML", "tenant", "delete", "acme")
}

// TestCheckTenants checks that check notes valid settings that are unusual.
func TestCheckTenants(t *testing.T) {
	c := newCLI(t, "")
	out, stderr, status := c.Run("", "check", c.Config)
	if status != 1 || !strings.Contains(stderr, "tenants.d does not exist: create it") {
		t.Errorf("without a folder: %d\n%s%s", status, out, stderr)
	}
	c.Do("tenant", "create", "acme")
	text := c.Read("acme.yaml") + "  a: {role: readwrite}\nhosts: [acme.example.com]\n"
	if err := os.WriteFile(c.File("acme.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, status = c.Run("", "check", c.Config)
	for _, want := range []string{"tenants.d: 1\n", "app acme/a has neither a secret nor a certificate",
		"tenant acme names hosts", ".yaml: OK"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("the output lacks %q: %d\n%s%s", want, status, out, stderr)
		}
	}
}

// TestAppCertificates checks that a certificate of one app is not given to another, which would lock out both, and that
// an app has credentials.
func TestAppCertificates(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	c.Do("tenant", "create", "other")
	c.Do("app", "create", "acme/shop", "--certificate", "dns:shop.example", "--no-secret")
	before := c.Read("acme.yaml") + c.Read("other.yaml")
	for _, app := range []string{"other/shop", "acme/blog"} {
		c.Fails("dns:shop.example is a certificate of acme/shop already", "app", "create", app, "--certificate",
			"dns:SHOP.example")
	}
	c.Fails("--no-secret leaves acme/blog without credentials", "app", "create", "acme/blog", "--no-secret")
	if c.Read("acme.yaml")+c.Read("other.yaml") != before {
		t.Error("a file was changed")
	}
	c.Do("app", "create", "other/shop", "--certificate", "dns:other.example")
	text := strings.Replace(servertest.ReadFile(t, c.Config), "allow: [127.0.0.1]",
		"allow: [127.0.0.1], anonymous: acme/guest", 1)
	if err := os.WriteFile(c.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Do("app", "create", "acme/guest", "--no-secret") // the listener authenticates it
}

// TestUnmadeCA checks that app create warns that the server has yet to create its CA, and not about files of clients.
func TestUnmadeCA(t *testing.T) {
	c := newCLI(t, "tls: {local_ca: "+t.TempDir()+"/ca}\npublic_address: tls://sessions.example:9090\n")
	c.Do("tenant", "create", "acme")
	for name, row := range map[string]struct {
		address string
		warning bool
	}{
		"own":     {"", true},
		"clients": {"tls://sessions.example:9090?cafile=/none/ca.pem", false},
	} {
		_, stderr, status := c.Run("", "app", "create", "acme/"+name, "--address", row.address, "--config", c.Config)
		warning := strings.Contains(stderr, "does not exist yet: the server creates it when it starts")
		if status != 0 ||
			warning != row.warning {
			t.Errorf("%s: status %d\n%s", name, status, stderr)
		}
	}
}

// TestPlace checks where commands find the tenants, and which address DSNs contain.
func TestPlace(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	c := newCLI(t, "")
	dev := func(args ...string) string {
		t.Helper()
		out, stderr, status := c.Run("", append(args, "--dev", "--state", state)...)
		if status != 0 {
			t.Fatalf("%v: %d\n%s%s", args, status, out, stderr)
		}
		return out
	}
	dev("tenant", "create", "acme")
	got := dev("app", "create", "acme/shop")
	if !regexp.MustCompile(`^tls://shop:hss_\w+@127\.0\.0\.1:9090/acme\?cafile=` + regexp.QuoteMeta(state) +
		`/ca/ca\.pem\n$`).MatchString(got) {
		t.Errorf("the output is %q", got)
	}
	c.Do("tenant", "create", "acme")
	c.Fails("give --address tls://", "app", "create", "acme/shop") // port 0 of all addresses is nothing to print
	if got := c.Do("app", "create", "acme/shop", "--address", "tls://[2001:db8::1]"); !strings.HasSuffix(got,
		"@[2001:db8::1]:9090/acme\n") {
		t.Errorf("the output is %q", got)
	}
	c.Fails("contains neither a tenant nor an app", "app", "create", "acme/x", "--address", "tls://a:b@c/d")
	c.Fails("the scheme is missing", "app", "create", "acme/x", "--address", "example.com")
	for text, want := range map[string]string{
		"listen: [{address: \"127.0.0.1:9091\", allow: [::1]}]": "tcp://127.0.0.1:9091",
		"listen: [{address: \"localhost:9091\", allow: [::1]}]": "tcp://localhost:9091",
		"listen: [{address: \"192.0.2.1:9091\", allow: [::1]}]": "",
		"listen: [{address: \"192.0.2.1:9091\", allow: [::1], plaintext: " +
			"always}]": "tcp://192.0.2.1:9091",
		"listen: [{address: \":9091\", allow: [::1]}]": "",
		"listen: [{address: \"0.0.0.0:9091\", allow: [::1], plaintext: " +
			"always}]": "",
		"listen: [{address: \"unix:/run/s\"}]": "unix:///run/s",
		"listen: [{address: \"db.example:9091\", allow: [::1]}]\n" +
			"tls: {certificates: [{cert: a, key: b}]}": "tls://db.example:9091",
		"listen: [{address: \":9091\", allow: [::1]}]\ntls: {acme: {names: [s.example], agree_terms: true, email: " +
			"a@b.com}}": "tls://s.example:9091",
	} {
		cfg, err := configs.Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := listenerAddress(cfg); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"tls://a.example:9090": "", "tcp://a": "",
		"a.example:9090": "the scheme is missing", "tls://": "host: missing", "tls://a/b": "only with credentials",
		"x": "the scheme is missing"} {
		cfg := configs.Default()
		cfg.PublicAddress = text
		problems := app.Inspect(&cfg)
		if (want == "") != (len(problems) == 0) || want != "" && !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v, want %q", text, problems, want)
		}
	}
	_, stderr, status := c.Run("", "tenant", "list", "--config", c.Config, "--state", state)
	if status == 0 || !strings.Contains(stderr, "--state needs --dev") {
		t.Errorf("%d: %s", status, stderr)
	}
}

// TestFilesKept checks that a change keeps the owner and mode of a file, and leaves no other files.
func TestFilesKept(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	real := c.File("acme.yaml")
	if err := os.Chmod(real, 0o604); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(real, 12345, 54321); err != nil {
			t.Fatal(err)
		}
	}
	c.Do("app", "create", "acme/shop")
	info, err := os.Stat(real)
	if err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if stat := info.Sys().(*syscall.Stat_t); root && (stat.Uid != 12345 || stat.Gid != 54321) {
		t.Errorf("the file belongs to %d:%d", stat.Uid, stat.Gid)
	}
	if root { // a new file belongs to whom the folder belongs
		if err := os.Chown(filepath.Join(c.Dir, "tenants.d"), 12345, 54321); err != nil {
			t.Fatal(err)
		}
		c.Do("tenant", "create", "other")
		info, err := os.Stat(c.File("other.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12345 || stat.Gid != 54321 || info.Mode().Perm() != 0o640 {
			t.Errorf("the new file belongs to %d:%d, %v", stat.Uid, stat.Gid, info.Mode())
		}
	}
	left, err := filepath.Glob(c.File(".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFolderOfOthers checks commands of root on a folder of the service. No link or file that the service puts there
// gives it a file of another user, or shows one.
func TestFolderOfOthers(t *testing.T) {
	const owner, secret = 12345, "root:$6$secret"
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	text := c.Read("acme.yaml")
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(filepath.Join(c.Dir, "tenants.d"), owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	victim := filepath.Join(c.Dir, "victim.yaml")
	if err := os.WriteFile(victim, []byte(text+"# "+secret+"\n"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(victim)
	if err != nil {
		t.Fatal(err)
	}
	commands := [][]string{
		{"tenant", "create", "new"}, {"tenant", "show", "acme"}, {"tenant", "list"}, {"app", "list", "acme"},
		{"app", "create", "acme/a"}, {"app", "rotate", "acme/a"},
		{"app", "revoke", "acme/a"}, {"tenant", "delete", "acme", "--drop-sessions"},
	}
	names := []string{"acme.yaml", "new.yaml", "acme.drop", ".lock", ".acme.yaml.tmp"}
	for kind, put := range map[string]func(at string) error{
		"link":      func(at string) error { return os.Symlink(victim, at) },
		"relative":  func(at string) error { return os.Symlink("../victim.yaml", at) },
		"hard link": func(at string) error { return os.Link(victim, at) },
		"pipe":      func(at string) error { return syscall.Mkfifo(at, 0o666) },
	} {
		for _, args := range commands {
			if kind == "hard link" && args[1] != "create" && args[1] != "rotate" && args[1] != "revoke" &&
				args[1] != "delete" {
				// a user who may link to a file may read it, unless the system allows links to any file
				continue
			}
			for _, name := range names {
				_ = os.Remove(c.File(name))
				if err := put(c.File(name)); err != nil {
					t.Fatal(err)
				}
			}
			out, stderr, status := c.Run("", append(args, "--config", c.Config)...)
			if deletes := args[1] == "delete"; (status == 0) != deletes {
				t.Errorf("%s: %v: status %d\n%s%s", kind, args, status, out, stderr)
			}
			if strings.Contains(out+stderr, secret) {
				t.Errorf("%s: %v shows the content of the file:\n%s%s", kind, args, out, stderr)
			}
			after, err := os.Stat(victim)
			if err != nil {
				t.Fatal(err)
			}
			is, was := after.Sys().(*syscall.Stat_t), before.Sys().(*syscall.Stat_t)
			if is.Uid != was.Uid || is.Gid != was.Gid || after.Mode() != before.Mode() ||
				after.Size() != before.Size() || after.ModTime() != before.ModTime() {
				t.Fatalf("%s: %v: the file of another user is %d:%d %v now", kind, args, is.Uid, is.Gid, after.Mode())
			}
		}
	}
	for _, name := range names {
		if err := os.Remove(c.File(name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	c.Do("tenant", "create", "acme")
	if err := os.Link(c.File("acme.yaml"), victim+".2"); err != nil {
		t.Fatal(err)
	}
	c.Fails("acme.yaml is the same file as another one (a hard link)", "app", "create", "acme/a")
	// links within the folder can be read and not be changed
	if err := os.Rename(c.File("acme.yaml"), c.File("..acme")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..acme", c.File("acme.yaml")); err != nil {
		t.Fatal(err)
	}
	c.Do("tenant", "show", "acme")
	c.Fails("acme.yaml is a link, and nothing is changed through links: change what it leads to", "app", "create",
		"acme/a")
}

// TestDevSecret checks that the secret of serve --dev is not written through a link, and that no other file is shown as
// the secret.
func TestDevSecret(t *testing.T) {
	cfg, err := devConfig(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, devSecret(cfg)); err != nil {
		t.Fatal(err)
	}
	if err := ensureDevTenant(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(victim); !os.IsNotExist(err) {
		t.Errorf("the secret was written through a link: %v", err)
	}
	if err := os.WriteFile(victim, []byte("something of others\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if dsn, err := devDSN(cfg, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}); err == nil || dsn != "" {
		t.Errorf("it shows %q, %v", dsn, err)
	}
}

// TestHandEdits checks that a change by an editor is kept while a command changes the file, and that both take effect.
func TestHandEdits(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.Do("tenant", "create", "acme")
	f, err := folderFlags{Config: c.Config}.open()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	edit := func(most int, save func(text []byte)) error {
		asked = 0
		return f.Change(t.Context(), "acme", func(text []byte) ([]byte, error) {
			if asked++; asked <= most {
				save(fmt.Appendf(text[:len(text):len(text)], "  hand-%d: {role: readwrite}\n", asked))
			}
			return configs.AddApp(text, "shop", configs.App{Role: "readwrite"}, "")
		})
	}
	inPlace := func(text []byte) {
		if err := os.WriteFile(c.File("acme.yaml"), text, 0o640); err != nil {
			t.Error(err)
		}
	}
	byName := func(text []byte) {
		if err := os.WriteFile(c.File(".acme.swp"), text, 0o640); err != nil {
			t.Error(err)
		}
		if err := os.Rename(c.File(".acme.swp"), c.File("acme.yaml")); err != nil {
			t.Error(err)
		}
	}
	if err := edit(1, inPlace); err != nil || asked != 2 || !strings.Contains(c.Read("acme.yaml"), "hand-1") ||
		!strings.Contains(c.Read("acme.yaml"), "shop") {
		t.Errorf("saved in place: %v, asked %d times\n%s", err, asked, c.Read("acme.yaml"))
	}
	c.Do("tenant", "delete", "acme")
	c.Do("tenant", "create", "acme")
	if err := edit(2, byName); err != nil || asked != 3 || !strings.Contains(c.Read("acme.yaml"), "hand-2") ||
		!strings.Contains(c.Read("acme.yaml"), "shop") {
		t.Errorf("saved by a new name: %v, asked %d times\n%s", err, asked, c.Read("acme.yaml"))
	}
	c.Do("tenant", "delete", "acme")
	c.Do("tenant", "create", "acme")
	if err := edit(100, byName); !errors.Is(err, tenants.ErrChanged) || strings.Contains(c.Read("acme.yaml"), "shop") {
		t.Errorf("saved all the time: %v\n%s", err, c.Read("acme.yaml"))
	}
	left, err := filepath.Glob(c.File(".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
