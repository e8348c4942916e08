package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/configs"
)

// TestDocumentedConfigurations: nothing is wrong with the configurations and tenants that the documents show.
func TestDocumentedConfigurations(t *testing.T) {
	seen := 0
	for _, document := range []string{"../../README.md", "../../docs/hosting.md", "../../docs/monitoring.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(block[1], "livenessProbe:") {
				continue // Kubernetes'
			}
			seen++
			if strings.Contains(block[1], "\napps:") {
				main := configs.Default()
				_, err = configs.ParseTenant("acme.yaml", []byte(block[1]), &main, inspectTenant)
			} else {
				_, err = configs.Parse("sessionserver.yaml", []byte(block[1]), inspect)
			}
			if err != nil {
				t.Errorf("%s:\n%v", document, err)
			}
		}
	}
	if seen < 3 {
		t.Errorf("only %d were seen", seen)
	}
}

// TestReadmeTenant does what README says about tenants, beside the server that it has started.
func TestReadmeTenant(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    \./bin/sessionserver (.* --dev)$`).FindAllStringSubmatch(string(readme), -1)
	if len(commands) != 2 || !strings.Contains(string(readme), "\n    SESSIONSERVER_DSN='tls://shop:hss_…' ./bin/sessionserver dsn check\n") {
		t.Fatalf("README shows other commands: %q", commands)
	}
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
	var dsn string
	for _, c := range commands {
		cmd := exec.Command(binary(), append(strings.Fields(c[1]), "--state", state)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", c[1], err)
		}
		dsn = strings.TrimSpace(string(out))
	}
	if !strings.Contains(dsn, "@"+s.addr+"/") {
		t.Fatalf("the DSN does not name the server at %s", s.addr)
	}
	check := exec.Command(binary(), "dsn", "check")
	check.Env = append(os.Environ(), "SESSIONSERVER_DSN="+dsn)
	eventually(t, "the app to be known", func() bool {
		out, err := check.CombinedOutput()
		ok := err == nil && strings.Contains(string(out), "identity       acme/shop")
		check = exec.Command(check.Path, check.Args[1:]...)
		check.Env = append(os.Environ(), "SESSIONSERVER_DSN="+dsn)
		return ok
	})
}
