package opa

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

const shipped = "../../configs/policies"

// TestShipped runs the Rego tests of the default policy, of each example with it, and of all of them together. No
// example may deny what the tests of another one expect.
func TestShipped(t *testing.T) {
	r, err := Check(t.Context(), FS("default", fstest.MapFS{"default.rego": file(t, "default.rego"),
		"default_test.rego": file(t, "default_test.rego")}))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tests; %s", len(r.Tests), strings.Join(r.Caching, "; "))
	if want := "allow: cached by tenant, app, role, access, mode, key"; r.Caching[0] != want {
		t.Errorf("got %q, want %q", r.Caching[0], want)
	}

	examples, err := fs.Glob(os.DirFS(shipped), "examples/*_test.rego")
	if err != nil || len(examples) < 5 {
		t.Fatal(examples, err)
	}
	with := func(name string, examples ...string) {
		t.Run(name, func(t *testing.T) {
			policies := fstest.MapFS{"default.rego": file(t, "default.rego"),
				"default_test.rego": file(t, "default_test.rego")}
			for _, tests := range examples {
				example := strings.TrimSuffix(tests, "_test.rego") + ".rego"
				folder := "."
				if strings.Contains(string(file(t, example).Data), "\npackage sessionserver.tenant\n") {
					folder = "tenants/acme"
				}
				policies[path.Join(folder, path.Base(example))] = file(t, example)
				policies[path.Join(folder, path.Base(tests))] = file(t, tests)
			}
			r, err := Check(t.Context(), FS(name, policies))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d tests; %s", len(r.Tests), strings.Join(r.Caching, "; "))
		})
	}
	for _, tests := range examples {
		with(path.Base(tests), tests)
	}
	with("all", examples...)
}

// TestDocs runs the Rego examples of docs/policy.md with the default policy.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	policies := fstest.MapFS{"default.rego": file(t, "default.rego")}
	for block := range strings.SplitSeq(string(doc), "\n    package ") {
		var module strings.Builder
		for i, line := range strings.Split(block, "\n") {
			line, indented := strings.CutPrefix(line, "    ")
			if i > 0 && line != "" && !indented {
				break
			}
			module.WriteString(line + "\n")
		}
		name := fmt.Sprint("doc", len(policies))
		if pkg, _, _ := strings.Cut(module.String(), "\n"); strings.HasSuffix(pkg, "_test") {
			name += "_test"
		}
		if strings.HasPrefix(module.String(), "sessionserver.") {
			policies[name+".rego"] = &fstest.MapFile{Data: []byte("package " + module.String())}
		}
	}
	r, err := Check(t.Context(), FS("docs/policy.md", policies))
	if err != nil || len(policies) != 4 || len(r.Tests) != 1 {
		t.Errorf("%d modules, %d tests: %v", len(policies), len(r.Tests), err)
	}
}

// TestSchemas compares the shipped copies of the schemas, which editors and opa test use, with those of the type
// checker.
func TestSchemas(t *testing.T) {
	for _, name := range []string{"input.json", "tenants.json"} {
		used, err := os.ReadFile("schema/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(used) != string(file(t, "schema/"+name).Data) {
			t.Errorf("copy policy/opa/schema/%s to configs/policies/schema", name)
		}
	}
}

func file(t testing.TB, name string) *fstest.MapFile {
	t.Helper()
	data, err := os.ReadFile(path.Join(shipped, name))
	if err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: data}
}
