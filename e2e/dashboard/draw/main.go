// Command draw draws dashboards as SVG pictures for the documentation. The places, units and colours are those of the
// dashboards, and the values those of a Prometheus. The drawing is simpler than Grafana's and needs no Grafana.
//
// TestMonitoring in e2e runs it on a server that is busy: see docs/monitoring.md.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sessionserver/e2e/dashboard"
)

// Sizes in pixels. Grafana's grid has 24 columns.
const (
	columnWidth, rowHeight = 50, 34
	gap                    = 6
)

// drawing is what the panels of all dashboards share.
type drawing struct {
	*dashboard.Prometheus
	span float64 // the time range in seconds
}

func main() {
	log.SetFlags(0)
	url := flag.String("prometheus", "http://localhost:9090", "URL of Prometheus")
	span := flag.Duration("last", 90*time.Second, "time range until now")
	scrape := flag.Duration("scrape", 15*time.Second, "interval at which Prometheus scrapes")
	folder := flag.String("o", ".", "folder of the pictures")
	flag.Parse()
	d := drawing{&dashboard.Prometheus{URL: *url, From: time.Now().Add(-*span)}, span.Seconds()}
	for _, file := range flag.Args() {
		picture := filepath.Join(*folder, strings.TrimSuffix(filepath.Base(file), ".json")+".svg")
		if err := d.draw(file, *scrape, picture); err != nil {
			log.Fatalf("draw: %s: %v", file, err)
		}
	}
}

// draw writes the picture of a dashboard.
func (d drawing) draw(file string, scrape time.Duration, picture string) error {
	board, err := dashboard.Load(file, d.Prometheus, scrape)
	if err != nil {
		return err
	}
	var b strings.Builder
	height := 0
	for _, p := range board.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
		if err := d.panel(&b, panel{p}); err != nil {
			return fmt.Errorf("%s: %w", p.Title, err)
		}
	}
	const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" ` +
		`font-size="11" ` +
		`fill="#ccccdc">` + "\n" + `<rect width="100%%" height="100%%" fill="#111217"/>` + "\n%s</svg>\n"
	text := fmt.Sprintf(head, 24*columnWidth, height*rowHeight, b.String())
	return os.WriteFile(picture, []byte(text), 0o644)
}
