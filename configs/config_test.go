package configs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestReferenceIsDefault checks that the reference file contains every key, with the value that Default returns.
func TestReferenceIsDefault(t *testing.T) {
	cfg, err := Parse("reference.yaml", Reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range settings(reflect.TypeFor[Config](), "") {
		if cfg.lines[key] == 0 {
			t.Errorf("reference.yaml does not mention %s", key)
		}
	}
	cfg.document = document{}
	if want := Default(); !reflect.DeepEqual(*cfg, want) {
		t.Errorf("reference.yaml is not the defaults:\n%+v\n%+v", *cfg, want)
	}
}

// settings returns the keys of a struct. The keys of a list are those of its first item.
func settings(of reflect.Type, inside string) []string {
	var keys []string
	for i := range of.NumField() {
		f := of.Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Anonymous {
			keys = append(keys, settings(f.Type, inside)...)
			continue
		}
		name := f.Tag.Get("yaml")
		if name == "" {
			return []string{inside + f.Name + " (which has no yaml tag)"}
		}
		key := inside + name
		keys = append(keys, key)
		switch {
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, settings(f.Type, key+".")...)
		case f.Type == reflect.TypeFor[[]Listen](): // the one list that has an item by default
			keys = append(keys, settings(f.Type.Elem(), key+"[0].")...)
		}
	}
	return keys
}

func TestDevLoads(t *testing.T) {
	cfg, err := Parse("dev.yaml", Dev)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen[0].Name, want.Listen[0].Anonymous = "dev", "dev/app"
	want.Tenants, want.TLS.LocalCA = ".sessionserver/tenants.d", ".sessionserver/ca"
	want.Admin.Address, want.Storage.Path = "127.0.0.1:9180", ".sessionserver/sessions"
	cfg.document = document{}
	if !reflect.DeepEqual(*cfg, want) {
		t.Errorf("dev.yaml:\n%+v\nwant:\n%+v", *cfg, want)
	}
}

// TestPartial checks that a file changes only the settings that it names, and its lists replace those of the defaults.
func TestPartial(t *testing.T) {
	cfg, err := Parse("f", []byte("# mine\nsession:\n  lifetime: 1h30m\n  strict: true\nlimits:\n  # line: 1KiB\n"+
		"storage: {cache: 0, path: 2026}\n"+
		"listen:\n- name: \"a b\"\n  address: unix:/run/s\n"+
		"- {name: b, address: '[::]:0', allow: [10.0.0.0/8, \"2001:db8::1\"], plaintext: always}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Session.Lifetime, want.Session.Strict, want.Storage.Cache, want.Storage.Path = 90*60e9, true, 0, "2026"
	want.Listen = []Listen{
		{Name: "a b", Address: "unix:/run/s", Plaintext: "loopback", ClientCertificates: "none"},
		{Name: "b", Address: "[::]:0", Plaintext: "always", ClientCertificates: "none",
			Allow: []Prefix{prefix(t, "10.0.0.0/8"), prefix(t, "2001:db8::1/128")}},
	}
	cfg.document = document{}
	if !reflect.DeepEqual(*cfg, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", *cfg, want)
	}
}

func TestDefaultIsValid(t *testing.T) {
	cfg := Default()
	if problems := cfg.Validate(); len(problems) > 0 {
		t.Error(problems)
	}
}

// TestDefaultIsFresh checks that a caller that changes the result of Default does not change the next result.
func TestDefaultIsFresh(t *testing.T) {
	cfg := Default()
	cfg.Listen[0].Allow[0] = Prefix{}
	cfg.Listen[0].Name = "changed"
	if again := Default(); again.Listen[0].Name != "main" || again.Listen[0].Allow[0] == (Prefix{}) {
		t.Errorf("Default shares memory: %+v", again)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("log: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || err.Error() != file+`:1: log.level: "loud" (allowed: debug, info, warn, error)` {
		t.Errorf("a file with a mistake: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("Load of a folder: no error")
	}
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil { // a hole, which must not be read in full
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || err.Error() != large+": the file is too large (allowed: 1MiB)" {
		t.Errorf("a large file: %v", err)
	}
}

// TestAlso checks that problems found by further checks are reported together with the rest, in the order of the file.
// A setting with another problem already is left out.
func TestAlso(t *testing.T) {
	_, err := Parse("f", []byte("session:\n  lifetime: soon\n  strict: true\nlog:\n  level: loud\n"),
		func(c *Config) Problems {
			return Problems{c.Problem("session.strict", "not %s", "today"),
				c.Problem("session.lifetime", "a consequence")}
		})
	const want = "f:2: session.lifetime: \"soon\" (allowed: a duration such as 24m, 1h30m or 250ms)\n" +
		"f:3: session.strict: not today\nf:5: log.level: \"loud\" (allowed: debug, info, warn, error)"
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%v", err, want)
	}
}
