package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
)

// cli is a folder of tenants with the program's subcommands, run within the test.
type cli struct {
	*testing.T
	dir, config string
}

func newCLI(t *testing.T, more string) *cli {
	dir := t.TempDir()
	c := &cli{t, dir, filepath.Join(dir, "config.yaml")}
	text := "listen: [{name: main, address: \"127.0.0.1:0\", allow: [127.0.0.1]}]\ntenants: " + dir + "/tenants.d\nstorage: {driver: memory}\n" + more
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a command line, with --config unless it says where.
func (c *cli) run(stdin string, args ...string) (out, said string, status int) {
	var stdout, stderr bytes.Buffer
	status = run(c.Context(), args, streams{strings.NewReader(stdin), &stdout, &stderr})
	return stdout.String(), stderr.String(), status
}

// do runs a command line that must succeed and answers what it prints.
func (c *cli) do(args ...string) string {
	c.Helper()
	out, said, status := c.run("", append(args, "--config", c.config)...)
	if status != 0 {
		c.Fatalf("%v: status %d\n%s%s", args, status, out, said)
	}
	return out
}

// fails runs a command line that must fail and say this.
func (c *cli) fails(want string, args ...string) {
	c.Helper()
	out, said, status := c.run("", append(args, "--config", c.config)...)
	if status == 0 || !strings.Contains(said, want) {
		c.Errorf("%v: status %d, want %q\n%s%s", args, status, want, out, said)
	}
}

func (c *cli) file(name string) string { return filepath.Join(c.dir, "tenants.d", name) }

func (c *cli) read(name string) string {
	c.Helper()
	text, err := os.ReadFile(c.file(name))
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

var dsnPattern = regexp.MustCompile(`^tls://shop:(hss_[0-9A-Za-z]{49})@sessions\.example\.com:9090/acme\n$`)

// TestTenantCommands goes through the life of a tenant.
func TestTenantCommands(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.fails("there is no folder", "app", "create", "acme/shop")
	c.fails("cannot be the name of a tenant", "tenant", "create", "../acme")
	c.fails("is not an address range", "tenant", "create", "acme", "--allow", "home")
	c.fails("session.lifetime: 1ns (allowed: ", "tenant", "create", "acme", "--lifetime", "1ns")
	c.do("tenant", "create", "acme", "--allow", "everybody", "--allow", "192.0.2.1,2001:db8::/32", "--lifetime", "90m")
	c.fails("there is a tenant acme already", "tenant", "create", "acme")
	if got := c.read("acme.yaml"); !strings.Contains(got, "allow:\n  - 0.0.0.0/0\n  - ::/0\n  - 192.0.2.1/32\n  - 2001:db8::/32\n") || !strings.Contains(got, "  lifetime: 1h30m0s\n") {
		t.Error(got)
	}
	c.do("tenant", "create", "local")
	if got := c.read("local.yaml"); !strings.Contains(got, "allow:\n  - 127.0.0.0/8\n  - ::1/128\n") {
		t.Errorf("everybody may come without having been named:\n%s", got)
	}

	first := c.do("app", "create", "acme/shop", "--certificate", "dns:Shop.example", "--certificate", "subject:CN=a,O=b", "--allow", "10.0.0.0/8")
	secret := dsnPattern.FindStringSubmatch(first)
	if secret == nil || !auth.LooksLikeSecret(secret[1]) {
		t.Fatalf("it prints %q", first)
	}
	hash := auth.HashSecret(secret[1])
	want := fmt.Sprintf("apps:\n  shop:\n    role: readwrite\n    secrets:\n      - %s # made %s\n    certificates:\n      - dns:Shop.example\n      - subject:CN=a,O=b\n    allow:\n      - 10.0.0.0/8\n",
		hash, time.Now().Format(time.DateOnly))
	if got := c.read("acme.yaml"); !strings.HasSuffix(got, want) {
		t.Errorf("the file:\n%s\nwant at its end:\n%s", got, want)
	}
	c.fails("there is an app acme/shop already", "app", "create", "acme/shop")
	c.fails("there is no tenant acne", "app", "create", "acne/shop")
	c.fails("is not tenant/app", "app", "create", "acme")
	c.fails("is no name of a certificate", "app", "create", "acme/x", "--certificate", "x")
	if got := c.do("app", "create", "acme/mesh", "--certificate", "uri:spiffe://a/mesh", "--no-secret"); got != "tls://sessions.example.com:9090/acme?certfile=mesh.pem&keyfile=mesh.key\n" {
		t.Errorf("it prints %q", got)
	}

	second := dsnPattern.FindStringSubmatch(c.do("app", "rotate", "acme/shop"))
	if second == nil || second[1] == secret[1] {
		t.Fatalf("it prints %q", second)
	}
	c.fails("has 2 secrets already, "+hash.Short()+" and "+auth.HashSecret(second[1]).Short()+": first end the old one with", "app", "rotate", "acme/shop")
	if got := c.do("app", "list", "acme"); !strings.Contains(got, "acme/shop  readwrite  "+hash.Short()+" "+auth.HashSecret(second[1]).Short()) {
		t.Error(got)
	}
	c.fails("allowed: the beginning of one of them", "app", "revoke", "acme/shop", "--secret", "")
	c.fails("allowed: the beginning of one of them", "app", "revoke", "acme/shop", "--secret", "0")
	c.fails("tenant acme has no app shops", "app", "revoke", "acme/shops", "--oldest")
	if got := c.do("app", "revoke", "acme/shop", "--oldest"); got != "secret "+hash.Short()+" of app acme/shop is revoked\n" {
		t.Errorf("it prints %q", got)
	}
	if got := c.read("acme.yaml"); strings.Contains(got, hash.String()) || !strings.Contains(got, auth.HashSecret(second[1]).String()) {
		t.Error(got)
	}
	c.fails("no secret beside the one in use", "app", "revoke", "acme/shop", "--oldest")
	c.do("app", "revoke", "acme/shop", "--secret", auth.HashSecret(second[1]).Short())
	if got := c.read("acme.yaml"); strings.Contains(got, "secrets") {
		t.Error(got)
	}
	c.do("app", "rotate", "acme/shop")
	c.do("app", "revoke", "acme/shop")
	if got := c.do("app", "list", "acme"); strings.Contains(got, "shop") || !strings.Contains(got, "acme/mesh") {
		t.Error(got)
	}

	if got := c.do("tenant", "list"); !regexp.MustCompile(`(?m)^acme +1 +0\.0\.0\.0/0 ::/0 .*\nlocal +0 `).MatchString(got) {
		t.Error(got)
	}
	if got := c.do("tenant", "show", "acme"); !strings.Contains(got, "1h30m0s unused") || !strings.Contains(got, "uri:spiffe://a/mesh") {
		t.Error(got)
	}
	c.do("tenant", "delete", "local")
	c.fails("there is no tenant local", "tenant", "delete", "local")
	c.do("tenant", "delete", "acme", "--drop-sessions")
	c.fails("are still to be dropped", "tenant", "create", "acme")
	if got := c.do("tenant", "list"); !strings.Contains(got, "deleted; its sessions are being dropped") {
		t.Error(got)
	}
	for _, s := range []string{secret[1], second[1]} {
		c.holdsNot(s)
	}
}

// holdsNot wants no file to hold a secret.
func (c *cli) holdsNot(secret string) {
	c.Helper()
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			c.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
}

// TestCommandsOnMistakes: a file with a mistake is not changed, and the mistake is told; it can be deleted.
func TestCommandsOnMistakes(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.do("tenant", "create", "acme")
	const wrong = "allow: [::1]\napps:\n  shop: {role: king}\n"
	if err := os.WriteFile(c.file("acme.yaml"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"app", "create", "acme/x"}, {"app", "rotate", "acme/shop"}, {"app", "revoke", "acme/shop"}, {"app", "list", "acme"}, {"tenant", "show", "acme"}, {"tenant", "list"}} {
		c.fails("acme.yaml:3: apps.shop.role: \"king\" (allowed: readwrite)", args...)
	}
	out, said, status := c.run("", "check", c.config)
	if status != 1 || !strings.Contains(said, "acme.yaml:3: apps.shop.role") {
		t.Errorf("check: %d\n%s%s", status, out, said)
	}
	if c.read("acme.yaml") != wrong {
		t.Error("the file was changed")
	}
	c.do("tenant", "delete", "acme")
}

// TestCheckTenants: what is right and still odd is told.
func TestCheckTenants(t *testing.T) {
	c := newCLI(t, "")
	out, said, status := c.run("", "check", c.config)
	if status != 1 || !strings.Contains(said, "the folder cannot be read") {
		t.Errorf("without a folder: %d\n%s%s", status, out, said)
	}
	c.do("tenant", "create", "acme")
	text := c.read("acme.yaml") + "  a: {role: readwrite}\nhosts: [acme.example.com]\n"
	if err := os.WriteFile(c.file("acme.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, status = c.run("", "check", c.config)
	for _, want := range []string{"tenants.d: 1\n", "app acme/a has neither a secret nor a certificate", "tenant acme names hosts", "nothing is wrong with it"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %d\n%s%s", want, status, out, said)
		}
	}
}

// TestAppCertificates: a certificate that another app has is not given to a second one, which would lock both out; and an app has some credential.
func TestAppCertificates(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.do("tenant", "create", "acme")
	c.do("tenant", "create", "other")
	c.do("app", "create", "acme/shop", "--certificate", "dns:shop.example", "--no-secret")
	before := c.read("acme.yaml") + c.read("other.yaml")
	for _, app := range []string{"other/shop", "acme/blog"} {
		c.fails("dns:shop.example is a certificate of acme/shop already", "app", "create", app, "--certificate", "dns:SHOP.example")
	}
	c.fails("--no-secret leaves acme/blog without credentials", "app", "create", "acme/blog", "--no-secret")
	if c.read("acme.yaml")+c.read("other.yaml") != before {
		t.Error("a file was changed")
	}
	c.do("app", "create", "other/shop", "--certificate", "dns:other.example")
	text := strings.Replace(string(mustRead(t, c.config)), "allow: [127.0.0.1]", "allow: [127.0.0.1], anonymous: acme/guest", 1)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.do("app", "create", "acme/guest", "--no-secret") // which the listener makes somebody
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPlace: where the tenants are, and what DSNs name.
func TestPlace(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	c := newCLI(t, "")
	dev := func(args ...string) string {
		t.Helper()
		out, said, status := c.run("", append(args, "--dev", "--state", state)...)
		if status != 0 {
			t.Fatalf("%v: %d\n%s%s", args, status, out, said)
		}
		return out
	}
	dev("tenant", "create", "acme")
	got := dev("app", "create", "acme/shop")
	if !regexp.MustCompile(`^tls://shop:hss_\w+@127\.0\.0\.1:9090/acme\?cafile=` + regexp.QuoteMeta(state) + `/ca/ca\.pem\n$`).MatchString(got) {
		t.Errorf("it prints %q", got)
	}
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", state)
	mustConnect(t, s.addr).mustAsk(t, "new") // as dev/app, which is there beside a tenant that was made before
	info, err := os.Stat(filepath.Join(state, "tenants.d", "acme.yaml"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	c.do("tenant", "create", "acme")
	c.fails("give --address tls://", "app", "create", "acme/shop") // port 0 of all addresses is nothing to print
	if got := c.do("app", "create", "acme/shop", "--address", "tls://[2001:db8::1]"); !strings.HasSuffix(got, "@[2001:db8::1]:9090/acme\n") {
		t.Errorf("it prints %q", got)
	}
	c.fails("it names a tenant or an app", "app", "create", "acme/x", "--address", "tls://a:b@c/d")
	c.fails("it begins with no scheme", "app", "create", "acme/x", "--address", "example.com")
	for text, want := range map[string]string{
		"listen: [{address: \"127.0.0.1:9091\", allow: [::1]}]":                                                              "tcp://127.0.0.1:9091",
		"listen: [{address: \"localhost:9091\", allow: [::1]}]":                                                              "tcp://localhost:9091",
		"listen: [{address: \"192.0.2.1:9091\", allow: [::1]}]":                                                              "",
		"listen: [{address: \"192.0.2.1:9091\", allow: [::1], plaintext: always}]":                                           "tcp://192.0.2.1:9091",
		"listen: [{address: \":9091\", allow: [::1]}]":                                                                       "",
		"listen: [{address: \"0.0.0.0:9091\", allow: [::1], plaintext: always}]":                                             "",
		"listen: [{address: \"unix:/run/s\"}]":                                                                               "unix:///run/s",
		"listen: [{address: \"db.example:9091\", allow: [::1]}]\ntls: {certificates: [{cert: a, key: b}]}":                   "tls://db.example:9091",
		"listen: [{address: \":9091\", allow: [::1]}]\ntls: {acme: {names: [s.example], agree_terms: true, email: a@b.com}}": "tls://s.example:9091",
	} {
		cfg, err := configs.Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := listenerAddress(cfg); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"tls://a.example:9090": "", "tcp://a": "", "a.example:9090": "begins with no scheme", "tls://": "host: missing", "tls://a/b": "needs credentials", "x": "no scheme"} {
		cfg := configs.Default()
		cfg.PublicAddress = text
		problems := inspectAddress(&cfg)
		if (want == "") != (len(problems) == 0) || want != "" && !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v, want %q", text, problems, want)
		}
	}
	_, said, status := c.run("", "tenant", "list", "--config", c.config, "--state", state)
	if status == 0 || !strings.Contains(said, "--state goes with --dev") {
		t.Errorf("%d: %s", status, said)
	}
}

// TestFilesKept: a change keeps a file's mode and a link to it, and leaves nothing behind.
func TestFilesKept(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.do("tenant", "create", "acme")
	real := filepath.Join(c.dir, "real.yaml")
	if err := os.Rename(c.file("acme.yaml"), real); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, c.file("acme.yaml")); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(real, 12345, 54321); err != nil {
			t.Fatal(err)
		}
	}
	c.do("app", "create", "acme/shop")
	info, err := os.Lstat(c.file("acme.yaml"))
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info.Mode(), err)
	}
	info, err = os.Stat(real)
	if err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if stat := info.Sys().(*syscall.Stat_t); root && (stat.Uid != 12345 || stat.Gid != 54321) {
		t.Errorf("the file belongs to %d:%d", stat.Uid, stat.Gid)
	}
	if root { // a new file belongs to whom the folder belongs
		if err := os.Chown(filepath.Join(c.dir, "tenants.d"), 12345, 54321); err != nil {
			t.Fatal(err)
		}
		c.do("tenant", "create", "other")
		info, err := os.Stat(c.file("other.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12345 || stat.Gid != 54321 || info.Mode().Perm() != 0o640 {
			t.Errorf("the new file belongs to %d:%d, %v", stat.Uid, stat.Gid, info.Mode())
		}
	}
	for _, folder := range []string{c.dir, filepath.Join(c.dir, "tenants.d")} {
		left, err := filepath.Glob(filepath.Join(folder, ".*.tmp"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// TestCommandsAtOnce: of several processes that change one file none undoes what another did.
func TestCommandsAtOnce(t *testing.T) {
	c := newCLI(t, "public_address: tls://sessions.example.com:9090\n")
	c.do("tenant", "create", "acme")
	const count = 12
	var all []*exec.Cmd
	for i := range count {
		cmd := exec.Command(binary, "app", "create", fmt.Sprintf("acme/app-%d", i), "--config", c.config)
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
	tenant, err := configs.LoadTenant(c.file("acme.yaml"), &cfg, inspectTenant)
	if err != nil || len(tenant.Apps) != count {
		t.Fatalf("%v\n%s", err, c.read("acme.yaml"))
	}
}

// TestLockEnds: a command that waits for another one ends when it is asked to.
func TestLockEnds(t *testing.T) {
	c := newCLI(t, "")
	c.do("tenant", "create", "acme")
	f, err := place{Config: c.config}.open()
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.lock(ctx); err != context.DeadlineExceeded {
		t.Errorf("it was locked twice: %v", err)
	}
	unlock()
	unlock, err = f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestTenantsServed: what commands do to the tenants of a running server, it does within a second.
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
	login := func(secret string) (*talk, error) {
		conn := mustConnect(t, s.addr)
		_, err := conn.ask("auth acme/shop " + secret)
		return conn, err
	}
	var old *talk
	eventually(t, "the app is served", func() (ok bool) {
		var err error
		old, err = login(first)
		return err == nil
	})
	id := old.mustAsk(t, "new")
	old.mustAsk(t, "put a b")
	old.mustAsk(t, "close")

	second := secretOf(c.do("app", "rotate", "acme/shop", "--address", address))
	var fresh *talk
	eventually(t, "the new secret is served", func() (ok bool) {
		var err error
		fresh, err = login(second)
		return err == nil
	})
	old.mustAsk(t, "ping") // rotation ends nothing
	began := time.Now()
	c.do("app", "revoke", "acme/shop", "--oldest")
	for { // the server says goodbye, or nothing
		if _, err := old.in.ReadString('\n'); err != nil {
			break
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a revoked secret was good for %v", took)
	}
	fresh.mustAsk(t, "open "+id+" r")
	fresh.mustAsk(t, "abort")

	c.do("tenant", "delete", "acme", "--drop-sessions")
	eventually(t, "the sessions are dropped", func() bool { _, err := os.Lstat(c.file("acme.drop")); return os.IsNotExist(err) })
	c.do("tenant", "create", "acme")
	third := secretOf(c.do("app", "create", "acme/shop", "--address", address))
	eventually(t, "the tenant is served again", func() (ok bool) {
		var err error
		fresh, err = login(third)
		return err == nil
	})
	if _, err := fresh.ask("open " + id + " r"); err == nil || !strings.Contains(err.Error(), "NOTFOUND") {
		t.Errorf("a dropped session: %v", err)
	}
	for _, secret := range []string{first, second, third} {
		if strings.Contains(s.logged()+s.printed(), secret) {
			t.Error("a secret was logged")
		}
		c.holdsNot(secret)
	}
}
