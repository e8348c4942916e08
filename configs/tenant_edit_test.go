package configs

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	hashA = "sha256:" + strings.Repeat("a", 64)
	hashB = "sha256:" + strings.Repeat("b", 64)
	hashC = "sha256:" + strings.Repeat("c", 64)
)

// commented is a file as people write them, with A and B for hashes.
const commented = `# Acme Inc., contract 17

allow: [0.0.0.0/0, "::/0"]   # everybody

hosts:
    - sessions.acme.example   # since May

# Their apps.
apps:

  # The shop.
  # Twice a year they rotate.
  shop:
    role: readwrite

    secrets:    # at most two
      # the old one
      - A   # made 2026-01-01
      - B   # made 2026-06-01
    allow: ["10.0.0.0/8"] # their office

  # The blog.
  blog:
      role:   readwrite
      secrets: [A, B]  # both
      # nothing follows

# Limits come last.
quotas: {sessions: 5}  # small
# The end.
`

func hashes(text string) string {
	return strings.NewReplacer("A\n", hashA+"\n", "A ", hashA+" ", "B\n", hashB+"\n", "B ", hashB+" ", "C\n", hashC+
		"\n", "C ", hashC+" ", "[A", "["+hashA, "B]", hashB+"]", "A]", hashA+"]").Replace(text)
}

// swap replaces a part of a text that occurs in it once.
func swap(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q occurs %d times", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, new, 1)
}

// TestEdits checks that a change touches its own lines and no others.
func TestEdits(t *testing.T) {
	one := App{Role: "readwrite", Secrets: []string{hashC}}
	const oneText = "  new:\n    role: readwrite\n    secrets:\n      - C # made today\n"
	full := App{Role: "readwrite", Secrets: []string{hashC},
		Certificates: []string{"dns:a.example", "subject:CN=a, O=b # c"},
		Allow:        []Prefix{{netip.MustParsePrefix("10.0.0.0/8")}, {netip.MustParsePrefix("::1/128")}}}
	for name, row := range map[string]struct {
		text string
		edit func([]byte) ([]byte, error)
		want string
	}{
		"add an app": {commented, addApp("new", one),
			swap(t, commented, "      # nothing follows\n", "      # nothing follows\n"+oneText)},
		"remove the first app": {commented, removeApp("shop"),
			swap(t, commented, commented[strings.Index(commented, "  # The shop."):strings.Index(commented,
				"  # The blog.")], "")},
		"remove the last app": {commented, removeApp("blog"),
			swap(t, commented, commented[strings.Index(commented, "  # The blog."):strings.Index(commented,
				"# Limits come")], "")},
		"add a secret": {commented, addSecret("shop", hashC), swap(t, commented, "    secrets:    # at most two\n  "+
			"    # the old one\n      - A   # made 2026-01-01\n      - B   # made 2026-06-01\n",
			"    secrets: # at most two\n      # the old one\n      - A # made 2026-01-01\n"+
				"      - B # made 2026-06-01\n      - C # made today\n")},
		"remove a secret": {commented, removeSecret("shop", hashA), swap(t, commented, "    secrets:    # at most "+
			"two\n      # the old one\n      - A   # made 2026-01-01\n      - B   # made 2026-06-01\n",
			"    secrets: # at most two\n      - B # made 2026-06-01\n")},
		"remove a secret in brackets": {commented, removeSecret("blog", hashB),
			swap(t, commented, "      secrets: [A, B]  # both\n", "      secrets:\n        - A\n")},
		"the first app": {"allow: [::1]\napps:\n", addApp("new", one), "allow: [::1]\napps:\n" + oneText},
		"the first app, no apps": {"# x\nallow: [::1] # y\n# z", addApp("new", one),
			"# x\nallow: [::1] # y\n# z\napps:\n" + oneText},
		"the first app, braces": {"allow: [::1]\napps: {} # none\nhosts: []\n", addApp("new", one),
			"allow: [::1]\napps:\n" + oneText + "hosts: []\n"},
		"an app beside braces": {"apps: {a: {role: x}}\n", addApp("new", one), "apps:\n  a: {role: x}\n" + oneText},
		"a secret within braces": {"apps:\n  a: {role: x}\n\n# z\n", addSecret("a", hashC),
			"apps:\n  a:\n    role: x\n    secrets:\n      - C # made today\n\n# z\n"},
		"a secret of an empty app": {"apps:\n  a:\n", addSecret("a", hashC),
			"apps:\n  a:\n    secrets:\n      - C # made today\n"},
		"everything in braces": {"{allow: [::1], apps: {a: {role: x, secrets: [A]}}}\n", removeSecret("a", hashA),
			"allow: ['::1']\napps:\n  a:\n    role: x\n"},
		"the last app": {"apps:\n  a:\n    role: x\n", removeApp("a"), "apps:\n"},
		"the last secret": {"apps:\n  a:\n    secrets: # some\n    - A\n    role: x\n",
			removeSecret("a", hashA), "apps:\n  a:\n    role: x\n"},
		"a name that is a value": {"apps:\n  role:\n    role: role\n  apps: {role: apps}\n", addSecret("role", hashC),
			"apps:\n  role:\n    role: role\n    secrets:\n      - C # made today\n  apps: {role: apps}\n"},
		"quoted": {"\"apps\":\n  'a':\n    \"role\": x\n    'secrets':\n    - \"A\" # z\n",
			func(b []byte) ([]byte, error) {
				return AddSecret([]byte(strings.ReplaceAll(string(b), "\"A\"", "\""+hashA+"\"")), "a", hashC, "")
			},
			"\"apps\":\n  'a':\n    \"role\": x\n    'secrets':\n      - \"A\" # z\n      - C\n"},
		"line ends of Windows": {"allow: [::1]\r\napps:\r\n  a: # z\r\n    role: x\r\n", addSecret("a", hashC),
			"allow: [::1]\r\napps:\r\n  a: # z\r\n    role: x\r\n    secrets:\r\n      - C # made today\r\n"},
		"all of an app": {"apps:\n", addApp("new", full),
			"apps:\n  new:\n    role: readwrite\n    secrets:\n      - C # made today\n    certificates:\n" +
				"      - dns:a.example\n      - 'subject:CN=a, O=b # c'\n    allow:\n      - 10.0.0.0/8\n" +
				"      - ::1/128\n"},
		"an app of patterns": {"apps:\n",
			addApp("new", App{Role: "readonly", Read: []string{"cart.*", "{a,b}"}, Write: []string{}}),
			"apps:\n  new:\n    role: readonly\n    read:\n      - cart.*\n      - '{a,b}'\n    write: []\n"},
		"a secret beside none": {"apps:\n  a: {role: x, write: []}\n", addSecret("a", hashC),
			"apps:\n  a:\n    role: x\n    write: []\n    secrets:\n      - C # made today\n"},
		"an app with mistakes": {"apps:\n  a: # z\n    rol: x\n    secrets: 5\n  b: {role: x}\n", removeApp("a"),
			"apps:\n  b: {role: x}\n"},
		"within a document": {"---\nallow: [::1]\n...\n", addApp("new", one), "---\nallow: [::1]\napps:\n" + oneText +
			"...\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := row.edit([]byte(hashes(row.text)))
			want := strings.ReplaceAll(strings.ReplaceAll(hashes(row.want), "\"A\"", "\""+hashA+"\""), "C\r\n", hashC+
				"\r\n")
			if err != nil || string(got) != want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, want)
			}
		})
	}
}

func addApp(name string, app App) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return AddApp(b, name, app, "made today") }
}

func removeApp(name string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return RemoveApp(b, name) }
}

func addSecret(app, hash string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return AddSecret(b, app, hash, "made today") }
}

func removeSecret(app, hash string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return RemoveSecret(b, app, hash) }
}

// TestEditsRefused checks that an edit fails for an unknown app or secret, for an invalid file, and for a layout that
// cannot be edited safely.
func TestEditsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		edit func([]byte) ([]byte, error)
		want string
	}{
		"an app again":      {commented, addApp("shop", App{Role: "readwrite"}), "app shop already exists"},
		"no such app":       {commented, removeApp("shops"), "unknown app shops"},
		"no app to rotate":  {commented, addSecret("shops", hashC), "unknown app shops"},
		"no such secret":    {commented, removeSecret("shop", hashC), "unknown secret of app shop"},
		"a mistake":         {"allow: 1\n", addApp("a", App{}), "1: allow: \"1\" (allowed: a list)"},
		"empty":             {"", addApp("a", App{}), "the file is empty"},
		"no YAML":           {"a: [", addApp("a", App{}), "invalid YAML"},
		"a mistake beside":  {"allow: 1\napps:\n  a: {role: x}\n", removeApp("a"), "edit it by hand"},
		"an app twice":      {"apps:\n  a: {role: x}\n  a: {role: y}\n", removeApp("a"), "edit it by hand"},
		"nothing to remove": {"", removeApp("a"), "unknown app a"},
		"an odd way to write": {"apps:\n  a:\n    secrets: [\n" + hashA + "\n]\n", addSecret("a", hashC),
			"edit it by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := row.edit([]byte(hashes(row.text))); got != nil || err == nil ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %s\n%s", err, row.want, got)
			}
		})
	}
}

func TestNewTenant(t *testing.T) {
	main := Default()
	everybody := []Prefix{prefix(t, "0.0.0.0/0"), prefix(t, "::/0")}
	for i, lifetime := range []time.Duration{0, 90 * time.Minute, 0, time.Hour} {
		lenient := i >= 2
		got, err := ParseTenant("a/acme.yaml", NewTenant(everybody, lifetime, lenient), &main)
		if err != nil {
			t.Fatal(err)
		}
		want := &Tenant{Name: "acme", Allow: everybody, Session: main.Session, Quotas: main.Quotas,
			Rates: main.Rates.Rates}
		if lifetime != 0 {
			want.Session.Lifetime = lifetime
		}
		want.Session.Strict = !lenient
		got.document = document{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got:\n%+v\nwant:\n%+v", got, want)
		}
	}
}

// FuzzEdits checks that in every file an edit makes exactly its change, or fails. Removing an addition restores the
// settings.
func FuzzEdits(f *testing.F) {
	f.Add([]byte(hashes(commented)))
	f.Add([]byte("{allow: [::1], apps: {shop: {role: x, secrets: [" + hashA + "]}}}\n"))
	f.Add([]byte("apps:\n  shop: {role: x,\n   secrets: [" + hashA + "\n  ]} # z\n  b:\n# y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before, wrong := meaning(data)
		if less, err := RemoveApp(data, "shop"); err == nil {
			if after, wrong := meaning(less); len(wrong) > 0 || len(after.Apps) != len(before.Apps)-1 {
				t.Fatalf("%v\n%s", wrong, less)
			}
		}
		if len(wrong) > 0 {
			return
		}
		changed, err := AddApp(data, "new", App{Role: "readwrite", Secrets: []string{hashC}}, "made today")
		if err != nil {
			return
		}
		if after, wrong := meaning(changed); len(wrong) > 0 || len(after.Apps) != len(before.Apps)+1 {
			t.Fatalf("%v\n%s", wrong, changed)
		}
		back, err := RemoveApp(changed, "new")
		if err != nil {
			t.Fatalf("the added app cannot be removed: %v\n%s", err, changed)
		}
		if after, wrong := meaning(back); len(wrong) > 0 || !reflect.DeepEqual(before, after) {
			t.Fatalf("%v\n%s", wrong, back)
		}
		if rotated, err := AddSecret(data, "shop", hashC, "made today"); err == nil {
			if again, err := RemoveSecret(rotated, "shop", hashC); err != nil {
				t.Fatalf("%v\n%s", err, rotated)
			} else if after, wrong := meaning(again); len(wrong) > 0 || !reflect.DeepEqual(before, after) {
				t.Fatalf("%v\n%s", wrong, again)
			}
		}
		var problems Problems
		if _, err := ParseTenant("shop.yaml", data, &Config{}); err != nil && !errors.As(err, &problems) {
			t.Fatal(err)
		}
	})
}
