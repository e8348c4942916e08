package grafana

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the dashboards to dashboards/")

func file(d *Dashboard) string {
	return filepath.Join("dashboards", strings.TrimPrefix(d.UID, "sessionserver-")+".json")
}

func encode(t *testing.T, d *Dashboard) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFiles: what is shipped is what the code says.
func TestFiles(t *testing.T) {
	for _, d := range Dashboards() {
		text := encode(t, d)
		if *update {
			if err := os.WriteFile(file(d), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if shipped, err := os.ReadFile(file(d)); err != nil || string(shipped) != text {
			t.Errorf("%s is not what the code says (%v); run go test ./configs/grafana -update", file(d), err)
		}
	}
	files, err := filepath.Glob("dashboards/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(Dashboards()) {
		t.Errorf("the code knows %d dashboards, there are %v", len(Dashboards()), files)
	}
}

// TestLint: every panel says what it shows and in which unit, asks only the servers and the data source that are chosen, over an interval that fits the
// scrapes, and names its series; panels lie side by side; and links lead to dashboards that there are.
func TestLint(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range Dashboards() {
		if uids[d.UID] {
			t.Errorf("there are two dashboards %s", d.UID)
		}
		uids[d.UID] = true
	}
	for _, d := range Dashboards() {
		titles := map[string]bool{}
		taken := map[position]string{}
		section := ""
		for _, p := range d.Panels {
			if p.Type == "row" {
				section = p.Title
			}
			where := d.UID + ": " + section + ": " + p.Title
			if titles[where] {
				t.Errorf("%s is there twice", where)
			}
			titles[where] = true
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					cell := position{X: p.GridPos.X + x, Y: p.GridPos.Y + y}
					if taken[cell] != "" || cell.X >= 24 {
						t.Errorf("%s lies on %s, or beyond the edge", where, taken[cell])
					}
					taken[cell] = where
				}
			}
			if p.Type == "row" {
				continue
			}
			if p.Title == "" || !strings.HasSuffix(p.Description, ".") || len(p.Targets) == 0 {
				t.Errorf("%s lacks a title, a description or a query", where)
			}
			if unit := p.FieldConfig.Defaults["unit"]; unit == "" || unit == nil && p.Type != "heatmap" {
				t.Errorf("%s has no unit", where)
			}
			for _, q := range p.Targets {
				lintExpr(t, where, q.Expr)
				if q.LegendFormat == "" || q.Instant == q.Range {
					t.Errorf("%s: query %s lacks a legend, or is of no kind", where, q.RefID)
				}
				for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
					if by := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(q.Expr); by != nil && !strings.Contains(by[1], label[1]) {
						t.Errorf("%s: the legend names %s, which the query sums up", where, label[1])
					}
				}
			}
		}
		text := encode(t, d)
		for _, link := range regexp.MustCompile(`"/d/([\w-]+)`).FindAllStringSubmatch(text, -1) {
			if !uids[link[1]] {
				t.Errorf("%s links to %s, which is not there", d.UID, link[1])
			}
		}
		for _, name := range regexp.MustCompile(`\$\{?([a-z]\w*)`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(text, `"name": "`+name[1]+`"`) {
				t.Errorf("%s uses the variable %s, which it does not have", d.UID, name[1])
			}
		}
		for _, a := range d.Annotations["list"].([]object) {
			lintExpr(t, d.UID+": annotation", a["expr"].(string))
		}
	}
}

// lintExpr wants every selector to keep to the chosen servers.
func lintExpr(t *testing.T, where, expr string) {
	t.Helper()
	selectors := regexp.MustCompile(`\{[^}]*\}`).FindAllString(expr, -1)
	if len(selectors) == 0 {
		t.Errorf("%s asks for all servers: %s", where, expr)
	}
	for _, s := range selectors {
		if !strings.Contains(s, scope) {
			t.Errorf("%s asks for other servers than are chosen: %s", where, s)
		}
	}
	for _, name := range regexp.MustCompile(`[a-z_:]*(?:sessionserver|process|go)_[\w:]+|ALERTS`).FindAllStringIndex(expr, -1) {
		if !strings.HasPrefix(expr[name[1]:], "{") {
			t.Errorf("%s asks for %s of all servers: %s", where, expr[name[0]:name[1]], expr)
		}
	}
	if regexp.MustCompile(`(?:rate|irate)\([^\[]*\[\d`).MatchString(expr) {
		t.Errorf("%s: a rate over an interval that does not follow the scrapes: %s", where, expr)
	}
}
