package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const head = "| case | compared | cycles/s | CPU µs a cycle | processors | cycles per CPU-second, ratio | open p99 | " +
	"further |\n|---|---|---|---|---|---|---|---|\n"

// row returns the row of a case: for each figure the median of all rounds, of both sides.
func row(c trial, ours, other []figures) string {
	further := []string{}
	if c.idle {
		further = append(further, "KiB an idle connection: "+pair(ours, other, "%.1f",
			func(f figures) float64 { return f.idle }))
	}
	if c.sessions == 1 {
		further = append(further, "release to the next open, p99 ms: "+pair(ours, other, "%.2f",
			func(f figures) float64 { return ms(f.handover) }))
	}
	if c.stored {
		further = append(further, "RSS MiB: "+pair(ours, other, "%.0f", func(f figures) float64 { return f.memory }),
			"restart s: "+pair(ours, other, "%.2f", func(f figures) float64 { return f.restart.Seconds() }))
	}
	cells := []string{c.name, c.ours.name + " : " + c.other.name, "", "", "", "", "", strings.Join(further, "; ")}
	if !c.idle {
		cells[2] = pair(ours, other, "%.0f", func(f figures) float64 { return f.perSecond })
		cells[3] = pair(ours, other, "%.1f", func(f figures) float64 { return ms(f.cpu) * 1000 })
		cells[4] = pair(ours, other, "%.2f", func(f figures) float64 { return f.used })
		cells[5] = fmt.Sprintf("**%.2f**", ratio(other, ours, func(f figures) float64 { return float64(f.cpu) }))
		cells[6] = pair(ours, other, "%.2f", func(f figures) float64 { return ms(f.open) }) + " ms"
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// pair returns the medians of a figure.
func pair(ours, other []figures, format string, of func(figures) float64) string {
	return fmt.Sprintf(format+" : "+format, median(ours, of), median(other, of))
}

func median(list []figures, of func(figures) float64) float64 {
	values := make([]float64, len(list))
	for i, f := range list {
		values[i] = of(f)
	}
	return middle(values)
}

// ratio returns the median of the ratios a to b in each round.
func ratio(a, b []figures, of func(figures) float64) float64 {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = of(a[i]) / of(b[i])
	}
	return middle(values)
}

// middle returns the median of at least one value.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
