package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

const shippedPolicies = "../configs/policies"

// copyPolicies copies shipped policies into a folder, each with its tests. The office hours go into the folders of two
// tenants.
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
				servertest.WriteFiles(t, dir, map[string]string{filepath.Join(folder, name+end): string(text)})
			}
		}
	}
}

// runOPA runs the real opa and returns its output.
func runOPA(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(servertest.Program(t, "opa"), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOPATakesWhatShips tests each shipped example beside the default policy, and all together, by policy test and by
// opa test with the schema. opa build must accept them too.
func TestOPATakesWhatShips(t *testing.T) {
	c := newCLI(t, "")
	schema, err := filepath.Abs(filepath.Join(shippedPolicies, "schema/input.json"))
	if err != nil {
		t.Fatal(err)
	}
	operators := []string{"blocked_range", "client_certificate", "login_keys", "reporting"}
	if examples, err := filepath.Glob(shippedPolicies + "/examples/*_test.rego"); err != nil ||
		len(examples) != len(operators)+1 {
		t.Fatalf("the shipped examples are others: %v %v", examples, err)
	}
	beside := [][]string{nil, {"office_hours"}, append([]string{"office_hours"}, operators...)}
	for _, name := range operators {
		beside = append(beside, []string{name})
	}
	for _, names := range beside {
		t.Run(strings.Join(append([]string{"default"}, names...), " "), func(t *testing.T) {
			dir := t.TempDir()
			copyPolicies(t, dir, append([]string{"default"}, names...)...)
			if out, stderr, status := c.Run("", "policy", "test", dir); status != 0 {
				t.Errorf("status %d\n%s%s", status, out, stderr)
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
				if out, err := runOPA(t, dir, args...); err != nil || args[0] == "test" &&
					!strings.HasPrefix(out, "PASS: ") {
					t.Errorf("opa %v: %v\n%s", args, err, out)
				}
			}
		})
	}
	dir := t.TempDir()
	servertest.WriteFiles(t, dir, map[string]string{"a.rego": "package sessionserver.authz\n\nallow if input.tenat\n"})
	if out, err := runOPA(t, dir, "test", "-s", schema, "."); err == nil ||
		!strings.Contains(out, "undefined ref: input.tenat") {
		t.Errorf("opa test does not check against the schema: %v\n%s", err, out)
	}
}

// TestDocumentedBundle runs the commands that docs/policy.md shows for a bundle, and lets a server use the result. A
// bundle that is built outside the folder of policies is refused, and the error explains how to build it.
func TestDocumentedBundle(t *testing.T) {
	servertest.Program(t, "opa")
	servertest.Program(t, "openssl")
	servertest.Program(t, "git")
	doc, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(doc), "\n## Where policies come from\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	dir := t.TempDir()
	copyPolicies(t, filepath.Join(dir, "policies"), "default", "reporting", "office_hours")
	shell := func(commands string) string {
		t.Helper()
		cmd := exec.Command("sh", "-ec", commands)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", commands, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	shell("git init -q && git add policies && git -c user.name=a -c user.email=a@example.com commit -qm 'Add policies'")
	ran := ""
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(chapter, -1) {
		// make setup installs opa
		if install, ok := strings.CutPrefix(block[1], "go install github.com/open-policy-agent/opa@"); ok {
			modules, err := os.ReadFile("../go.mod")
			if err != nil || !strings.Contains(string(modules), "github.com/open-policy-agent/opa "+install) {
				t.Errorf("the version of opa in docs/policy.md is not that of go.mod: %s%v", install, err)
			}
			continue
		}
		shell(block[1])
		ran += block[1]
	}
	if strings.Count(ran, "openssl ") != 2 || strings.Count(ran, "opa build ") != 1 {
		t.Fatalf("docs/policy.md shows other commands:\n%s", ran)
	}

	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	configured := func(name string) string {
		file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\npolicy:\n"+
			"  bundle: {url: \""+web.URL+"/"+name+"\", key_file: "+dir+"/public.pem, keep: STATE}\n")
		return file
	}
	file, revision := configured("bundle.tar.gz"), shell("git rev-parse HEAD")
	want := "policies: " + web.URL + "/bundle.tar.gz, revision " + revision + ", tests passed: "
	if out, stderr, status := newCLI(t, "").Run("", "check", file); status != 0 || !strings.Contains(out, want) ||
		!strings.Contains(out, "tenant beta: allow: ") {
		t.Errorf("status %d\n%s%s", status, out, stderr)
	}
	s := serve(t, "--config", file)
	servertest.Connect(t, s.addr).OK("new")

	shell("opa build -b policies --signing-key private.pem --signing-alg ES256 -o outside.tar.gz")
	want = "/outside.tar.gz: policies/tenants/acme/office_hours.rego:6: package sessionserver.tenant is for the " +
		"policies of tenants, and tenants/NAME/ for these must be at the root"
	if out, stderr, status := newCLI(t, "").Run("", "check", configured("outside.tar.gz")); status != 1 ||
		!strings.Contains(stderr, want) {
		t.Errorf("status %d\n%s%s", status, out, stderr)
	}
}
