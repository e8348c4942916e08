package dashboard

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Dashboard is the part of a dashboard that says what to ask Prometheus for and where to draw it.
type Dashboard struct {
	UID, Title  string
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct {
			Name, Type, AllValue string
			IncludeAll           bool
			Query                any
		}
	}
	Panels []Panel
}

// Panel is a panel of a dashboard.
type Panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []Target
	Options     struct{ TextMode string }
	FieldConfig struct {
		Defaults struct {
			Unit     string
			Max      float64
			Mappings []struct {
				Options map[string]struct{ Text, Color string }
			}
			Thresholds struct {
				Steps []struct {
					Color string
					Value float64
				}
			}
			Custom struct{ Stacking, ThresholdsStyle struct{ Mode string } }
		}
		Overrides []struct{ Matcher struct{ Options any } }
	}
}

// Target is a query of a panel.
type Target struct {
	Expr, LegendFormat string
	Instant            bool
}

// Query evaluates the query as the panel does: at this moment, or over the time range.
func (t Target) Query(p *Prometheus) ([]Series, error) {
	if t.Instant {
		return p.Query(t.Expr)
	}
	return p.QueryRange(t.Expr)
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// Load reads a dashboard and replaces the variables in its queries, as Grafana does. A variable stands for all its
// values if the dashboard offers that, and for the first otherwise. The rate interval is four scrapes.
func Load(file string, p *Prometheus, scrape time.Duration) (*Dashboard, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := new(Dashboard)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	values := []string{"$__rate_interval", fmt.Sprintf("%dms", (4 * scrape).Milliseconds())}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		query, ok := v.Query.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: unknown query of variable %s: %v", d.UID, v.Name, v.Query)
		}
		text, _ := query["query"].(string)
		m := labelValues.FindStringSubmatch(strings.NewReplacer(values...).Replace(text))
		if m == nil {
			return nil, fmt.Errorf("%s: unknown query of variable %s: %s", d.UID, v.Name, text)
		}
		var found []string
		if err := p.Get("label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &found); err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: variable %s has no values", d.UID, v.Name)
		}
		value := found[0]
		if v.IncludeAll {
			value = v.AllValue
		}
		values = append(values, "$"+v.Name, value)
	}
	d.replace(strings.NewReplacer(values...))
	return d, nil
}

func (d *Dashboard) replace(variables *strings.Replacer) {
	for i := range d.Panels {
		d.Panels[i].Title = variables.Replace(d.Panels[i].Title)
		for j := range d.Panels[i].Targets {
			d.Panels[i].Targets[j].Expr = variables.Replace(d.Panels[i].Targets[j].Expr)
		}
	}
	for i := range d.Annotations.List {
		d.Annotations.List[i].Expr = variables.Replace(d.Annotations.List[i].Expr)
	}
}
