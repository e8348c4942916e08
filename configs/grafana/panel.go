package grafana

// Panel is one of a dashboard, or the title of a row.
type Panel struct {
	ID          int       `json:"id"`
	Type        string    `json:"type"`
	Title       string    `json:"title"`
	Description string    `json:"description,omitempty"`
	GridPos     position  `json:"gridPos"`
	Datasource  object    `json:"datasource,omitempty"`
	Targets     []target  `json:"targets,omitempty"`
	FieldConfig *fields   `json:"fieldConfig,omitempty"`
	Options     object    `json:"options,omitempty"`
	Transform   []object  `json:"transformations,omitempty"`
	Collapsed   *bool     `json:"collapsed,omitempty"`
	Panels      *[]*Panel `json:"panels,omitempty"`
}

type position struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// target is a query of a panel.
type target struct {
	RefID        string `json:"refId"`
	Datasource   object `json:"datasource"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Format       string `json:"format"`
	Instant      bool   `json:"instant"`
	Range        bool   `json:"range"`
}

type fields struct {
	Defaults  object   `json:"defaults"`
	Overrides []object `json:"overrides"`
}

// query is an expression, in which $scope stands for the chosen servers, and what its series are called.
type query struct{ expr, legend string }

// units, as Grafana calls them
const (
	bytes     = "bytes" // in steps of 1024
	seconds   = "s"
	perSecond = "ops"
	share     = "percentunit"
	count     = "short"
	ago       = "dateTimeFromNow"
)

func newPanel(kind, title, description, unit string, width, height int, queries []query) *Panel {
	p := &Panel{
		Type: kind, Title: title, Description: description, Datasource: source, GridPos: position{H: height, W: width},
		FieldConfig: &fields{Defaults: object{"unit": unit, "color": object{"mode": "palette-classic"}, "thresholds": steps("green")}, Overrides: []object{}},
	}
	if unit == share {
		p.FieldConfig.Defaults["min"] = 0
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, target{RefID: string(rune('A' + i)), Datasource: source, Expr: scoped(q.expr), LegendFormat: q.legend, Format: "time_series", Range: true})
	}
	return p
}

// graph draws values over time.
func graph(title, description, unit string, queries ...query) *Panel {
	p := newPanel("timeseries", title, description, unit, 8, 8, queries)
	p.FieldConfig.Defaults["custom"] = object{
		"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "gradientMode": "opacity", "showPoints": "never", "spanNulls": false, "stacking": object{"mode": "none", "group": "A"},
		"thresholdsStyle": object{"mode": "off"}, "axisSoftMin": 0,
	}
	p.Options = object{
		"legend":  object{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull", "max"}, "sortBy": "Last *", "sortDesc": true},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	return p
}

// stat shows the last value in large.
func stat(title, description, unit string, queries ...query) *Panel {
	p := newPanel("stat", title, description, unit, 3, 4, queries)
	p.FieldConfig.Defaults["color"] = object{"mode": "thresholds"}
	p.Options = object{
		"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto", "orientation": "auto", "wideLayout": true,
		"showPercentChange": false, "percentChangeColorMode": "standard", "reduceOptions": lastValue,
	}
	return p
}

// bars compares values as they are now.
func bars(title, description, unit string, queries ...query) *Panel {
	p := newPanel("bargauge", title, description, unit, 8, 8, queries).now("time_series")
	p.FieldConfig.Defaults["color"] = object{"mode": "thresholds"}
	p.FieldConfig.Defaults["min"] = 0
	p.Options = object{
		"displayMode": "gradient", "orientation": "horizontal", "valueMode": "color", "namePlacement": "auto", "showUnfilled": true, "sizing": "auto",
		"minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 48, "reduceOptions": lastValue,
		"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
	}
	return p
}

// table lists what is now, the labels of series as columns.
func table(title, description, unit string, q query, columns ...string) *Panel {
	p := newPanel("table", title, description, unit, 12, 8, []query{q}).now("table")
	p.FieldConfig.Defaults["color"] = object{"mode": "thresholds"}
	p.FieldConfig.Defaults["custom"] = object{"align": "auto", "inspect": false, "cellOptions": object{"type": "auto"}}
	p.FieldConfig.Overrides = []object{{
		"matcher": object{"id": "byName", "options": "Value"}, "properties": []object{{"id": "custom.cellOptions", "value": object{"type": "color-text"}}, {"id": "displayName", "value": q.legend}},
	}}
	p.Options = object{"showHeader": true, "cellHeight": "sm", "frameIndex": 0, "sortBy": []object{{"displayName": q.legend, "desc": false}}}
	p.Transform = []object{{"id": "filterFieldsByName", "options": object{"include": object{"names": append(columns, "Value")}}}}
	return p
}

// heat draws how the observations of a histogram are spread, over time.
func heat(title, description, buckets string) *Panel {
	p := newPanel("heatmap", title, description, seconds, 8, 8, []query{{"sum by (le) (increase(" + buckets + "[$__rate_interval]))", "{{le}}"}})
	p.Targets[0].Format = "heatmap"
	p.FieldConfig.Defaults = object{"custom": object{"hideFrom": object{"legend": false, "tooltip": false, "viz": false}, "scaleDistribution": object{"type": "linear"}}}
	p.Options = object{
		"calculate": false, "cellGap": 1, "cellValues": object{"unit": count}, "color": object{"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64, "reverse": false, "fill": "dark-orange"},
		"exemplars": object{"color": "rgba(255,0,255,0.7)"}, "filterValues": object{"le": 1e-9}, "legend": object{"show": true}, "rowsFrame": object{"layout": "auto"}, "showValue": "never",
		"tooltip": object{"mode": "single", "showColorScale": false, "yHistogram": false}, "yAxis": object{"axisPlacement": "left", "unit": seconds},
	}
	return p
}

var lastValue = object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}

// now makes a panel ask for the present only.
func (p *Panel) now(format string) *Panel {
	for i := range p.Targets {
		p.Targets[i].Instant, p.Targets[i].Range, p.Targets[i].Format = true, false, format
	}
	return p
}

// wide sets the width, of 24.
func (p *Panel) wide(columns int) *Panel {
	p.GridPos.W = columns
	return p
}

// high sets the height, in steps of some 30 pixels.
func (p *Panel) high(lines int) *Panel {
	p.GridPos.H = lines
	return p
}

// stacked draws series on top of each other: their sum means something.
func (p *Panel) stacked() *Panel {
	custom := p.FieldConfig.Defaults["custom"].(object)
	custom["stacking"], custom["fillOpacity"], custom["gradientMode"] = object{"mode": "normal", "group": "A"}, 40, "none"
	return p
}

// upTo is the highest value that can be.
func (p *Panel) upTo(most float64) *Panel {
	p.FieldConfig.Defaults["max"] = most
	return p
}

// worryAbove says from where on a value is worth a look, and from where on it is bad. Graphs have a dashed line there.
func (p *Panel) worryAbove(look, bad float64) *Panel {
	return p.worry(steps("green", look, "orange", bad, "red"))
}

// worryBelow is worryAbove for what should be much.
func (p *Panel) worryBelow(look, bad float64) *Panel {
	return p.worry(steps("red", bad, "orange", look, "green"))
}

func (p *Panel) worry(thresholds object) *Panel {
	p.FieldConfig.Defaults["thresholds"] = thresholds
	if custom, ok := p.FieldConfig.Defaults["custom"].(object); ok && p.Type == "timeseries" {
		custom["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return p
}

// steps are a colour, and then numbers and the colours from there on.
func steps(base string, more ...any) object {
	all := []object{{"color": base, "value": nil}}
	for i := 0; i < len(more); i += 2 {
		all = append(all, object{"color": more[i+1], "value": more[i]})
	}
	return object{"mode": "absolute", "steps": all}
}

// says shows words instead of 0 and 1, the good one in green.
func (p *Panel) says(zero, one string, good int) *Panel {
	colors := [2]string{"red", "red"}
	colors[good] = "green"
	p.FieldConfig.Defaults["mappings"] = []object{{
		"type": "value", "options": object{"0": object{"text": zero, "color": colors[0], "index": 0}, "1": object{"text": one, "color": colors[1], "index": 1}},
	}}
	return p.plain()
}

// plain is a stat without a graph behind it.
func (p *Panel) plain() *Panel {
	p.Options["graphMode"] = "none"
	return p
}

// names shows what series are called instead of their value.
func (p *Panel) names() *Panel {
	p.Options["textMode"] = "name"
	return p.plain()
}

// limit draws the series of that name as a dashed red line without anything below it, and outside any stack.
func (p *Panel) limit(name string) *Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, object{
		"matcher": object{"id": "byName", "options": name},
		"properties": []object{
			{"id": "color", "value": object{"mode": "fixed", "fixedColor": "red"}},
			{"id": "custom.lineStyle", "value": object{"fill": "dash", "dash": []int{10, 10}}},
			{"id": "custom.fillOpacity", "value": 0},
			{"id": "custom.stacking", "value": object{"mode": "none", "group": "A"}},
		},
	})
	return p
}

// leadsToTenant makes a click on a series open the dashboard of its tenant.
func (p *Panel) leadsToTenant() *Panel {
	p.FieldConfig.Defaults["links"] = []object{{
		"title": "${__field.labels.tenant}", "targetBlank": false,
		"url": "/d/" + tenantUID + "?var-tenant=${__field.labels.tenant}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}",
	}}
	return p
}
