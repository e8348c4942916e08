package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/audit"
)

// newAggregator returns an aggregator. logged returns the number of lines in its log, and of the events in them.
func newAggregator(t *testing.T) (g *aggregator, logged func() (lines int, events int64)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Options{Output: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &aggregator{log: log}, func() (lines int, events int64) {
		// a later event is behind all earlier ones
		if err := log.Record(audit.Event{Code: audit.ServerReloaded}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var l struct {
				Event string
				Count int64
			}
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			if l.Event != audit.ServerReloaded.String() {
				lines, events = lines+1, events+max(l.Count, 1)
			}
		}
		return lines, events
	}
}

func refusedFrom(address string) (audit.Event, string) {
	return audit.Event{Code: audit.ConnectionRefused, Address: netip.MustParseAddrPort(address + ":1"),
		Reason: "refused"}, address
}

// TestAggregator checks that the first event is logged at once, that later ones are logged once a second, and that
// all are counted.
func TestAggregator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logged := newAggregator(t)
		wants := func(lines int, events int64) {
			t.Helper()
			synctest.Wait()
			if l, e := logged(); l != lines || e != events {
				t.Errorf("%d events in %d lines, want %d in %d", e, l, events, lines)
			}
		}
		g.add(refusedFrom("192.0.2.1"))
		wants(1, 1)
		g.add(refusedFrom("192.0.2.2"))
		wants(2, 2)
		for range 5 {
			g.add(refusedFrom("192.0.2.1"))
		}
		wants(2, 2)
		time.Sleep(aggregatePeriod)
		wants(3, 7)
		for range 100 {
			g.add(refusedFrom("192.0.2.1"))
			time.Sleep(aggregatePeriod / 10)
		}
		synctest.Wait()
		if lines, _ := logged(); lines > 3+11 {
			t.Errorf("%d lines in 10 s", lines)
		}
		time.Sleep(2 * aggregatePeriod)
		synctest.Wait()
		if _, events := logged(); events != 107 || len(g.pending) != 0 {
			t.Errorf("%d events, %d pending", events, len(g.pending))
		}
		g.add(refusedFrom("192.0.2.1"))
		g.add(refusedFrom("192.0.2.1"))
		g.flush()
		if _, events := logged(); events != 109 {
			t.Errorf("%d events after a flush", events)
		}
		time.Sleep(2 * aggregatePeriod)
	})
}

// TestAggregatorMany checks that the number of lines is bounded for any number of addresses, and that all events are
// counted.
func TestAggregatorMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logged := newAggregator(t)
		const all = 5 * aggregateMax
		for i := range all {
			g.add(refusedFrom(fmt.Sprintf("10.0.%d.%d", i>>8, i&255)))
		}
		time.Sleep(3 * aggregatePeriod)
		synctest.Wait()
		if lines, events := logged(); lines > aggregateMax+2 || events != all {
			t.Errorf("%d events in %d lines", events, lines)
		}
	})
}

// TestAggregatorUnwritable checks that events are counted, and none is lost, while the log cannot be written.
func TestAggregatorUnwritable(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		path, good := filepath.Join(folder, "audit.log"), filepath.Join(folder, "good")
		if err := os.Symlink(good, path); err != nil {
			t.Fatal(err)
		}
		log, err := audit.Open(audit.Options{Output: path})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		turn := func(to string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
			if err := log.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		turn("/dev/full")
		if log.Record(audit.Event{Code: audit.ServerReloaded}) == nil {
			t.Fatal("the log is writable, want a failure")
		}
		g := &aggregator{log: log}
		for range 30 {
			g.add(refusedFrom("192.0.2.1"))
			time.Sleep(aggregatePeriod / 4)
		}
		turn(good)
		time.Sleep(3 * aggregatePeriod)
		synctest.Wait()
		text, err := os.ReadFile(good)
		if err != nil || !bytes.Contains(text, []byte(`"reason":"refused","count":30}`)) ||
			!bytes.Contains(text, []byte(`"event":"audit.lost"`)) {
			t.Errorf("%v: %s", err, text)
		}
	})
}
