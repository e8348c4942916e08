// Package prometheus_test checks the shipped rules and alerts with promtool. TestMonitoring in e2e
// evaluates them on the metrics of a real server.
package prometheus_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promtool runs Prometheus's checker, and fails the test if it reports an error.
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

// TestAlerts runs the unit tests of the alerts.
func TestAlerts(t *testing.T) {
	promtool(t, "test", "rules", "alerts_test.yml")
}

// find returns the matches of the first group of an expression in a file, without duplicates.
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

// TestEveryAlert requires of each alert all annotations, a section in docs/monitoring.md at its link, and unit tests in
// which it fires and does not.
func TestEveryAlert(t *testing.T) {
	alerts := find(t, "alerts.yml", `- alert: (\w+)`)
	if len(alerts) == 0 {
		t.Fatal("no alerts")
	}
	documented := find(t, "../../docs/monitoring.md", `(?m)^#+ (Sessionserver\w+)$`)
	if !slices.Equal(alerts, documented) {
		t.Errorf("alerts.yml has %v, docs/monitoring.md has sections for %v", alerts, documented)
	}
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range strings.Split(string(text), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		runbook := "runbook_url: docs/monitoring.md#" + strings.ToLower(name) + "\n"
		for _, want := range []string{"severity: ", "summary: ", "description: ", runbook} {
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
			t.Errorf("alerts_test.yml lacks a test in which %s fires, or one in which it does not", name)
		}
	}
}
