// Package grafana is the source of the shipped dashboards: queries, units, thresholds and descriptions of their panels.
//
// Begin with service.go, the dashboard that operators open first. query.go writes the PromQL expressions, panel.go
// presets the kinds of panels, and dashboard.go adds the elements that all dashboards share. Panels and dashboards are
// builders of Grafana's own library, the Foundation SDK, which defines the fields of their JSON.
//
// The files in dashboards/ are for import by operators. TestFiles compares them with this package, and go generate
// writes them. TestMonitoring in e2e evaluates every query on a real Prometheus that scrapes a real
// server. No package imports this one, so that the server's binary contains neither it nor the library.
package grafana

//go:generate go test . -run ^TestFiles$ -update
