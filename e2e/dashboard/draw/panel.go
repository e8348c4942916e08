package main

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sessionserver/e2e/dashboard"
)

var palette = []string{
	"#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#b6b34a", "#37872d", "#e0b400",
	"#c4162a", "#1f60c4",
}

// colors are the colours that the dashboards name.
var colors = map[string]string{"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}

// panel is a panel that can be drawn.
type panel struct{ dashboard.Panel }

// curve is a series with its legend.
type curve struct {
	name      string
	at, value []float64
}

func (c curve) last() float64 { return c.value[len(c.value)-1] }

// panel draws one panel.
func (d drawing) panel(b *strings.Builder, p panel) error {
	x, y := p.GridPos.X*columnWidth+gap/2, p.GridPos.Y*rowHeight+gap/2
	w, h := p.GridPos.W*columnWidth-gap, p.GridPos.H*rowHeight-gap
	fmt.Fprintf(b, `<g transform="translate(%d %d)">`, x, y)
	defer b.WriteString("</g>\n")
	title := html.EscapeString(p.Title)
	if p.Type == "row" {
		fmt.Fprintf(b, `<text x="6" y="20" font-size="14" font-weight="bold">%s</text>`, title)
		return nil
	}
	fmt.Fprintf(b, `<rect width="%d" height="%d" rx="2" fill="#181b1f" stroke="#2c2f34"/>`, w, h)
	fmt.Fprintf(b, `<text x="8" y="17" font-weight="bold">%s</text>`, title)
	curves, err := d.curves(p)
	if err != nil {
		return err
	}
	switch p.Type {
	case "stat":
		p.drawStat(b, curves[0], w, h)
	case "bargauge", "table":
		p.drawBars(b, curves, w)
	case "heatmap":
		d.drawHeat(b, p, curves, w, h)
	default:
		d.drawGraph(b, p, curves, w, h)
	}
	return nil
}

// curves evaluates the queries of a panel. An instant query has one point for each curve.
func (d drawing) curves(p panel) (all []curve, err error) {
	for _, target := range p.Targets {
		found, err := target.Query(d.Prometheus)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			c := curve{name: target.LegendFormat}
			if p.Type == "table" {
				c.name = strings.Join(slices.Sorted(maps.Values(s.Metric)), ", ")
			}
			for label, value := range s.Metric {
				c.name = strings.ReplaceAll(c.name, "{{"+label+"}}", value)
			}
			s.Points(func(at, value float64) {
				if !math.IsNaN(value) && !math.IsInf(value, 0) {
					c.at, c.value = append(c.at, at), append(c.value, value)
				}
			})
			if len(c.at) > 0 {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the queries have no results")
	}
	slices.SortStableFunc(all, func(a, b curve) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// drawStat draws one large value.
func (p panel) drawStat(b *strings.Builder, c curve, w, h int) {
	text, color := p.format(c.last()), p.color(c.last())
	if p.Options.TextMode == "name" {
		text = c.name
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%d" text-anchor="middle" fill="%s">%s</text>`,
		w/2, h/2+18, min(26, 17*w/10/len(text)), color, html.EscapeString(text))
}

// drawBars draws a line for each curve, and a bar in a bar gauge.
func (p panel) drawBars(b *strings.Builder, curves []curve, w int) {
	most := p.FieldConfig.Defaults.Max
	for _, c := range curves {
		if p.FieldConfig.Defaults.Max == 0 {
			most = max(most, c.last())
		}
	}
	for i, c := range curves[:min(len(curves), 10)] {
		top := 26 + i*20
		if p.Type == "bargauge" {
			fmt.Fprintf(b, `<rect x="150" y="%d" width="%d" height="14" fill="#22252b"/>`, top, w-230)
			fmt.Fprintf(b, `<rect x="150" y="%d" width="%.0f" height="14" fill="%s"/>`,
				top, float64(w-230)*math.Min(1, c.last()/most), p.color(c.last()))
		}
		fmt.Fprintf(b, `<text x="8" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text>`,
			top+11, html.EscapeString(c.name), w-8, top+11, p.format(c.last()))
	}
}

// position returns where a time is in the time range, from 0 to 1.
func (d drawing) position(at float64) float64 {
	return math.Max(0, at-float64(d.From.Unix())) / (d.span + 2)
}

// drawGraph draws curves over the time range, on top of each other where the panel stacks them.
func (d drawing) drawGraph(b *strings.Builder, p panel, curves []curve, w, h int) {
	custom := p.FieldConfig.Defaults.Custom
	stacked := custom.Stacking.Mode == "normal"
	left, top, width := 58.0, 26.0, float64(w)-70
	height := float64(h) - top - 14 - 15*float64(min(len(curves), 5))
	base := map[float64]float64{} // the sum of stacked curves, by time
	most, limits := p.FieldConfig.Defaults.Max, p.limits()
	sums := make([][]float64, len(curves))
	for i, c := range curves {
		for j, at := range c.at {
			sum := c.value[j]
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
	px := func(at float64) float64 { return left + width*d.position(at) }
	py := func(v float64) float64 { return top + height*(1-v/most) }
	for i := range 4 {
		v := most * float64(i) / 3
		fmt.Fprintf(b, `<path d="M%.0f %.0fh%.0f" stroke="#2c2f34"/>`, left, py(v), width)
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="end" fill="#8e8e99">%s</text>`,
			left-4, py(v)+4, p.format(v))
	}
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value > 0 && step.Value < most && custom.ThresholdsStyle.Mode == "dashed" {
			fmt.Fprintf(b, `<path d="M%.0f %.0fh%.0f" stroke="%s" stroke-dasharray="6 4"/>`,
				left, py(step.Value), width, colors[step.Color])
		}
	}
	for i, c := range curves {
		color, more := palette[i%len(palette)], ""
		if limits[c.name] {
			color, more = colors["red"], ` stroke-dasharray="8 6"`
		}
		if limits[c.name] && c.last() > most {
			continue // far above the graph
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.3"%s points="`, color, more)
		for j, at := range c.at {
			fmt.Fprintf(b, "%.0f,%.0f ", px(at), py(sums[i][j]))
		}
		b.WriteString(`"/>`)
	}
	p.drawLegend(b, curves, w, h)
}

// drawLegend lists the five curves with the largest last values.
func (p panel) drawLegend(b *strings.Builder, curves []curve, w, h int) {
	limits := p.limits()
	shown := slices.SortedStableFunc(slices.Values(curves), func(a, b curve) int {
		return -cmp.Compare(a.last(), b.last())
	})
	for i, c := range shown[:min(len(shown), 5)] {
		y := float64(h) - 8 - 15*float64(min(len(curves), 5)-1-i)
		index := slices.IndexFunc(curves, func(o curve) bool { return o.name == c.name })
		color := palette[index%len(palette)]
		if limits[c.name] {
			color = colors["red"]
		}
		name := c.name
		if rest := len(curves) - 5; i == 4 && rest > 0 {
			name += fmt.Sprintf(" … and %d more", rest)
		}
		fmt.Fprintf(b, `<path d="M10 %.0fh10" stroke="%s" stroke-width="3"/>`, y-4, color)
		fmt.Fprintf(b, `<text x="26" y="%.0f">%s</text><text x="%d" y="%.0f" text-anchor="end">%s</text>`,
			y, html.EscapeString(name), w-10, y, p.format(c.last()))
	}
}

// drawHeat draws how many observations fell into each bucket during each interval of the time range: the more, the
// brighter.
func (d drawing) drawHeat(b *strings.Builder, p panel, curves []curve, w, h int) {
	const intervals = 40
	bound := func(c curve) float64 { v, _ := strconv.ParseFloat(c.name, 64); return v }
	slices.SortFunc(curves, func(a, b curve) int { return cmp.Compare(bound(a), bound(b)) })
	cells := make([][intervals]float64, len(curves)) // cumulative, as the buckets are
	for i, c := range curves {
		for j, at := range c.at {
			cells[i][min(intervals-1, int(intervals*d.position(at)))] += c.value[j]
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
	width, height := (float64(w)-70)/intervals, (float64(h)-40)/float64(len(curves))
	for i, row := range cells {
		y := top + height*float64(len(cells)-1-i)
		if i%3 == 0 && !math.IsInf(bound(curves[i]), 0) {
			fmt.Fprintf(b, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#8e8e99">%s</text>`,
				left-4, y+4, p.format(bound(curves[i])))
		}
		for j, n := range row {
			if n > 1e-9 {
				fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#ff9830" opacity="%.2f"/>`,
					left+width*float64(j), y, width-1, height-1, 0.15+0.85*math.Sqrt(n/most))
			}
		}
	}
}

// format returns a value in the unit of the panel.
func (p panel) format(v float64) string {
	if m := p.FieldConfig.Defaults.Mappings; len(m) > 0 {
		return m[0].Options[strconv.Itoa(int(v))].Text
	}
	scale := func(base float64, units ...string) string {
		i := 0
		for ; math.Abs(v) >= base && i < len(units)-1; i++ {
			v /= base
		}
		return round(v) + units[i]
	}
	switch p.FieldConfig.Defaults.Unit {
	case "bytes":
		return scale(1024, " B", " KiB", " MiB", " GiB", " TiB")
	case "percentunit":
		return round(math.Round(v*1000)/10) + "%"
	case "dateTimeFromNow":
		return fmt.Sprintf("in %.0f days", time.Until(time.UnixMilli(int64(v))).Hours()/24)
	case "ops":
		return round(math.Round(v*100)/100) + "/s"
	case "s":
		switch {
		case v >= 120:
			return round(v/60) + " min"
		case v >= 1 || v == 0:
			return round(v) + " s"
		case v >= 1e-3:
			return round(v*1e3) + " ms"
		}
		return round(v*1e6) + " µs"
	}
	return scale(1000, "", " K", " M", " G")
}

// round returns a number with three digits, or with all digits before the point.
func round(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// color returns the colour of a value: that of its text, or of its threshold.
func (p panel) color(v float64) string {
	if m := p.FieldConfig.Defaults.Mappings; len(m) > 0 {
		return colors[m[0].Options[strconv.Itoa(int(v))].Color]
	}
	color := colors["green"]
	for i, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if i == 0 || v >= step.Value {
			color = colors[step.Color]
		}
	}
	return color
}

// limits returns the names of the series that are drawn as limits.
func (p panel) limits() map[string]bool {
	all := map[string]bool{}
	for _, o := range p.FieldConfig.Overrides {
		if name, ok := o.Matcher.Options.(string); ok {
			all[name] = true
		}
	}
	return all
}
