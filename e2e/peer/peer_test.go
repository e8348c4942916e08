package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
)

// TestRun runs every case for a moment and checks that each has a row of plausible figures.
func TestRun(t *testing.T) {
	servertest.Program(t, "redis-server")
	servertest.Program(t, "taskset")
	binary, err := servertest.Build("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	opts := options{rounds: 1, duration: 300 * time.Millisecond, sessions: 50, most: 50, connections: 20,
		settle: time.Millisecond, cases: strings.Join(names(cases), ","), binary: binary}
	if err := run(t.Context(), opts, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(out.String(), "\n\n")
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\d, Linux \S+, \d+ processors?: .+, go\S+, Redis v=\S+$`).MatchString(first) {
		t.Errorf("the first line is %q", first)
	}
	rows := strings.Split(strings.TrimPrefix(strings.TrimSpace(rest), head), "\n")
	if len(rows) != len(cases) {
		t.Fatalf("%d rows for %d cases:\n%s", len(rows), len(cases), out.String())
	}
	for i, c := range cases {
		cells := strings.Split(rows[i], " | ")
		if len(cells) != 8 || cells[0] != "| "+c.name || cells[1] != c.ours.name+" : "+c.other.name {
			t.Errorf("the row of %s is %s", c.name, rows[i])
			continue
		}
		figures := `([\d.]+) : ([\d.]+)`
		if c.idle {
			figures = `KiB an idle connection: -?[\d.]+ : -?[\d.]+`
		} else if !positive(cells[2]) || !positive(cells[6]) {
			t.Errorf("%s: cycles or their times are missing: %s", c.name, rows[i])
		}
		further := c.idle || c.stored || c.sessions == 1
		if further && !regexp.MustCompile(figures).MatchString(cells[7]) {
			t.Errorf("%s: figures are missing: %s", c.name, rows[i])
		}
	}
}

// positive reports whether both figures of a cell are above zero. Others may be zero in a short time.
func positive(cell string) bool {
	pair := strings.Split(strings.TrimSuffix(cell, " ms"), " : ")
	return len(pair) == 2 && !slices.ContainsFunc(pair, func(text string) bool {
		f, err := strconv.ParseFloat(text, 64)
		return err != nil || f <= 0
	})
}

// TestRatio checks that the ratio is the median of those within a round, not that of the medians.
func TestRatio(t *testing.T) {
	of := func(f figures) float64 { return f.perSecond }
	a := []figures{{perSecond: 10}, {perSecond: 40}, {perSecond: 90}}
	b := []figures{{perSecond: 10}, {perSecond: 20}, {perSecond: 10}}
	if got := ratio(a, b, of); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	if got := median(a[:2], of); got != 25 {
		t.Errorf("median of two %v, want 25", got)
	}
}

func TestChoose(t *testing.T) {
	if _, err := choose("memory,other"); err == nil || !strings.Contains(err.Error(), `unknown case "other"`) {
		t.Error(err)
	}
	chosen, err := choose("memory,idle")
	if err != nil || !slices.Equal(names(chosen), []string{"memory", "idle"}) {
		t.Errorf("%v, %v", names(chosen), err)
	}
}
