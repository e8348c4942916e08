package sessionserver

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "sessionserver"

// mayImport is the shape of the module: what each package, or the nearest folder that it lies in, may import of the
// others. An entry is one package, without those in its folder: no package but app chooses a driver or an engine. A
// package may always import what lies in its own folder. Only app and cmd/sessionserver may import everything. Only
// cmd/sessionserver may import app.
//
// The packages atomicfile and watch know nothing of the others. They exist because certificates, tenants and policies
// are files that are replaced and followed in the same way.
var mayImport = map[string][]string{
	"admin": {},
	"app":   {"*"},
	// neither the network, nor the storage, nor the log of audit events: package app passes functions
	"app/tenants":       {"atomicfile", "auth", "configs", "policy", "policy/opa", "server", "watch"},
	"atomicfile":        {},
	"audit":             {},
	"auth":              {},
	"certs":             {"atomicfile", "watch"},
	"client":            {"wire"},
	"cmd/sessionserver": {"*"},
	// whose vocabulary settings have
	"configs": {"session", "auth", "wire"},
	// only app imports it
	"metrics": {"server", "server/throttle", "session", "storage", "policy", "auth", "audit", "certs",
		"wire"},
	"policy":            {},
	"policy/opa":        {"policy", "atomicfile", "watch"},
	"server":            {"wire", "auth", "policy", "session", "audit"},
	"e2e":               {"wire"},
	"server/servertest": {"server", "auth", "policy", "session", "audit", "storage", "storage/memory"},
	"session":           {"storage"},
	"storage":           {},
	"watch":             {},
	"wire":              {},
}

// only maps each of these third-party modules to the one package that may import it.
var only = map[string]string{
	"github.com/open-policy-agent":     "policy/opa",
	"github.com/prometheus":            "metrics",
	"github.com/alecthomas/kong":       "cmd/sessionserver",
	"go.yaml.in/yaml":                  "configs",
	"golang.org/x/time/rate":           "server",
	"github.com/caddyserver/certmagic": "certs",
	"github.com/fsnotify":              "watch",
	"github.com/grafana":               "configs/grafana",
}

// tools are packages for tests and generated files. Only their own code imports them, so that no program contains them.
var tools = []string{"configs/grafana", "e2e", "server/servertest", "storage/storagetest"}

// TestArchitecture checks every import of the module's own code, except in tests, by the tables above.
func TestArchitecture(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." &&
			(strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		from := path.Dir(filepath.ToSlash(file))
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, file, from, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no file was checked")
	}
}

func checkImport(t *testing.T, file, from, imported string) {
	t.Helper()
	for prefix, owner := range only {
		if within(imported, prefix) && !within(from, owner) {
			t.Errorf("%s imports %s, which belongs to %s alone", file, imported, owner)
		}
	}
	for _, tool := range tools {
		if within(imported, module+"/"+tool) && !within(from, tool) {
			t.Errorf("%s imports %s, which is only for go generate and tests", file, imported)
		}
	}
	target, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return
	}
	rule := from
	for mayImport[rule] == nil && rule != "." {
		rule = path.Dir(rule)
	}
	allowed, known := mayImport[rule]
	if !known {
		t.Errorf("%s: the table in arch_test.go has no entry for package %s", file, from)
		return
	}
	if slices.Contains(allowed, "*") || slices.Contains(allowed, target) || within(target, rule) {
		return
	}
	t.Errorf("%s imports %s; %s may import %v", file, imported, rule, allowed)
}

// within reports whether a path is folder or lies in it.
func within(p, folder string) bool {
	return p == folder || strings.HasPrefix(p, folder+"/")
}
