package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Units of the panels, in Grafana's terms.
const (
	bytes     = units.BytesIEC // in steps of 1024
	seconds   = units.Seconds
	perSecond = units.OpsPerSecond
	share     = units.PercentUnit
	count     = units.Short
	fromNow   = units.DateTimeFromNow // of a timestamp in milliseconds
)

// builder is the part of the SDK's builders that all kinds of panels have in common.
type builder[B any] interface {
	Title(string) B
	Description(string) B
	Datasource(common.DataSourceRef) B
	Unit(string) B
	Min(float64) B
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) B
	ColorScheme(cog.Builder[dashboard.FieldColor]) B
	Height(uint32) B
	Span(uint32) B
	Targets([]cog.Builder[variants.Dataquery]) B
}

// preset sets the properties that every panel has. Colours follow the thresholds; the base colour is green.
func preset[B builder[B]](panel B, title, description, unit string, targets ...cog.Builder[variants.Dataquery]) B {
	if unit == share {
		panel.Min(0)
	}
	return panel.Title(title).Description(description).Datasource(source).Unit(unit).Thresholds(steps("green")).
		ColorScheme(colors(dashboard.FieldColorModeIdThresholds)).Height(8).Span(8).Targets(targets)
}

// history evaluates queries over the time range of the dashboard.
func history(queries ...query) (targets []cog.Builder[variants.Dataquery]) {
	for i, q := range queries {
		targets = append(targets, target(i, q).Range())
	}
	return targets
}

// latest evaluates queries at the end of the time range only.
func latest(queries ...query) (targets []cog.Builder[variants.Dataquery]) {
	for i, q := range queries {
		targets = append(targets, target(i, q).Instant())
	}
	return targets
}

func target(i int, q query) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + i))).Datasource(source).
		Expr(q.expr).LegendFormat(q.legend).Format(prometheus.PromQueryFormatTimeSeries)
}

// graph draws values over time, and a dashed line at each threshold.
func graph(title, description, unit string, queries ...query) *timeseries.PanelBuilder {
	return preset(timeseries.NewPanelBuilder(), title, description, unit, history(queries...)...).
		ColorScheme(colors(dashboard.FieldColorModeIdPaletteClassic)).
		DrawStyle(common.GraphDrawStyleLine).LineWidth(1).FillOpacity(10).GradientMode(common.GraphGradientModeOpacity).
		ShowPoints(common.VisibilityModeNever).AxisSoftMin(0).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeTable).
			Placement(common.LegendPlacementBottom).ShowLegend(true).
			Calcs([]string{"lastNotNull", "max"}).SortBy("Last *").SortDesc(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).
			Sort(common.SortOrderDescending))
}

// stack is a graph of series on top of each other, for series whose sum has a meaning.
func stack(title, description, unit string, queries ...query) *timeseries.PanelBuilder {
	return graph(title, description, unit, queries...).FillOpacity(40).GradientMode(common.GraphGradientModeNone).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

// quantiles is a graph of the median, the 95th and the 99th percentile of a histogram of durations.
func quantiles(title, description, histogram string, matchers ...string) *timeseries.PanelBuilder {
	return graph(title, description, seconds,
		query{quantile("0.99", "", histogram, matchers...), "99th percentile"},
		query{quantile("0.95", "", histogram, matchers...), "95th percentile"},
		query{quantile("0.5", "", histogram, matchers...), "median"})
}

// figure shows the last value in large type, with its history behind it.
func figure(title, description, unit string, queries ...query) *stat.PanelBuilder {
	return preset(stat.NewPanelBuilder(), title, description, unit, history(queries...)...).Height(4).Span(3).
		ReduceOptions(lastValue()).Orientation(common.VizOrientationAuto)
}

// word is a figure that shows a word instead of the values 0 and 1. The good value is green, the other is red.
func word(title, description, zero, one string, good int, q query) *stat.PanelBuilder {
	colors := [2]string{"red", "red"}
	colors[good] = "green"
	return figure(title, description, count, q).GraphMode(common.BigValueGraphModeNone).
		Mappings([]dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{
			Type: dashboard.MappingTypeValueToText,
			Options: map[string]dashboard.ValueMappingResult{
				"0": {Text: &zero, Color: &colors[0], Index: cog.ToPtr[int32](0)},
				"1": {Text: &one, Color: &colors[1], Index: cog.ToPtr[int32](1)},
			},
		}}})
}

// bars compares the latest values.
func bars(title, description, unit string, queries ...query) *bargauge.PanelBuilder {
	return preset(bargauge.NewPanelBuilder(), title, description, unit, latest(queries...)...).Min(0).
		Orientation(common.VizOrientationHorizontal).MaxVizHeight(48).ReduceOptions(lastValue()).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom))
}

// list is a table of the latest values, sorted. Its columns are labels of the series and the value.
func list(title, description, unit string, q query, labels ...string) *table.PanelBuilder {
	return preset(table.NewPanelBuilder(), title, description, unit,
		target(0, q).Instant().Format(prometheus.PromQueryFormatTable)).Span(12).
		OverrideByName("Value", []dashboard.DynamicConfigValue{
			{Id: "custom.cellOptions", Value: common.NewTableColorTextCellOptions()},
			{Id: "displayName", Value: q.legend},
		}).
		SortBy([]cog.Builder[common.TableSortByFieldState]{
			common.NewTableSortByFieldStateBuilder().DisplayName(q.legend).Desc(false),
		}).
		WithTransformation(dashboard.DataTransformerConfig{
			Id:      "filterFieldsByName",
			Options: map[string]any{"include": map[string]any{"names": append(labels, "Value")}},
		})
}

// spread draws the distribution of a histogram of durations over time, as a heat map.
func spread(title, description, histogram string, matchers ...string) *heatmap.PanelBuilder {
	q := query{sum("le", "increase("+of(histogram+"_bucket", matchers...)+"[$__rate_interval])"), "{{le}}"}
	return preset(heatmap.NewPanelBuilder(), title, description, seconds,
		target(0, q).Range().Format(prometheus.PromQueryFormatHeatmap)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).
			Scheme("Oranges").Scale(heatmap.HeatmapColorScaleExponential).Exponent(0.5).Steps(64)).
		CellValues(heatmap.NewCellValuesBuilder().Unit(count)).ShowValue(common.VisibilityModeNever).
		YAxis(heatmap.NewYAxisConfigBuilder().AxisPlacement(common.AxisPlacementLeft).Unit(seconds)).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle))
}

func lastValue() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func colors(mode dashboard.FieldColorModeId) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(mode)
}

// above returns thresholds for values that should be low: from warning on orange, from critical on red.
func above(warning, critical float64) *dashboard.ThresholdsConfigBuilder {
	return steps("green", dashboard.Threshold{Value: &warning, Color: "orange"},
		dashboard.Threshold{Value: &critical, Color: "red"})
}

// below returns thresholds for values that should be high: below warning orange, below critical red.
func below(warning, critical float64) *dashboard.ThresholdsConfigBuilder {
	return steps("red", dashboard.Threshold{Value: &critical, Color: "orange"},
		dashboard.Threshold{Value: &warning, Color: "green"})
}

func steps(base string, more ...dashboard.Threshold) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).
		Steps(append([]dashboard.Threshold{{Color: base}}, more...))
}

// limitLine is the style of a series that is a limit: a dashed red line without an area, outside any stack.
func limitLine() []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{
		{Id: "color", Value: dashboard.FieldColor{Mode: dashboard.FieldColorModeIdFixed, FixedColor: cog.ToPtr("red")}},
		{Id: "custom.lineStyle", Value: common.LineStyle{
			Fill: cog.ToPtr(common.LineStyleFillDash), Dash: []float64{10, 10},
		}},
		{Id: "custom.fillOpacity", Value: 0},
		{Id: "custom.stacking", Value: common.StackingConfig{
			Mode: cog.ToPtr(common.StackingModeNone), Group: cog.ToPtr("A"),
		}},
	}
}

// tenantLink opens the dashboard of the tenant whose series is clicked.
func tenantLink() []cog.Builder[dashboard.DashboardLink] {
	return []cog.Builder[dashboard.DashboardLink]{
		dashboard.NewDashboardLinkBuilder("${__field.labels.tenant}").Type(dashboard.DashboardLinkTypeLink).
			Url("/d/" + tenantUID + "?var-tenant=${__field.labels.tenant}" +
				"&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"),
	}
}
