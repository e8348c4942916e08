// What a dashboard's JSON may hold, from Grafana's own types. TestSchema writes each dashboard as a value of type Shipped beside this file, and lets the compiler check it:
// a field that Grafana does not know, or a value that it does not take, is an error.
import type { AnnotationQuery, Dashboard, FieldConfig, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Plain is a type as JSON writes it: the values of enumerations instead of their names.
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

// Query is what Grafana's data source for Prometheus takes.
type Query = {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
};

// Field is a panel's configuration of fields: custom holds what the kind of panel adds.
type Field<C> = { defaults: Plain<Omit<FieldConfig, 'custom'>> & { custom?: Plain<C> }; overrides: { matcher: { id: string; options?: unknown }; properties: { id: string; value?: unknown }[] }[] };

type Kind<T, O, C> = Omit<Plain<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & { type: T; title: string; description: string; options: Plain<O>; fieldConfig: Field<C>; targets: Query[] };

type Any =
  | Plain<RowPanel>
  | Kind<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Kind<'stat', stat.Options, never>
  | Kind<'bargauge', bargauge.Options, never>
  | Kind<'table', table.Options, Partial<table.FieldConfig>>
  | Kind<'heatmap', heatmap.Options, heatmap.FieldConfig>;

type Annotation = Plain<Omit<AnnotationQuery, 'target'>> & { expr: string; titleFormat: string; useValueForTime: boolean };

// definition is what Grafana itself writes beside a variable's query.
type Variable = Plain<NonNullable<NonNullable<Dashboard['templating']>['list']>[number]> & { definition?: string };

export type Shipped = Omit<Plain<Dashboard>, 'panels' | 'annotations' | 'templating'> & { panels: Any[]; annotations: { list: Annotation[] }; templating: { list: Variable[] } };
