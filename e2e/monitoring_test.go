package e2e

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/e2e/dashboard"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// drawVariable names the folder that TestMonitoring writes the pictures of docs/monitoring.md to, after drawTime.
const drawVariable, drawTime = "SESSIONSERVER_TEST_DRAW", 90 * time.Second

// TestMonitoring runs a real Prometheus with the shipped configuration while two tenants, unauthenticated clients and
// the operator keep a server busy. Every query of every dashboard and every recording rule must return values. Every
// alert must be evaluated over metrics that exist.
func TestMonitoring(t *testing.T) {
	program := servertest.Program(t, "prometheus")
	load := newTraffic(t)
	p := startPrometheus(t, program, load.admin)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				load.round(n)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })

	t.Run("rules", func(t *testing.T) { checkRules(t, p) })
	dashboards, err := filepath.Glob("../configs/grafana/dashboards/*.json")
	if err != nil || len(dashboards) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range dashboards {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) { checkDashboard(t, p, file) })
	}
	for _, code := range []string{
		"NOAUTH", "BADAUTH", "DENIED", "RATELIMITED", "QUOTA", "LOCKTIMEOUT", "LOCKLOST",
	} {
		if _, refused := load.refusals.Load(code); !refused {
			t.Errorf("the load causes no %s", code)
		}
	}
	if folder := os.Getenv(drawVariable); folder != "" {
		time.Sleep(drawTime - time.Since(p.From))
		draw := exec.Command("go", append([]string{"run", "sessionserver/e2e/dashboard/draw", "-prometheus", p.URL,
			"-last", drawTime.String(), "-scrape", scrapeInterval.String(), "-o", folder}, dashboards...)...)
		if out, err := draw.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// requireNumber waits until a query returns a number.
func requireNumber(t *testing.T, p *dashboard.Prometheus, name, expr string,
	query func(string) ([]dashboard.Series, error),
) {
	t.Helper()
	for ; ; time.Sleep(scrapeInterval / 2) {
		all, err := query(expr)
		for _, s := range all {
			found := false
			s.Points(func(_, value float64) { found = found || !math.IsNaN(value) })
			if found {
				return
			}
		}
		if err == nil && time.Since(p.From) > require.Patience {
			err = fmt.Errorf("%d series without a number", len(all))
		}
		if err != nil {
			t.Errorf("%s: %v\n    %s", name, err, expr)
			return
		}
	}
}

// selector matches the parts of a rule that select metrics of the server.
var selector = regexp.MustCompile(`[a-z_:]*(?:sessionserver|process)_[\w:]+(?:\{[^}]*\})?|up\{[^}]*\}`)

// checkRules checks that every rule is evaluated without an error, that each recorded metric has values, and that
// alerts select only metrics that exist.
func checkRules(t *testing.T, p *dashboard.Prometheus) {
	var data struct {
		Groups []struct {
			Rules []struct{ Type, Name, Query, Health, LastError string }
		}
	}
	require.Eventually(t, "all rules are evaluated", func() bool {
		require.NoError(t, p.Get("rules", nil, &data))
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return false
				}
			}
		}
		return len(data.Groups) > 0
	})
	count := map[string]int{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			count[r.Type]++
			if r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.Type == "recording" {
				requireNumber(t, p, r.Name, r.Name, p.Query)
				continue
			}
			metrics := selector.FindAllString(r.Query, -1)
			if len(metrics) == 0 {
				t.Errorf("%s selects no metric: %s", r.Name, r.Query)
			}
			for _, metric := range metrics {
				requireNumber(t, p, r.Name, metric, p.Query)
			}
		}
	}
	if count["recording"] == 0 || count["alerting"] == 0 {
		t.Errorf("the rules are %v", count)
	}
}

// checkDashboard checks that every query of a dashboard returns numbers.
func checkDashboard(t *testing.T, p *dashboard.Prometheus, file string) {
	var d *dashboard.Dashboard
	require.EventuallyNoError(t, func() (err error) {
		d, err = dashboard.Load(file, p, scrapeInterval)
		return err
	})
	queries := 0
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			queries++
			query := p.QueryRange
			if target.Instant {
				query = p.Query
			}
			requireNumber(t, p, panel.Title, target.Expr, query)
		}
	}
	for _, a := range d.Annotations.List {
		queries++
		requireNumber(t, p, a.Name, a.Expr, p.QueryRange)
	}
	if queries < 10 {
		t.Errorf("the dashboard has %d queries", queries)
	}
}
