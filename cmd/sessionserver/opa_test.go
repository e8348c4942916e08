package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const shippedPolicies = "../../configs/policies"

// copyPolicies copies files that ship into a folder, each with its tests, and the office hours into two tenants' folders.
func copyPolicies(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		from, to := name, []string{""}
		if name != "default" {
			from = "examples/" + name
		}
		if name == "office_hours" {
			to = []string{"tenants/acme", "tenants/beta"}
		}
		for _, end := range []string{".rego", "_test.rego"} {
			text, err := os.ReadFile(filepath.Join(shippedPolicies, from+end))
			if err != nil {
				t.Fatal(err)
			}
			for _, folder := range to {
				writeFiles(t, dir, map[string]string{filepath.Join(folder, name+end): string(text)})
			}
		}
	}
}

// runOPA runs the real program and answers what it prints.
func runOPA(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(program(t, "opa"), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOPATakesWhatShips: each example beside the default policy, and all of them together, pass all tests in the server's runner and in OPA's, which
// checks them against the schema, and OPA makes bundles of them.
func TestOPATakesWhatShips(t *testing.T) {
	c := newCLI(t, "")
	schema, err := filepath.Abs(filepath.Join(shippedPolicies, "schema/input.json"))
	if err != nil {
		t.Fatal(err)
	}
	operators := []string{"blocked_range", "client_certificate", "login_keys", "reporting"}
	if examples, err := filepath.Glob(shippedPolicies + "/examples/*_test.rego"); err != nil || len(examples) != len(operators)+1 {
		t.Fatalf("other examples ship: %v %v", examples, err)
	}
	beside := [][]string{nil, {"office_hours"}, append([]string{"office_hours"}, operators...)}
	for _, name := range operators {
		beside = append(beside, []string{name})
	}
	for _, names := range beside {
		t.Run(strings.Join(append([]string{"default"}, names...), " "), func(t *testing.T) {
			dir := t.TempDir()
			copyPolicies(t, dir, append([]string{"default"}, names...)...)
			if out, said, status := c.run("", "policy", "test", dir); status != 0 {
				t.Errorf("status %d\n%s%s", status, out, said)
			}
			runs := [][]string{
				{"test", "-s", schema, "--ignore", "tenants", "."},
				{"test", "-s", schema, "."},
				{"build", "-b", ".", "-o", filepath.Join(t.TempDir(), "bundle.tar.gz")},
			}
			if tenants, _ := filepath.Glob(dir + "/tenants/*"); tenants != nil {
				runs = append(runs, []string{"test", "-s", schema, "tenants/acme"})
			}
			for _, args := range runs {
				if out, err := runOPA(t, dir, args...); err != nil || args[0] == "test" && !strings.HasPrefix(out, "PASS: ") {
					t.Errorf("opa %v: %v\n%s", args, err, out)
				}
			}
		})
	}
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a.rego": "package sessionserver.authz\n\nallow if input.tenat\n"})
	if out, err := runOPA(t, dir, "test", "-s", schema, "."); err == nil || !strings.Contains(out, "undefined ref: input.tenat") {
		t.Errorf("opa test does not check against the schema: %v\n%s", err, out)
	}
}
