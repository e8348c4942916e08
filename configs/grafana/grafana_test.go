package grafana

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

var update = flag.Bool("update", false, "write the dashboards to dashboards/")

func build(t *testing.T) []Dashboard {
	t.Helper()
	all, err := Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func file(d Dashboard) string {
	return filepath.Join("dashboards", strings.TrimPrefix(*d.Uid, "sessionserver-")+".json")
}

func encode(t *testing.T, d Dashboard) string {
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

// TestFiles compares the shipped files with the code.
func TestFiles(t *testing.T) {
	all := build(t)
	for _, d := range all {
		text := encode(t, d)
		if *update {
			if err := os.WriteFile(file(d), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if shipped, err := os.ReadFile(file(d)); err != nil || string(shipped) != text {
			t.Errorf("%s differs from the code (%v): run go generate ./configs/grafana", file(d), err)
		}
	}
	files, err := filepath.Glob("dashboards/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all) {
		t.Errorf("%d dashboards in the code, %d files: %v", len(all), len(files), files)
	}
}

// TestLayout requires that titles are unique in their section and that panels neither overlap nor pass the edge.
func TestLayout(t *testing.T) {
	for _, d := range build(t) {
		titles := map[string]bool{}
		cells := map[[2]uint32]string{}
		ids := map[uint32]bool{}
		section := ""
		for _, p := range d.Panels {
			title, position, id := "", (*dashboard.GridPos)(nil), uint32(0)
			if p.RowPanel != nil {
				section, position, id = *p.RowPanel.Title, p.RowPanel.GridPos, p.RowPanel.Id
			} else {
				title, position, id = *p.Panel.Title, p.Panel.GridPos, *p.Panel.Id
			}
			where := *d.Uid + ": " + section + ": " + title
			if titles[where] || ids[id] || id == 0 {
				t.Errorf("%s: duplicate title, or the id %d is not its own", where, id)
			}
			titles[where], ids[id] = true, true
			for x := position.X; x < position.X+position.W; x++ {
				for y := position.Y; y < position.Y+position.H; y++ {
					if other := cells[[2]uint32{x, y}]; other != "" || x >= 24 {
						t.Errorf("%s overlaps %q, or passes the edge", where, other)
					}
					cells[[2]uint32{x, y}] = where
				}
			}
		}
	}
}

// TestPanels requires a title, a description, a unit and queries of every panel. A query keeps to the selected servers
// and data source, its interval follows the scrapes, and its legend names labels that it returns.
func TestPanels(t *testing.T) {
	for _, d := range build(t) {
		for _, p := range d.Panels {
			if p.Panel == nil {
				continue
			}
			where := *d.Uid + ": " + *p.Panel.Title
			if *p.Panel.Title == "" || !strings.HasSuffix(*p.Panel.Description, ".") || len(p.Panel.Targets) == 0 {
				t.Errorf("%s lacks a title, a description or a query", where)
			}
			for sentence := range strings.SplitSeq(*p.Panel.Description, ". ") {
				if n := len(strings.Fields(sentence)); n > 25 {
					t.Errorf("%s: a sentence of %d words, more than 25: %s", where, n, sentence)
				}
			}
			if unit := p.Panel.FieldConfig.Defaults.Unit; unit == nil || *unit == "" {
				t.Errorf("%s has no unit", where)
			}
			if *p.Panel.Datasource.Uid != *source.Uid {
				t.Errorf("%s has the data source %s", where, *p.Panel.Datasource.Uid)
			}
			for _, target := range p.Panel.Targets {
				checkQuery(t, where, target.(prometheus.Dataquery))
			}
		}
		for _, a := range d.Annotations.List {
			checkExpr(t, *d.Uid+": annotation "+a.Name, *a.Expr)
		}
	}
}

func checkQuery(t *testing.T, where string, q prometheus.Dataquery) {
	t.Helper()
	checkExpr(t, where, q.Expr)
	if *q.LegendFormat == "" || *q.Instant == *q.Range || *q.Datasource.Uid != *source.Uid {
		t.Errorf("%s: query %s lacks a legend or a kind, or has another data source", where, *q.RefId)
	}
	for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(*q.LegendFormat, -1) {
		by := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(q.Expr)
		if by != nil && !strings.Contains(by[1], label[1]) {
			t.Errorf("%s: the legend names %s, a label that the query sums over", where, label[1])
		}
	}
}

// checkExpr requires that every selector of an expression is restricted to the selected servers.
func checkExpr(t *testing.T, where, expr string) {
	t.Helper()
	selectors := regexp.MustCompile(`\{[^}]*\}`).FindAllString(expr, -1)
	if len(selectors) == 0 {
		t.Errorf("%s queries all servers: %s", where, expr)
	}
	for _, s := range selectors {
		if !strings.Contains(s, scope) {
			t.Errorf("%s queries other servers than the selected ones: %s", where, s)
		}
	}
	metric := regexp.MustCompile(`[a-z_:]*(?:sessionserver|process|go)_[\w:]+|ALERTS`)
	for _, name := range metric.FindAllStringIndex(expr, -1) {
		if !strings.HasPrefix(expr[name[1]:], "{") {
			t.Errorf("%s queries %s of all servers: %s", where, expr[name[0]:name[1]], expr)
		}
	}
	if regexp.MustCompile(`(?:rate|irate)\([^\[]*\[\d`).MatchString(expr) {
		t.Errorf("%s: the interval of a rate does not follow the scrapes: %s", where, expr)
	}
}

// TestReferences requires that links lead to dashboards, and that each dashboard defines the variables that it uses.
func TestReferences(t *testing.T) {
	all := build(t)
	uids := map[string]bool{}
	for _, d := range all {
		if uids[*d.Uid] {
			t.Errorf("duplicate dashboard %s", *d.Uid)
		}
		uids[*d.Uid] = true
	}
	for _, d := range all {
		text := encode(t, d)
		for _, link := range regexp.MustCompile(`"/d/([\w-]+)`).FindAllStringSubmatch(text, -1) {
			if !uids[link[1]] {
				t.Errorf("%s links to the unknown dashboard %s", *d.Uid, link[1])
			}
		}
		variables := map[string]bool{}
		for _, v := range d.Templating.List {
			variables[v.Name] = true
		}
		for _, name := range regexp.MustCompile(`\$\{?([a-z]\w*)`).FindAllStringSubmatch(text, -1) {
			if !variables[name[1]] {
				t.Errorf("%s uses the undefined variable %s", *d.Uid, name[1])
			}
		}
	}
}
