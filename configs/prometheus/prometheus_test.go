// Package prometheus_test holds the shipped rules and alerts against Prometheus's own checker. That each of them asks for metrics that there are,
// TestMonitoring in cmd/sessionserver shows.
package prometheus_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promtool runs Prometheus's checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil && os.Getenv("SESSIONSERVER_TEST_ALL") == "" {
		t.Skip("needs promtool; make setup installs it")
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestCheck(t *testing.T) {
	promtool(t, "check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml", "alerts.yml")
}

// TestAlerts: each alert fires when it should, says what it should then, and does not fire otherwise.
func TestAlerts(t *testing.T) {
	promtool(t, "test", "rules", "alerts_test.yml")
}

// find returns what the first group of an expression matches in a file, each once.
func find(t *testing.T, file, expr string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestEveryAlert: each has tests of both kinds, an explanation in docs/monitoring.md that its link leads to, and all that it must say.
func TestEveryAlert(t *testing.T) {
	alerts := find(t, "alerts.yml", `- alert: (\w+)`)
	if len(alerts) == 0 {
		t.Fatal("there is no alert")
	}
	if documented := find(t, "../../docs/monitoring.md", `(?m)^#+ (Sessionserver\w+)$`); !slices.Equal(alerts, documented) {
		t.Errorf("alerts.yml has %v, docs/monitoring.md explains %v", alerts, documented)
	}
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range strings.Split(string(text), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		for _, want := range []string{"severity: ", "summary: ", "description: ", "runbook_url: docs/monitoring.md#" + strings.ToLower(name) + "\n"} {
			if !strings.Contains(rule, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	text, err = os.ReadFile("alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, check := range strings.Split(string(text), "- eval_time: ")[1:] {
		name := regexp.MustCompile(`alertname: (\w+)`).FindStringSubmatch(check)[1]
		if strings.Contains(check, "exp_labels") {
			fires[name] = true
		} else {
			quiet[name] = true
		}
	}
	for _, name := range alerts {
		if !fires[name] || !quiet[name] {
			t.Errorf("alerts_test.yml lacks a test that %s fires, and one that it does not", name)
		}
	}
}
