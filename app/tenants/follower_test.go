package tenants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/server"
	"sessionserver/server/servertest/require"
	"sessionserver/session"
)

// watched is a folder whose tenants are followed.
type watched struct {
	*testing.T
	path string
	cfg  *configs.Config
	*Follower

	mu      sync.Mutex
	applied []server.Tenant
	times   int
	refuse  error // the result of apply
	log     bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watched) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func newWatched(t *testing.T) *watched {
	cfg := configs.Default()
	w := &watched{T: t, path: filepath.Join(t.TempDir(), "tenants.d"), cfg: &cfg}
	cfg.Tenants = w.path
	if err := os.Mkdir(w.path, 0o700); err != nil {
		t.Fatal(err)
	}
	apply := func(all []server.Tenant, _ []*configs.Tenant) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.refuse != nil {
			return w.refuse
		}
		w.applied, w.times = all, w.times+1
		return nil
	}
	w.Follower = New(&cfg, Options{Apply: apply, Logger: slog.New(slog.NewTextHandler(w, nil))})
	w.debounce, w.poll, w.retry = 5*time.Millisecond, time.Hour, time.Millisecond
	return w
}

// follow watches until the test ends.
func (w *watched) follow() (stop func()) {
	w.Helper()
	if err := w.Load(); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		w.Follower.Run(ctx)
		close(ended)
	}()
	stop = func() { cancel(); <-ended }
	w.Cleanup(stop)
	return stop
}

func (w *watched) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.path, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// now are the tenants that were applied last, as name:lifetime.
func (w *watched) now() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, t := range w.applied {
		all = append(all, t.Name+":"+t.Sessions.Lifetime.String())
	}
	return strings.Join(all, " ")
}

func (w *watched) becomes(want string) {
	w.Helper()
	require.Eventually(w.T, "tenants "+want, func() bool { return w.now() == want })
}

func lives(lifetime string) string { return "allow: [::1]\nsession: {lifetime: " + lifetime + "}\n" }

// TestWatch checks that every kind of change in the folder is applied.
func TestWatch(t *testing.T) {
	w := newWatched(t)
	w.write("a.yaml", lives("1h"))
	w.follow()
	w.becomes("a:1h0m0s")
	w.write("b.yaml", lives("2h"))
	w.becomes("a:1h0m0s b:2h0m0s")
	w.write("b.yaml", lives("3h")) // in place
	w.becomes("a:1h0m0s b:3h0m0s")
	w.write(".tmp", lives("4h"))
	if err := os.Rename(filepath.Join(w.path, ".tmp"), filepath.Join(w.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.becomes("a:4h0m0s b:3h0m0s")
	w.write("a.yaml", "allow: [\n") // a mistake there holds up nothing elsewhere
	w.write("b.yaml", lives("5h"))
	w.becomes("a:4h0m0s b:5h0m0s")
	if s := w.Status(); s.Tenants != 2 || len(s.Problems) != 1 ||
		!strings.Contains(w.logged(), "a.yaml:2: invalid YAML") || !strings.Contains(w.logged(), "as_before=a") {
		t.Errorf("%+v\n%s", s, w.logged())
	}
	if err := os.Remove(filepath.Join(w.path, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	w.becomes("a:4h0m0s")
	w.write("a.yaml", lives("1h"))
	w.becomes("a:1h0m0s")
	require.Eventually(t, "the log reports that all files are valid", func() bool {
		return strings.Contains(w.logged(), "no mistake is left in the files of the tenants")
	})
	if s := w.Status(); s.Tenants != 1 || len(s.Problems) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWatchPolls checks that changes without a notification of the system are found too: of a file behind a link, and
// of the folder itself.
func TestWatchPolls(t *testing.T) {
	w := newWatched(t)
	w.poll = 2 * time.Millisecond
	other := filepath.Join(w.path, "..other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(other, "f"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lives("1h"))
	if err := os.Symlink("..other/f", filepath.Join(w.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.follow()
	w.becomes("a:1h0m0s")
	write(lives("2h"))
	w.becomes("a:2h0m0s")
	if err := os.Rename(w.path, w.path+"-old"); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "the folder is missed", func() bool {
		return strings.Contains(w.logged(), "the folder cannot be read, and its tenants stay unchanged")
	})
	if w.now() != "a:2h0m0s" {
		t.Errorf("without the folder: %s", w.now())
	}
	if err := os.Mkdir(w.path, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("b.yaml", lives("3h"))
	w.becomes("b:3h0m0s")
	w.write("b.yaml", lives("4h"))
	w.becomes("b:4h0m0s")
}

// TestWatchSoon checks that changes without a notification are applied within a second.
func TestWatchSoon(t *testing.T) {
	w := newWatched(t)
	usual := New(w.cfg, Options{})
	w.debounce, w.poll = usual.debounce, usual.poll
	at := filepath.Join(w.path, "..data")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("..data/a.yaml", lives("1h"))
	if err := os.Symlink("..data/a.yaml", filepath.Join(w.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.follow()
	w.becomes("a:1h0m0s")
	w.write("b.yaml", lives("1h"))
	w.becomes("a:1h0m0s b:1h0m0s") // the file from before is still in force
	w.write("..data/a.yaml", lives("2h"))
	w.becomes("a:2h0m0s b:1h0m0s")
	if most := usual.poll + 4*usual.debounce; most > time.Second {
		t.Errorf("it may take %v", most)
	}
}

// BenchmarkFingerprint is what a poll costs with ten thousand tenants.
func BenchmarkFingerprint(b *testing.B) {
	folder := b.TempDir()
	for i := range 10_000 {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("tenant-%d.yaml", i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		fingerprint(folder)
	}
}

// TestWatchRefused checks that a change that cannot be applied is reported until it is undone, and tried again with the
// next change.
func TestWatchRefused(t *testing.T) {
	w := newWatched(t)
	var failing atomic.Pointer[error]
	w.opts.Observer = func(e Event) {
		if e.Kind == Checked {
			failing.Store(&e.Err)
		}
	}
	refused := errors.New("refused for a test")
	fails := func() bool { p := failing.Load(); return p != nil && errors.Is(*p, refused) }
	w.follow()
	w.mu.Lock()
	w.refuse = refused
	w.mu.Unlock()
	w.write("a.yaml", lives("1h"))
	require.Eventually(t, "the refusal is reported", fails)
	if err := os.Remove(filepath.Join(w.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "nothing is wrong any more", func() bool { return *failing.Load() == nil })
	w.mu.Lock()
	w.refuse = nil
	w.mu.Unlock()
	w.write("a.yaml", lives("1h"))
	w.write("b.yaml", lives("1h"))
	w.becomes("a:1h0m0s b:1h0m0s")
}

// TestReloadTenants checks that new settings of the server reach the tenants. The folder and the listeners stay.
func TestReloadTenants(t *testing.T) {
	w := newWatched(t)
	w.write("a.yaml", "allow: [::1]\n")
	w.follow()
	w.becomes("a:24m0s")
	next := configs.Default()
	next.Session.Lifetime, next.Tenants = time.Hour, "/nowhere"
	reload := func(cfg *configs.Config) {
		w.Configure(cfg)
		w.Reload()
	}
	reload(&next)
	w.becomes("a:1h0m0s")
	w.write("b.yaml", "allow: [::1]\n")
	w.becomes("a:1h0m0s b:1h0m0s")

	const changed = "the tenants have changed"
	require.Eventually(t, "the new tenant is logged", func() bool {
		return strings.Contains(w.logged(), "added=b")
	})
	before := strings.Count(w.logged(), changed)
	again := next
	again.Log.Level = "debug"
	reload(&again)
	if strings.Count(w.logged(), changed) != before {
		t.Errorf("a reload that changes no tenant is logged as a change:\n%s", w.logged())
	}
	again.Session.MaxKeys++
	reload(&again)
	if !strings.Contains(w.logged(), "changed=\"a b\"") {
		t.Errorf("a reload that changes tenants is not logged:\n%s", w.logged())
	}

	w.mu.Lock()
	w.refuse = errors.New("refused for a test")
	w.mu.Unlock()
	refused := next
	refused.Session.Lifetime = 9 * time.Hour
	reload(&refused)
	w.becomes("a:1h0m0s b:1h0m0s")
	w.mu.Lock()
	w.refuse = nil
	w.mu.Unlock()
	w.Reload() // as after every failure
	w.becomes("a:9h0m0s b:9h0m0s")

	w.cfg.Tenants = filepath.Join(t.TempDir(), "none")
	if err := New(w.cfg, Options{Logger: slog.New(slog.DiscardHandler)}).Load(); err == nil {
		t.Error("a missing folder is not reported")
	}
}

// TestDrops checks that the sessions of a deleted tenant are dropped once it is not served, and that this is repeated
// until it succeeds. The mark is removed last.
func TestDrops(t *testing.T) {
	w := newWatched(t)
	w.write("a.yaml", lives("1h"))
	w.write("b.yaml", lives("1h"))
	w.write("b.drop", "") // a mark for an existing tenant is ignored
	w.write("B-.drop", "")
	var mu sync.Mutex
	var asked []string
	fail := 2
	w.opts.Drop = func(ctx context.Context, tenant string) (int64, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, tenant)
		if strings.Contains(w.now(), tenant+":") {
			t.Errorf("the sessions of %s are dropped while it is there", tenant)
		}
		if fail--; fail >= 0 {
			return 1, errors.New("no such luck")
		}
		return 7, nil
	}
	stop := w.follow()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := filepath.Join(w.path, "a.drop")
	must(os.Rename(filepath.Join(w.path, "a.yaml"), mark))
	gone := func() bool { _, err := os.Lstat(mark); return os.IsNotExist(err) }
	require.Eventually(t, "the mark is gone", gone)
	require.Eventually(t, "the drop is logged", func() bool {
		return strings.Contains(w.logged(), "tenant=a sessions=7")
	})
	mu.Lock()
	if !reflect.DeepEqual(asked, []string{"a", "a", "a"}) {
		t.Errorf("asked to drop %v", asked)
	}
	mu.Unlock()
	for _, want := range []string{"b.drop: the sessions of tenant b are to be dropped, and the tenant exists again",
		"B-.drop: its name is not the name of a tenant", "no such luck"} {
		if !strings.Contains(w.logged(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	stop()

	w.write("c.drop", "") // left by a server that was ended: the next one continues
	w.follow()
	mark = filepath.Join(w.path, "c.drop")
	require.Eventually(t, "the mark is gone after a restart", gone)
}

// TestTenantMistakes checks for mistakes in tenants that package configs cannot know.
func TestTenantMistakes(t *testing.T) {
	secret := auth.NewSecret()
	hash := auth.HashSecret(secret).String()
	w := newWatched(t)
	w.cfg.Listen = append(w.cfg.Listen, configs.Listen{Anonymous: "a/none"}, configs.Listen{Anonymous: "none/a"},
		configs.Listen{Anonymous: "c/a"})
	w.write("Bad.yaml", "allow: [::1]\n")
	w.write("a.yaml", "allow: [::1]\nsession: {lifetime: 0s, grace_max: 9h}\napps:\n  A: {role: readwrite}\n  b:\n"+
		"    role: owner\n    secrets: [sha256:12, "+secret+", x]\n    certificates: [a.example]\n  c:\n")
	w.write("b.yaml", "allow: [::1]\napps:\n  a: {role: readwrite, certificates: [\"dns:A.example\", "+
		"\"dns:b.example\"]}\n  b: {role: readwrite, certificates: [\"dns:a.example\"]}\n")
	w.write("c.yaml", "allow: [::1]\napps:\n  a: {role: readwrite, secrets: ["+hash+"], certificates: "+
		"[\"dns:b.example\"]}\n")
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, p := range w.Status().Problems {
		problems = append(problems, strings.TrimPrefix(p.Error(), w.path+"/"))
	}
	want := []string{
		`Bad.yaml: invalid tenant name "Bad"`,
		`a.yaml:2: session.lifetime: 0s (allowed: 1s `,
		`a.yaml:2: session.grace_max: 9h0m0s (allowed: `,
		`a.yaml:4: apps."A": invalid app name "A"`,
		`a.yaml:6: apps.b.role: "owner" (allowed: readwrite, readonly, admin)`,
		`a.yaml:7: apps.b.secrets: 3 secrets (allowed: 2`,
		`a.yaml:7: apps.b.secrets[0]: not the hash of a secret (allowed: sha256: and 64 hex digits)`,
		`a.yaml:7: apps.b.secrets[1]: this is the secret itself, and every reader of the file could use it: write ` +
			hash + ` here`,
		`a.yaml:7: apps.b.secrets[2]: not the hash`,
		`a.yaml:8: apps.b.certificates[0]: "a.example" is not a certificate name (allowed: dns:NAME`,
		`a.yaml:9: apps.c.role: missing (allowed: readwrite, readonly, admin)`,
		`b.yaml:3: apps.a.certificates[0]: dns:a.example belongs to b/b too, and identifies neither`,
		`b.yaml:4: apps.b.certificates[0]: dns:a.example belongs to b/a too`,
		`b.yaml:3: apps.a.certificates[1]: dns:b.example belongs to c/a too`,
		`c.yaml:3: apps.a.certificates[0]: dns:b.example belongs to b/a too`,
		`: listen[1].anonymous: unknown tenant a in `,
		`: listen[2].anonymous: unknown tenant none in `,
	}
	for i := range max(len(problems), len(want)) {
		if i >= len(problems) || i >= len(want) || !strings.HasPrefix(problems[i], want[i]) {
			t.Errorf("the problems are:\n%s\nwant:\n%s", strings.Join(problems, "\n"), strings.Join(want, "\n"))
			break
		}
	}
	if strings.Contains(w.logged(), secret[4:20]) {
		t.Errorf("the log shows a secret:\n%s", w.logged())
	}
	if w.now() != "b:24m0s c:24m0s" {
		t.Errorf("served: %s", w.now())
	}
}

// TestServerTenant checks that each setting of a file reaches the server.
func TestServerTenant(t *testing.T) {
	main := configs.Default()
	hash := auth.HashSecret("x")
	file, err := configs.ParseTenant("acme.yaml", fmt.Appendf(nil, `allow: [0.0.0.0/0]
deny: [192.0.2.0/24]
session: {lifetime: 1h, absolute_lifetime: 2h, strict: true, max_keys: 3}
quotas: {sessions: 1, bytes: 2KiB, connections: 3, waiters: 4, memory: 5MiB}
rates:
  on_limit: delay
  tenant: {per_second: 1, burst: 10}
  app: {per_second: 2, burst: 20}
  address: {per_second: 3, burst: 30}
  session_creation: {per_second: 4, burst: 40}
apps:
  shop: {role: readwrite, secrets: [%s], certificates: ["dns:A.example"], allow: [10.0.0.0/8], deny: [10.1.0.0/16]}
  only: {role: readwrite, deny: [10.0.0.0/8]}
`, hash), &main, Inspect)
	if err != nil {
		t.Fatal(err)
	}
	pre := func(texts ...string) auth.Allowlist {
		return auth.Allowlist{Allow: mustPrefixes(t, texts[0]), Deny: mustPrefixes(t, texts[1])}
	}
	shop, only := pre("10.0.0.0/8", "10.1.0.0/16"), pre("0.0.0.0/0 ::/0", "10.0.0.0/8")
	settings := session.DefaultSettings()
	settings.Lifetime, settings.AbsoluteLifetime, settings.Strict, settings.MaxKeys = time.Hour, 2*time.Hour, true, 3
	settings.MaxSessions, settings.MaxTotalBytes, settings.MaxWaiters = 1, 2048, 4
	want := server.Tenant{
		Tenant: auth.Tenant{Name: "acme", Access: pre("0.0.0.0/0", "192.0.2.0/24"), Apps: []auth.App{
			{Name: "only", Role: auth.ReadWrite, Access: &only},
			{Name: "shop", Role: auth.ReadWrite, Access: &shop, Secrets: []auth.SecretHash{hash},
				Certificates: []auth.CertificateName{"dns:a.example"}},
		}},
		Sessions: settings, MaxConns: 3, MaxMemory: 5 << 20,
		Rates: server.Rates{OnLimit: server.Delay, Tenant: server.Rate{PerSecond: 1, Burst: 10},
			App:     server.Rate{PerSecond: 2, Burst: 20},
			Address: server.Rate{PerSecond: 3, Burst: 30}, SessionCreation: server.Rate{PerSecond: 4, Burst: 40},
			TenantBytes: server.Unlimited, AppBytes: server.Unlimited},
	}
	if got := forServer(file); !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", got, want)
	}
}

// TestAnonymousTenants checks that without a folder exactly the identities that listeners name are served.
func TestAnonymousTenants(t *testing.T) {
	cfg := configs.Default()
	for _, id := range []string{"a/x", "", "a/y", "b/x", "a/x"} {
		cfg.Listen = append(cfg.Listen, configs.Listen{Anonymous: id})
	}
	var got []string
	for _, tenant := range Anonymous(&cfg) {
		for _, app := range tenant.Apps {
			got = append(got, tenant.Name+"/"+app.Name)
		}
		if tenant.MaxConns != cfg.Quotas.Connections || tenant.Sessions.Lifetime != cfg.Session.Lifetime ||
			len(tenant.Access.Allow) != 2 {
			t.Errorf("%+v", tenant)
		}
	}
	if strings.Join(got, " ") != "a/x a/y b/x" {
		t.Error(got)
	}
}

func mustPrefixes(t *testing.T, text string) []netip.Prefix {
	t.Helper()
	var all []netip.Prefix
	for part := range strings.FieldsSeq(text) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
