package configs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const acme = `allow: [0.0.0.0/0, "::/0"]
deny: [192.0.2.0/24]
hosts: [sessions.acme.example]
session: {lifetime: 1h}
quotas: {sessions: 100000}
rates: {on_limit: delay, tenant: {per_second: 2000, burst: 4000}}
policy:
  plan: large
  office: {from: 8, to: 18.5, "1": true}
  blocked: [192.0.2.0/24, null, [], {}]
  day: "2026-11-23"
  nothing:
apps:
  shop:
    role: readwrite
    secrets:
      - sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    certificates: ["dns:shop.acme.example"]
    allow: [10.0.0.0/8]
  blog: {role: readonly, read: [post.*], write: []}
`

// TestTenant checks that a file changes only the settings that it names. All others are those of the configuration.
func TestTenant(t *testing.T) {
	main := Default()
	main.Session.Strict, main.Quotas.Waiters, main.Rates.App = true, 7, Rate{10, 20}
	got, err := ParseTenant("tenants.d/acme.yaml", []byte(acme), &main)
	if err != nil {
		t.Fatal(err)
	}
	want := &Tenant{
		Name:  "acme",
		Allow: []Prefix{prefix(t, "0.0.0.0/0"), prefix(t, "::/0")}, Deny: []Prefix{prefix(t, "192.0.2.0/24")},
		Hosts: []string{"sessions.acme.example"}, Session: main.Session, Quotas: main.Quotas,
		Rates: Rates{OnLimit: "delay", Tenant: Rate{2000, 4000}, App: Rate{10, 20},
			SessionCreation: main.Rates.SessionCreation},
		Apps: map[string]App{
			"shop": {Role: "readwrite",
				Secrets:      []string{"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
				Certificates: []string{"dns:shop.acme.example"}, Allow: []Prefix{prefix(t, "10.0.0.0/8")}},
			"blog": {Role: "readonly", Read: []string{"post.*"}, Write: []string{}},
		},
		Policy: map[string]any{
			"plan": "large", "office": map[string]any{"from": json.Number("8"), "to": json.Number("18.5"), "1": true},
			"blocked": []any{"192.0.2.0/24", nil, []any{}, map[string]any{}}, "day": "2026-11-23", "nothing": nil,
		},
	}
	want.Session.Lifetime, want.Quotas.Sessions = time.Hour, 100_000
	if p := got.Problem("apps.shop.secrets[0]", "x"); p.Error() != "tenants.d/acme.yaml:17: apps.shop.secrets[0]: x" {
		t.Error(p)
	}
	if names := got.AppNames(); !slices.Equal(names, []string{"blog", "shop"}) {
		t.Error(names)
	}
	got.document = document{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", got, want)
	}
}

// TestTenantMistakes checks the mistakes that only a tenant's file can have. TestMistakes has the rest.
func TestTenantMistakes(t *testing.T) {
	const secret = "hss_0123456789012345678901234567890123456789012000000"
	const hash = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	for name, row := range map[string]struct{ text, want string }{
		"empty": {"", "a: the file is empty"},
		"no allow": {"hosts: []\n", "a: allow: no address is admitted (allowed: address ranges; everybody is " +
			"0.0.0.0/0 and ::/0)"},
		"empty allow": {"\nallow: []\n", "a:2: allow: no address is admitted …"},
		"unknown": {"allow: [::1]\nlisten: []\n", "a:2: listen: unknown setting (allowed: allow, deny, hosts, " +
			"session, quotas, rates, policy, apps)"},
		"server's own": {"allow: [::1]\nrates: {auth_failures: {burst: 1}}\n", "a:2: rates.auth_failures: unknown " +
			"setting (allowed: on_limit, tenant, app, address, session_creation, tenant_bytes, app_bytes)"},
		"hosts": {"allow: [::1]\nhosts:\n- \"*.a.example\"\n- A.example\n- a\n- 192.0.2.1\n- a.example\n" +
			"- a.example\n- a..b\n- -a.example\n",
			"a:3: hosts[0]: \"*.a.example\" (allowed: a name such …\na:4: hosts[1]: …\na:5: hosts[2]: …\n" +
				"a:6: hosts[3]: …\na:8: hosts[5]: duplicate \"a.example\"\na:9: hosts[6]: …\na:10: hosts[7]: …"},
		"apps": {"allow: [::1]\napps: [shop]\n", "a:2: apps: a list (allowed: settings by name)"},
		"app": {"allow: [::1]\napps:\n  shop: readwrite\n", "a:3: apps.shop: \"readwrite\" (allowed: " +
			"settings: role, secrets, certificates, allow, deny, read, write)"},
		"app twice": {"allow: [::1]\napps:\n  shop: {role: admin}\n  shop: {}\n",
			"a:4: apps.shop: duplicate, first in line 3"},
		"no name": {"allow: [::1]\napps:\n  [a]: {}\n", "a:3: apps.?: not a name (allowed: one word)"},
		"app unknown": {"allow: [::1]\napps:\n  shop:\n    password: 1\n    role: admin\n",
			"a:4: apps.shop.password: unknown setting …"},
		"app, no allow": {"allow: [::1]\napps:\n  shop:\n    allow: []\n    role: admin\n", "a:4: apps.shop.allow: " +
			"no address is admitted (allowed: address ranges, or to leave it out)"},
		"twice": {"allow: [::1]\napps: {a: {role: admin, secrets: [" + hash + ", " + hash +
			"]}, b: {role: admin, certificates: [\"dns:y.z\", \"dns:z.z\", \"dns:y.z\"]}}\n",
			"a:2: apps.a.secrets[1]: duplicate \"" + hash + "\"\na:2: apps.b.certificates[2]: duplicate \"dns:y.z\""},
		"too much": {"allow: [::1]\nsession: {max_value: 16MiB}\n", "a:2: session.max_value: 16MiB exceeds " +
			"limits.value of the configuration (allowed: up to 1MiB)"},
		"quotas": {"allow: [::1]\nquotas: {waiters: -1}\nrates: {app: {per_second: 1}}\n",
			"a:2: quotas.waiters: -1 (allowed: …\na:3: rates.app.burst: 0 (allowed: 8 to …"},
		"a secret": {"allow: [::1]\napps:\n  shop:\n    secrets: " + secret + "\n    role: admin\n",
			"a:4: apps.shop.secrets: \"hss_…\" (allowed: a list)"},
		"a secret as app": {"allow: [::1]\napps:\n  shop: " + secret + "\n  " + secret + ":\n    role: {}\n",
			"a:3: apps.shop: \"hss_…\" (allowed: …\na:5: apps.hss_….role: a group …"},
		"policy": {"allow: [::1]\npolicy: plain\n", "a:2: policy: \"plain\" (allowed: settings by name)"},
		"policy, not JSON": {"allow: [::1]\npolicy:\n  day: 2026-11-23\n  inf: .inf\n  hex: 0x10\n  \"yes\": True\n" +
			"  none: ~\n  1: one\n  huge: 1e0100\n  bin: !!binary aGk=\n" +
			"  list: [&x a, [*x], {b: 1_000}]\n  a: 1\n  a: 2\n",
			`a:3: policy.day: "2026-11-23" (allowed: a JSON value: text, a number such as -10 or 0.5, true, false, null; in quotes it is text)
a:4: policy.inf: ".inf" (allowed: …
a:5: policy.hex: "0x10" (allowed: …
a:6: policy.yes: "True" (allowed: …
a:7: policy.none: no value (allowed: …
a:8: policy.1: not text (allowed: text; write a name such as a number in quotes: "1")
a:9: policy.huge: "1e0100" (allowed: …
a:10: policy.bin: tag "!!binary" (allowed: …
a:11: policy.list[1][0]: alias "x" (allowed: …
a:11: policy.list[2].b: "1_000" (allowed: …
a:13: policy.a: duplicate, first in line 12`},
		"policy, deep": {"allow: [::1]\npolicy: {a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}\n",
			"a:2: policy.a" + strings.Repeat("[0]", 15) +
				": nested too deep (allowed: 16 levels of lists and settings)"},
		"policy, large": {"allow: [::1]\npolicy: {a: " + strings.Repeat("x", 64<<10) + "}\n",
			"a:2: policy: 65544 bytes as JSON (allowed: 64KiB)"},
		"also": {"allow: [::1]\nquotas: {bytes: x}\n", "a:1: allow: also\na:2: quotas.bytes: \"x\" is not a size …"},
	} {
		t.Run(name, func(t *testing.T) {
			main := Default()
			tenant, err := ParseTenant("a", []byte(row.text), &main, func(t *Tenant) Problems {
				if name != "also" {
					return nil
				}
				return Problems{t.Problem("allow", "also"), t.Problem("quotas.bytes", "a consequence")}
			})
			var problems Problems
			if !errors.As(err, &problems) || tenant != nil {
				t.Fatalf("got %v, %v", tenant, err)
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(row.want, "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !matches(got[i], want[i]) {
					t.Fatalf("got:\n%.2000s\nwant:\n%s", err, row.want)
				}
			}
			if strings.Contains(err.Error(), secret[4:12]) {
				t.Errorf("the error contains the secret: %v", err)
			}
		})
	}
}

// folder is a folder of tenants in a test.
type folder struct {
	*testing.T
	path string
	main *Config
	now  *Tenants
}

func newFolder(t *testing.T) *folder {
	main := Default()
	return &folder{T: t, path: t.TempDir(), main: &main}
}

func (f *folder) write(name, text string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.path, name), []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
}

// look loads the folder and compares its tenants, as name:lifetime, and the beginnings of its problems.
func (f *folder) look(tenants string, problems ...string) {
	f.Helper()
	f.now = LoadTenants(f.path, f.main, f.now, func(t *Tenant) Problems {
		if t.Name == "Bad" {
			return Problems{t.Problem("", "another rule")}
		}
		return nil
	})
	var got []string
	for _, t := range f.now.All {
		got = append(got, t.Name+":"+t.Session.Lifetime.String())
		if f.now.Tenant(t.Name) != t {
			f.Errorf("tenant %s is not found", t.Name)
		}
	}
	if strings.Join(got, " ") != tenants {
		f.Errorf("tenants %v, want %s", got, tenants)
	}
	ok := len(f.now.Problems) == len(problems)
	for i, p := range f.now.Problems {
		ok = ok && strings.HasPrefix(strings.TrimPrefix(p.Error(), f.path+"/"), problems[i])
	}
	if !ok {
		f.Errorf("problems:\n%v\nwant:\n%s", f.now.Problems, strings.Join(problems, "\n"))
	}
	again := LoadTenants(f.path, f.main, f.now)
	if !again.Same(f.now) {
		f.Errorf("an unchanged folder is reported as changed")
	}
}

// TestFolder checks that a tenant whose file has a mistake keeps its settings. Changes of other files take effect.
func TestFolder(t *testing.T) {
	f := newFolder(t)
	f.look("")
	f.write("a.yaml", "allow: [::1]\nsession: {lifetime: 1h}\n")
	f.write("b.yaml", "allow: []\n")
	f.write("Bad.yaml", "allow: [::1]\n")
	f.write("notes.txt", "not YAML: [")
	f.write(".b.yaml.tmp.yaml", "not YAML: [")
	f.write("c.txt", "not YAML: [")
	f.write("gone.drop", "")
	f.look("a:1h0m0s", "Bad.yaml: invalid tenant name \"Bad\"", "Bad.yaml: another rule",
		"b.yaml:1: allow: no address is admitted")
	if stale, missing := f.now.Stale(); len(stale) != 0 || !slices.Equal(missing, []string{"Bad", "b"}) {
		t.Errorf("stale %v, missing %v", stale, missing)
	}
	if !slices.Equal(f.now.Drops, []string{"gone"}) {
		t.Errorf("to drop: %v", f.now.Drops)
	}
	if err := os.Remove(filepath.Join(f.path, "Bad.yaml")); err != nil {
		t.Fatal(err)
	}

	f.write("b.yaml", "allow: [::1]\nsession: {lifetime: 2h}\n")
	f.look("a:1h0m0s b:2h0m0s")
	first := f.now
	f.write("a.yaml", "allow: [::1]\nsession: {lifetime: soon}\n")
	f.write("b.yaml", "allow: [::1]\nsession: {lifetime: 3h}\n") // takes effect in spite of a.yaml
	f.look("a:1h0m0s b:3h0m0s", "a.yaml:2: session.lifetime: \"soon\"")
	if stale, missing := f.now.Stale(); len(missing) != 0 || !slices.Equal(stale, []string{"a"}) {
		t.Errorf("stale %v, missing %v", stale, missing)
	}
	if first.All[1].Session.Lifetime != 2*time.Hour {
		t.Error("a tenant loaded before has changed")
	}
	f.write("a.yaml", "") // as at the beginning of a write
	f.look("a:1h0m0s b:3h0m0s", "a.yaml: the file is empty")
	if err := os.Remove(filepath.Join(f.path, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	f.look("a:1h0m0s", "a.yaml: the file is empty")
	f.write("a.yaml", "allow: [::1]\n")
	f.look("a:24m0s")

	other := *f.main // other settings of the server reach tenants whose files are the same
	other.Session.Lifetime = 5 * time.Hour
	f.main = &other
	f.look("a:5h0m0s")
}

// TestFolderFiles checks that links are followed within the folder. Folders, other links and unreadable files are
// problems.
func TestFolderFiles(t *testing.T) {
	f := newFolder(t)
	path := func(name string) string { return filepath.Join(f.path, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(path("..2026_1"), 0o700))
	must(os.MkdirAll(path("..2026_2"), 0o700))
	f.write("..2026_1/a.yaml", "allow: [::1]\nsession: {lifetime: 1h}\n")
	f.write("..2026_2/a.yaml", "allow: [::1]\nsession: {lifetime: 2h}\n")
	must(os.Symlink("..2026_1", path("..data")))
	must(os.Symlink("..data/a.yaml", path("a.yaml")))
	must(os.Mkdir(path("dir.yaml"), 0o700))
	f.look("a:1h0m0s", "dir.yaml: cannot be read: not a regular file")
	must(os.Symlink("..2026_2", path("..tmp"))) // Kubernetes changes a ConfigMap in this way
	must(os.Rename(path("..tmp"), path("..data")))
	f.look("a:2h0m0s", "dir.yaml: cannot be read: not a regular file")

	must(os.Remove(path("..2026_2/a.yaml"))) // a dangling link is not a tenant
	must(os.Remove(path("dir.yaml")))
	f.look("", "a.yaml: cannot be read: no such file")
	f.write("..2026_2/a.yaml", "allow: [::1]\n")
	f.look("a:24m0s")

	must(os.Truncate(path("..2026_2/a.yaml"), 1<<40))
	f.look("a:24m0s", "a.yaml: the file is too large (allowed: 1MiB)")
	f.write("..2026_2/a.yaml", "allow: [::1]\n")
	f.look("a:24m0s")

	outside := filepath.Join(t.TempDir(), "b.yaml") // a link that leaves the folder must not reveal its target
	must(os.WriteFile(outside, []byte("allow: [::1]\nsecret\n"), 0o600))
	must(os.Symlink(outside, path("b.yaml")))
	must(os.Symlink("../"+filepath.Base(filepath.Dir(outside))+"/b.yaml", path("c.yaml")))
	const leaves = ": cannot be read: path escapes from parent (a link must lead to a file within the folder: put " +
		"the file itself here)"
	f.look("a:24m0s", "b.yaml"+leaves, "c.yaml"+leaves)
	_, err := LoadTenant(path("b.yaml"), f.main)
	if err == nil || strings.TrimPrefix(err.Error(), f.path+"/") != "b.yaml"+leaves {
		t.Errorf("read alone: %v", err)
	}
	must(os.Remove(path("b.yaml")))
	must(os.Remove(path("c.yaml")))

	must(os.Rename(f.path, f.path+"-away")) // a missing folder is not an empty one
	f.look("a:24m0s", f.path+": the folder cannot be read, and its tenants stay unchanged: no such file")
	must(os.Rename(f.path+"-away", f.path))
	f.look("a:24m0s")
}

// TestFolderMisnamed checks that a file that is ignored because of its extension, but resembles a tenant's, is
// reported.
func TestFolderMisnamed(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", "allow: [::1]\n")
	f.write("a.yml", "allow: [::1]\n")
	f.write("b.yml", "allow: [::1]\n")
	f.write("c.YAML", "allow: [::1]\n")
	f.write(".d.yml", "")
	f.write("notes.txt", "")
	f.look("a:24m0s", "a.yml: ignored because of its extension .yml, and a.yaml exists, too: remove one of them",
		"b.yml: ignored because of its extension .yml: rename it to b.yaml",
		"c.YAML: ignored because of its extension .YAML: rename it to c.yaml")
}

func TestFolderHosts(t *testing.T) {
	f := newFolder(t)
	for _, name := range []string{"c", "a", "b"} {
		f.write(name+".yaml", "allow: [::1]\nhosts:\n- "+name+".example\n- shared.example\n")
	}
	f.look("a:24m0s b:24m0s c:24m0s", "b.yaml:4: hosts[1]: duplicate: shared.example is a host of tenant a, too",
		"c.yaml:4: hosts[1]: duplicate: shared.example is a host of tenant a, too")
}

// TestFolderOrder checks that the tenants do not depend on an earlier load, except those whose files have mistakes.
func TestFolderOrder(t *testing.T) {
	f := newFolder(t)
	for _, name := range []string{"a", "a-b", "a_b", "ab"} {
		f.write(name+".yaml", "allow: [::1]\n")
		f.now = LoadTenants(f.path, f.main, f.now)
	}
	fresh := LoadTenants(f.path, f.main, nil)
	if !reflect.DeepEqual(fresh.All, f.now.All) || len(fresh.All) != 4 || fresh.Tenant("a_b") == nil ||
		fresh.Tenant("b") != nil {
		t.Errorf("%v, afresh %v", f.now.All, fresh.All)
	}
}

// FuzzTenant checks that every file either loads or fails with its problems, and no problem contains a secret.
func FuzzTenant(f *testing.F) {
	f.Add([]byte(acme))
	f.Add([]byte("apps: {hss_aaaaaaaaaaaaaaaaa: {? [a] : hss_aaaaaaaaaaaaaaaaa}}\nallow: *hss_aaaaaaaaaaaaaaaaa\n"))
	main := Default()
	f.Fuzz(func(t *testing.T, data []byte) {
		tenant, err := ParseTenant("a.yaml", data, &main)
		if err == nil {
			if len(tenant.Allow) == 0 {
				t.Error("ParseTenant accepted a file that admits no address")
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || tenant != nil {
			t.Fatalf("got %v, %v", tenant, err)
		}
		for _, p := range problems {
			if text := p.Error(); strings.ContainsAny(text, "\n\x00") || len(text) > 2000 ||
				strings.Contains(text, "hss_a") {
				t.Errorf("not fit to be shown: %q", text)
			}
		}
	})
}
