package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

//lint:file-ignore SA1019 Grafana 10 and 11 import the classic schema only; the SDK prefers its successor.

// Dashboard is a dashboard of the classic schema. Its JSON is the format that Grafana imports.
type Dashboard = dashboard.Dashboard

// board builds a Dashboard, panel builds one of its panels.
type (
	board = dashboard.DashboardBuilder
	panel = cog.Builder[dashboard.Panel]
)

// Dashboards returns all dashboards.
func Dashboards() ([]Dashboard, error) {
	var all []Dashboard
	for _, b := range []*board{service(), tenant(), storage(), security()} {
		d, err := b.Build()
		if err != nil {
			return nil, err
		}
		finish(&d)
		all = append(all, d)
	}
	return all, nil
}

// UIDs of the dashboards, which are part of their addresses.
const (
	serviceUID  = "sessionserver-service"
	tenantUID   = "sessionserver-tenant"
	storageUID  = "sessionserver-storage"
	securityUID = "sessionserver-security"
)

// source is the Prometheus that the variable datasource selects.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

// section is a titled group of panels.
type section struct {
	title  string
	panels []panel
}

// newDashboard lays out sections from top to bottom, and adds the elements that all dashboards share.
func newDashboard(uid, title, description string, sections ...section) *board {
	b := dashboard.NewDashboardBuilder("Session server: "+title).Uid(uid).Description(description).
		Tags([]string{"sessionserver"}).Time("now-3h", "now").Refresh("30s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("Session server").Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{"sessionserver"}).Tooltip("The other dashboards, with the same servers and time range").
			Icon("external link").IncludeVars(true).KeepTime(true)).
		Annotation(event("Starts", "green", "process_start_time_seconds")).
		Annotation(event("Reloads", "blue",
			"sessionserver_reload_last_success_timestamp_seconds", `what="configuration"`)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").
			Description("The Prometheus that scrapes the servers")).
		WithVariable(selection("job", "Job", `label_values(sessionserver_build_info, job)`)).
		WithVariable(selection("instance", "Instance", `label_values(sessionserver_build_info{job=~"$job"}, instance)`))
	for _, s := range sections {
		b.WithRow(dashboard.NewRowBuilder(s.title))
		for _, p := range s.panels {
			b.WithPanel(p)
		}
	}
	return b
}

// finish sets what the builder does not: panel ids, which addresses of panels contain. It also shows the links and the
// switches of annotations above the panels, as every version of Grafana can; the SDK moves them into a menu.
func finish(d *Dashboard) {
	for i, p := range d.Panels {
		id := uint32(i + 1)
		if p.RowPanel != nil {
			p.RowPanel.Id = id
		} else {
			p.Panel.Id = &id
		}
	}
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	for i := range d.Annotations.List {
		d.Annotations.List[i].Placement = nil
	}
}

// choice is a variable that selects one value of a label.
func choice(name, label, labelValues string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).Definition(labelValues).
		Query(dashboard.StringOrMap{Map: map[string]any{"query": labelValues, "refId": name}}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

// selection is a choice of one, several or all values.
func selection(name, label, labelValues string) *dashboard.QueryVariableBuilder {
	return choice(name, label, labelValues).Multi(true).IncludeAll(true).AllValue(".+").
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

// event draws a line through all graphs at the time that is the value of a metric, in seconds.
func event(name, color, timestamp string, matchers ...string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).IconColor(color).Datasource(source).
		Expr(of(timestamp, matchers...) + " * 1000").TitleFormat(name + " {{instance}}").UseValueForTime(true)
}
