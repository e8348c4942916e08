package e2e

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

// The pictures in docs/monitoring.md: what Prometheus answered in a run of TestMonitoring, in the places, units and colours that the dashboards have. Grafana's own drawing has more
// to it; this one needs no Grafana. With SESSIONSERVER_TEST_DRAW=../docs/monitoring the run goes on for a minute and a half and writes them there.
const drawEnv, drawTime = "SESSIONSERVER_TEST_DRAW", 90 * time.Second

// In pixels.
const (
	column, line = 50, 34 // Grafana's grid has 24 columns
	gap          = 6
)

var palette = []string{"#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#b6b34a", "#37872d", "#e0b400", "#c4162a", "#1f60c4"}

var named = map[string]string{"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}

// draw writes a picture of each dashboard.
func (p *prometheus) draw(t *testing.T, dir string) {
	require.Eventually(t, "time does not pass", func() bool { return time.Since(p.started) > drawTime })
	for _, file := range glob(t, dashboards) {
		d := p.load(t, file)
		var b strings.Builder
		height := 0
		for _, panel := range d.Panels {
			height = max(height, panel.GridPos.Y+panel.GridPos.H)
			p.drawPanel(t, &b, panel)
		}
		text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11" fill="#ccccdc">`+"\n"+
			`<rect width="100%%" height="100%%" fill="#111217"/>`+"\n%s</svg>\n", 24*column, height*line, b.String())
		if err := os.WriteFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".json")+".svg"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// curve is a series as it is drawn.
type curve struct {
	name   string
	at, is []float64
}

func (c curve) last() float64 { return c.is[len(c.is)-1] }

func (p *prometheus) drawPanel(t *testing.T, b *strings.Builder, panel panel) {
	x, y := panel.GridPos.X*column+gap/2, panel.GridPos.Y*line+gap/2
	w, h := panel.GridPos.W*column-gap, panel.GridPos.H*line-gap
	fmt.Fprintf(b, `<g transform="translate(%d %d)">`, x, y)
	defer b.WriteString("</g>\n")
	if panel.Type == "row" {
		fmt.Fprintf(b, `<text x="6" y="20" font-size="14" font-weight="bold">%s</text>`, html.EscapeString(panel.Title))
		return
	}
	fmt.Fprintf(b, `<rect width="%d" height="%d" rx="2" fill="#181b1f" stroke="#2c2f34"/><text x="8" y="17" font-weight="bold">%s</text>`, w, h, html.EscapeString(panel.Title))
	curves := p.curves(t, panel)
	if len(curves) == 0 {
		t.Errorf("%s has nothing to draw", panel.Title)
		return
	}
	switch panel.Type {
	case "stat":
		text, color := panel.says(curves[0].last()), panel.color(curves[0].last())
		if panel.Options.TextMode == "name" {
			text = curves[0].name
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%d" text-anchor="middle" fill="%s">%s</text>`, w/2, h/2+18, min(26, 17*w/10/len(text)), color, html.EscapeString(text))
	case "bargauge", "table":
		most := panel.FieldConfig.Defaults.Max
		for _, c := range curves {
			if panel.FieldConfig.Defaults.Max == 0 {
				most = max(most, c.last())
			}
		}
		for i, c := range curves[:min(len(curves), 10)] {
			top := 26 + i*20
			if panel.Type == "bargauge" {
				fmt.Fprintf(b, `<rect x="150" y="%d" width="%d" height="14" fill="#22252b"/><rect x="150" y="%d" width="%.0f" height="14" fill="%s"/>`,
					top, w-230, top, float64(w-230)*math.Min(1, c.last()/most), panel.color(c.last()))
			}
			fmt.Fprintf(b, `<text x="8" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text>`, top+11, html.EscapeString(c.name), w-8, top+11, panel.says(c.last()))
		}
	case "heatmap":
		p.drawHeat(b, panel, curves, w, h)
	default:
		p.drawGraph(b, panel, curves, w, h)
	}
}

// curves asks a panel's queries. What is for the present alone has one point each.
func (p *prometheus) curves(t *testing.T, panel panel) (all []curve) {
	for _, q := range panel.Targets {
		found, err := p.query(q.Expr, q.Instant)
		if err != nil {
			t.Fatalf("%s: %v", panel.Title, err)
		}
		for _, s := range found {
			c := curve{name: q.LegendFormat}
			if panel.Type == "table" {
				c.name = strings.Join(slices.Sorted(maps.Values(s.Metric)), ", ")
			}
			for label, value := range s.Metric {
				c.name = strings.ReplaceAll(c.name, "{{"+label+"}}", value)
			}
			s.points(func(at, value float64) {
				if !math.IsNaN(value) && !math.IsInf(value, 0) {
					c.at, c.is = append(c.at, at), append(c.is, value)
				}
			})
			if len(c.at) > 0 {
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b curve) int { return strings.Compare(a.name, b.name) })
	return all
}

// drawGraph draws lines, on top of each other where the panel says so, over the time of the run.
func (p *prometheus) drawGraph(b *strings.Builder, panel panel, curves []curve, w, h int) {
	custom := panel.FieldConfig.Defaults.Custom
	stacked := custom.Stacking.Mode == "normal"
	left, top, wide := 58.0, 26.0, float64(w)-70
	high := float64(h) - top - 14 - 15*float64(min(len(curves), 5))
	base := map[float64]float64{} // of what is stacked, at each time
	most, limits := panel.FieldConfig.Defaults.Max, panel.limits()
	sums := make([][]float64, len(curves))
	for i, c := range curves {
		for j, at := range c.at {
			sum := c.is[j]
			if stacked && !limits[c.name] {
				base[at] += sum
				sum = base[at]
			}
			sums[i] = append(sums[i], sum)
			if !limits[c.name] {
				most = max(most, sum)
			}
		}
	}
	if most = most * 1.05; most == 0 {
		most = 1
	}
	px := func(at float64) float64 {
		return left + wide*math.Max(0, at-float64(p.started.Unix()))/(drawTime.Seconds()+2)
	}
	py := func(v float64) float64 { return top + high*(1-v/most) }
	for i := range 4 {
		v := most * float64(i) / 3
		fmt.Fprintf(b, `<path d="M%.0f %.0fh%.0f" stroke="#2c2f34"/><text x="%.0f" y="%.0f" text-anchor="end" fill="#8e8e99">%s</text>`, left, py(v), wide, left-4, py(v)+4, panel.says(v))
	}
	for _, step := range panel.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value > 0 && step.Value < most && custom.ThresholdsStyle.Mode == "dashed" {
			fmt.Fprintf(b, `<path d="M%.0f %.0fh%.0f" stroke="%s" stroke-dasharray="6 4"/>`, left, py(step.Value), wide, named[step.Color])
		}
	}
	for i, c := range curves {
		color, more := palette[i%len(palette)], ""
		if limits[c.name] {
			color, more = named["red"], ` stroke-dasharray="8 6"`
		}
		if limits[c.name] && c.last() > most {
			continue // far above
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.3"%s points="`, color, more)
		for j, at := range c.at {
			fmt.Fprintf(b, "%.0f,%.0f ", px(at), py(sums[i][j]))
		}
		b.WriteString(`"/>`)
	}
	shown := slices.SortedStableFunc(slices.Values(curves), func(a, b curve) int { return -cmp.Compare(a.last(), b.last()) })
	for i, c := range shown[:min(len(shown), 5)] {
		at := float64(h) - 8 - 15*float64(min(len(curves), 5)-1-i)
		color := palette[slices.IndexFunc(curves, func(o curve) bool { return o.name == c.name })%len(palette)]
		if limits[c.name] {
			color = named["red"]
		}
		name := c.name
		if rest := len(curves) - 5; i == 4 && rest > 0 {
			name += fmt.Sprintf(" … and %d more", rest)
		}
		fmt.Fprintf(b, `<path d="M10 %.0fh10" stroke="%s" stroke-width="3"/><text x="26" y="%.0f">%s</text><text x="%d" y="%.0f" text-anchor="end">%s</text>`,
			at-4, color, at, html.EscapeString(name), w-10, at, panel.says(c.last()))
	}
}

// drawHeat draws how many observations lay in each bucket in each stretch of the run: the more, the brighter.
func (p *prometheus) drawHeat(b *strings.Builder, panel panel, curves []curve, w, h int) {
	const stretches = 40
	bound := func(c curve) float64 { v, _ := strconv.ParseFloat(c.name, 64); return v }
	slices.SortFunc(curves, func(a, b curve) int { return cmp.Compare(bound(a), bound(b)) })
	cells := make([][stretches]float64, len(curves)) // up to each bound
	for i, c := range curves {
		for j, at := range c.at {
			cells[i][min(stretches-1, int(stretches*math.Max(0, at-float64(p.started.Unix()))/(drawTime.Seconds()+2)))] += c.is[j]
		}
	}
	most := 1e-9
	for i := len(cells) - 1; i >= 0; i-- {
		for j := range cells[i] {
			if i > 0 {
				cells[i][j] -= cells[i-1][j]
			}
			most = max(most, cells[i][j])
		}
	}
	left, top := 58.0, 26.0
	wide, high := (float64(w)-70)/stretches, (float64(h)-40)/float64(len(curves))
	for i, row := range cells {
		y := top + high*float64(len(cells)-1-i)
		if i%3 == 0 && !math.IsInf(bound(curves[i]), 0) {
			fmt.Fprintf(b, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#8e8e99">%s</text>`, left-4, y+4, panel.says(bound(curves[i])))
		}
		for j, n := range row {
			if n > 1e-9 {
				fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#ff9830" opacity="%.2f"/>`, left+wide*float64(j), y, wide-1, high-1, 0.15+0.85*math.Sqrt(n/most))
			}
		}
	}
}

// says writes a value in the panel's unit.
func (p panel) says(v float64) string {
	if m := p.FieldConfig.Defaults.Mappings; len(m) > 0 {
		return m[0].Options[strconv.Itoa(int(v))].Text
	}
	steps := func(base float64, units ...string) string {
		i := 0
		for ; math.Abs(v) >= base && i < len(units)-1; i++ {
			v /= base
		}
		return short(v) + units[i]
	}
	switch p.FieldConfig.Defaults.Unit {
	case "bytes":
		return steps(1024, " B", " KiB", " MiB", " GiB", " TiB")
	case "percentunit":
		return short(math.Round(v*1000)/10) + "%"
	case "dateTimeFromNow":
		return fmt.Sprintf("in %.0f days", time.Until(time.UnixMilli(int64(v))).Hours()/24)
	case "ops":
		return short(math.Round(v*100)/100) + "/s"
	case "s":
		switch {
		case v >= 120:
			return short(v/60) + " min"
		case v >= 1 || v == 0:
			return short(v) + " s"
		case v >= 1e-3:
			return short(v*1e3) + " ms"
		}
		return short(v*1e6) + " µs"
	}
	return steps(1000, "", " K", " M", " G")
}

// short writes three digits, or all that stand before the point.
func short(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// color is that of a value's threshold, or of its words.
func (p panel) color(v float64) string {
	if m := p.FieldConfig.Defaults.Mappings; len(m) > 0 {
		return named[m[0].Options[strconv.Itoa(int(v))].Color]
	}
	color := named["green"]
	for i, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if i == 0 || v >= step.Value {
			color = named[step.Color]
		}
	}
	return color
}

// limits are the series that are drawn as limits.
func (p panel) limits() map[string]bool {
	all := map[string]bool{}
	for _, o := range p.FieldConfig.Overrides {
		if name, ok := o.Matcher.Options.(string); ok {
			all[name] = true
		}
	}
	return all
}
