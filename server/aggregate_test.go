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

// gathering makes a aggregator; told answers how many events its log tells of, in how many lines.
func gathering(t *testing.T) (g *aggregator, told func() (lines int, events int64)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Options{Output: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &aggregator{log: log}, func() (lines int, events int64) {
		if err := log.Record(audit.Event{Code: audit.ServerReloaded}); err != nil { // what was noted before is there after it
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
	return audit.Event{Code: audit.ConnectionRefused, Address: netip.MustParseAddrPort(address + ":1"), Reason: "refused"}, address
}

// TestGather: the first is told at once, whoever goes on forever is told of once a second, and each is counted.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, told := gathering(t)
		wants := func(lines int, events int64) {
			t.Helper()
			synctest.Wait()
			if l, e := told(); l != lines || e != events {
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
		for range 100 { // forever
			g.add(refusedFrom("192.0.2.1"))
			time.Sleep(aggregatePeriod / 10)
		}
		synctest.Wait()
		if lines, _ := told(); lines > 3+11 {
			t.Errorf("%d lines in 10 s", lines)
		}
		time.Sleep(2 * aggregatePeriod)
		synctest.Wait()
		if _, events := told(); events != 107 || len(g.pending) != 0 {
			t.Errorf("%d events, %d kept", events, len(g.pending))
		}
		g.add(refusedFrom("192.0.2.1"))
		g.add(refusedFrom("192.0.2.1"))
		g.flush()
		if _, events := told(); events != 109 {
			t.Errorf("%d events after a flush", events)
		}
		time.Sleep(2 * aggregatePeriod)
	})
}

// TestGatherMany: however many addresses there are, no more than so many lines come, and each event is counted.
func TestGatherMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, told := gathering(t)
		const all = 5 * aggregateMax
		for i := range all {
			g.add(refusedFrom(fmt.Sprintf("10.0.%d.%d", i>>8, i&255)))
		}
		time.Sleep(3 * aggregatePeriod)
		synctest.Wait()
		if lines, events := told(); lines > aggregateMax+2 || events != all {
			t.Errorf("%d events in %d lines", events, lines)
		}
	})
}

// TestGatherUnwritable: while the log cannot be written they are counted, and none is lost.
func TestGatherUnwritable(t *testing.T) {
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
			t.Fatal("the log can be written")
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
		if err != nil || !bytes.Contains(text, []byte(`"reason":"refused","count":30}`)) || !bytes.Contains(text, []byte(`"event":"audit.lost"`)) {
			t.Errorf("%v: %s", err, text)
		}
	})
}
