// Package grafana is the shipped dashboards as code: what each panel asks Prometheus, in which unit it draws the answer, and what it says about itself.
//
// Begin with service.go. panel.go has the kinds of panels, dashboard.go what all dashboards have in common. The files in dashboards/ are what operators import; a test
// holds them equal to the code, and `go test ./configs/grafana -update` writes them. TestMonitoring in cmd/sessionserver evaluates every query against a real
// Prometheus that scraped the real server. The server's program does not hold this package.
package grafana
