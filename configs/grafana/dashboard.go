package grafana

import "strings"

// object is a piece of Grafana's JSON. TestSchema holds all of it against Grafana's own types.
type object = map[string]any

// Dashboard is one, as Grafana imports it.
type Dashboard struct {
	UID           string    `json:"uid"`
	Title         string    `json:"title"`
	Description   string    `json:"description"`
	Tags          []string  `json:"tags"`
	Links         []object  `json:"links"`
	Annotations   object    `json:"annotations"`
	Templating    variables `json:"templating"`
	Panels        []*Panel  `json:"panels"`
	Time          object    `json:"time"`
	Refresh       string    `json:"refresh"`
	GraphTooltip  int       `json:"graphTooltip"` // 1: the cross hair is on all panels at once
	SchemaVersion int       `json:"schemaVersion"`
	Timezone      string    `json:"timezone"`
	Editable      bool      `json:"editable"`
}

type variables struct {
	List []object `json:"list"`
}

// Dashboards returns all of them.
func Dashboards() []*Dashboard {
	return []*Dashboard{service(), tenant(), storage(), security()}
}

// The dashboards, as they link to each other.
const (
	serviceUID  = "sessionserver-service"
	tenantUID   = "sessionserver-tenant"
	storageUID  = "sessionserver-storage"
	securityUID = "sessionserver-security"
)

// source is the Prometheus that the variable names.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// scope restricts a query to the servers that the variables name. Queries write it as $scope.
const scope = `job=~"$job", instance=~"$instance"`

func scoped(expr string) string { return strings.ReplaceAll(expr, "$scope", scope) }

// newDashboard lays out rows of panels from top to bottom.
func newDashboard(uid, title, description string, rows ...row) *Dashboard {
	d := &Dashboard{
		UID: uid, Title: "Session server: " + title, Description: description, Tags: []string{"sessionserver"},
		Links: []object{{
			"type": "dashboards", "title": "Session server", "tags": []string{"sessionserver"}, "tooltip": "The other dashboards, for the same servers and time", "icon": "external link",
			"asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
		}},
		Annotations: object{"list": []object{
			mark("Starts", "green", `process_start_time_seconds{$scope} * 1000`),
			mark("Reloads", "blue", `sessionserver_config_last_reload_success_timestamp_seconds{$scope} * 1000`),
		}},
		Templating: variables{[]object{
			{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "description": "The Prometheus that scrapes the servers"},
			choice("job", "Job", `label_values(sessionserver_build_info, job)`),
			choice("instance", "Instance", `label_values(sessionserver_build_info{job=~"$job"}, instance)`),
		}},
		Time: object{"from": "now-3h", "to": "now"}, Refresh: "30s", GraphTooltip: 1, SchemaVersion: 39, Timezone: "browser", Editable: true,
	}
	y := 0
	for _, r := range rows {
		d.add(&Panel{Type: "row", Title: r.title, Collapsed: new(bool), Panels: &[]*Panel{}, GridPos: position{H: 1, W: 24, Y: y}})
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			if x+p.GridPos.W > 24 {
				x, y, height = 0, y+height, 0
			}
			p.GridPos.X, p.GridPos.Y = x, y
			x, height = x+p.GridPos.W, max(height, p.GridPos.H)
			d.add(p)
		}
		y += height
	}
	return d
}

func (d *Dashboard) add(p *Panel) {
	p.ID = len(d.Panels) + 1
	d.Panels = append(d.Panels, p)
}

// row is a titled group of panels.
type row struct {
	title  string
	panels []*Panel
}

// choice is a variable with the values of a label: one of them, several, or all.
func choice(name, label, query string) object {
	return object{
		"type": "query", "name": name, "label": label, "datasource": source, "query": object{"query": query, "refId": name}, "definition": query,
		"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
		"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
	}
}

// mark draws a line through all graphs at the time that is a query's value, in milliseconds.
func mark(name, color, expr string) object {
	return object{
		"name": name, "enable": true, "iconColor": color, "datasource": source, "expr": scoped(expr), "titleFormat": name + " {{instance}}", "useValueForTime": true,
	}
}
