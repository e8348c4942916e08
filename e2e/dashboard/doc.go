// Package dashboard evaluates the queries of Grafana's dashboards on a Prometheus. The tests of e2e check the results,
// and the command dashboard/draw draws them.
//
// Begin reading at [Load].
package dashboard
