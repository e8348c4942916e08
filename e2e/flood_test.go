package e2e

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sessionserver/auth"
	"sessionserver/e2e/flood"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// floodRSS is the memory that the server may use in TestFlood: twice the quota of loud, since the collector lets the
// heap double, 100 KB for each of 2,000 connections, and what an idle server uses.
const floodRSS = 2*64<<20 + 2000*100<<10 + 256<<20

// floodRefusals are the results that a flood has sooner or later.
var floodRefusals = []string{"ok", "QUOTA", "RATELIMITED", "BADAUTH", "NOAUTH"}

// TestFlood runs all floods of one tenant while another tenant works. The other gets no error and loses nothing. The
// first is limited to its quotas and rates and leaves nothing behind. The memory of the server stays bounded.
// BenchmarkFlood measures the speed.
func TestFlood(t *testing.T) {
	quiet, loud := auth.NewSecret(), auth.NewSecret()
	h := deployment{
		storage: "{driver: log, path: DIR/sessions, sync: never}",
		tenants: map[string]string{
			"quiet": tenantFile("", "app "+quiet),
			"loud": tenantFile(`quotas: {sessions: 200, bytes: 128MiB, connections: 800, waiters: 200, memory: 64MiB}
rates:
  tenant: {per_second: 4000, burst: 8000}
  app: {per_second: 2000, burst: 4000}
  session_creation: {per_second: 1000, burst: 500}`, "app "+loud),
		},
	}.serve(t)
	const clients = 6
	worked, cycles := make([]func(), clients), atomic.Int64{}
	enough := make(chan struct{})
	var working sync.WaitGroup
	for i := range clients {
		c := h.connectAs(t, "quiet/app", quiet)
		id := fmt.Sprintf("quiet-session-%08d", i)
		saved := ""
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				default:
				}
				value := fmt.Sprintf("%d-%s", n, flood.Value)
				if err := floodedCycle(c, id, saved, value); err != nil {
					t.Errorf("quiet, cycle %d: %v", n, err)
					return
				}
				saved = value
				cycles.Add(1)
			}
		})
		worked[i] = func() {
			c := h.connectAs(t, "quiet/app", quiet)
			c.OK("open " + id + " r")
			if got := c.OK("get data"); got != saved {
				t.Errorf("%s: the value is %.20q, not the one saved last", id, got)
			}
		}
	}
	run := (&flood.Flood{Addr: h.addr, From: "127.0.0.2", App: "loud/app", Secret: loud, Kinds: flood.Kinds}).Start(t)
	// The flood has no end of its own. It stops when each kind had successes and as many replies as clients, every
	// refusal has occurred, and quiet has worked.
	require.Eventually(t, "loud meets every refusal while quiet works", func() bool {
		tally := run.Tally(t)
		for _, kind := range flood.Kinds {
			replies := 0
			for _, n := range tally[kind] {
				replies += n
			}
			replies -= tally[kind]["connected"] + tally[kind]["not connected"]
			if tally[kind]["ok"] == 0 || replies < flood.Clients(kind) {
				return false
			}
		}
		all := tally.Total()
		return !slices.ContainsFunc(floodRefusals, func(code string) bool {
			return all[code] == 0
		}) && cycles.Load() >= 200 || t.Failed()
	})
	during := cycles.Load()
	tally := run.Stop(t)
	close(enough)
	working.Wait()
	for _, look := range worked {
		look()
	}
	t.Logf("quiet did %d cycles in the flood; loud got %v", during, tally)
	known := map[string]bool{"ok": true, "connected": true, "not connected": true, "ended": true}
	for _, code := range []string{"QUOTA", "RATELIMITED", "BADAUTH", "NOAUTH", "UNKNOWN", "LOCKTIMEOUT", "LOCKLOST",
		"NOSESSION", "BUSY", "NOTFOUND", "UNAVAILABLE"} {
		known[code] = true
	}
	for kind := range tally {
		for what := range maps.Keys(tally[kind]) {
			if !known[what] {
				t.Errorf("%s: loud got %s", kind, what)
			}
		}
	}
	if peak := h.peak(t); peak > floodRSS {
		t.Errorf("the server used %d MiB (allowed: %d)", peak>>20, floodRSS>>20)
	} else {
		t.Logf("the server used %d MiB at most", peak>>20)
	}

	// The resources of loud are free, and loud can use its quota up to the last session.
	var c *servertest.Conn
	var has map[string]int
	require.Eventually(t, "the connections of loud have ended", func() bool {
		if c == nil {
			c = servertest.Connect(t, h.addr)
			if _, err := c.Do("auth loud/app " + loud); err != nil {
				_ = c.Close()
				c = nil
				return false
			}
		}
		text, err := c.Do("whoami")
		has = numbers(text)
		return err == nil && has["connections"] == 1 && has["waiters"] == 0
	})
	for full := false; !full; {
		insist(t, c, "new")
		insist(t, c, "put a b")
		if err := insist(t, c, "close"); err != nil {
			if full = strings.Contains(err.Error(), "err QUOTA "); !full {
				t.Fatal(err)
			}
			insist(t, c, "abort")
		}
	}
	require.Eventually(t, "whoami is within the rate", func() bool {
		text, err := c.Do("whoami")
		has = numbers(text)
		return err == nil
	})
	if has["sessions"] != 200 || has["bytes"] > 128<<20 {
		t.Errorf("loud has %d sessions of %d bytes", has["sessions"], has["bytes"])
	}
	h.command(t, "tenant", "delete", "loud", "--drop-sessions")
	require.Eventually(t, "the sessions of loud are dropped", func() bool {
		return strings.Contains(h.log(), "dropped the sessions of a deleted tenant")
	})
	h.writeTenant(t, "loud", tenantFile("", "app "+loud))
	require.Eventually(t, "loud exists again", func() bool {
		c = servertest.Connect(t, h.addr)
		_, err := c.Do("auth loud/app " + loud)
		return err == nil
	})
	if has := numbers(c.OK("whoami")); has["sessions"] != 0 || has["bytes"] != 0 || has["connections"] != 1 {
		t.Errorf("the usage of loud is %v", has)
	}
	for _, look := range worked {
		look()
	}
}

// insist repeats a line until no rate refuses it.
func insist(t *testing.T, c *servertest.Conn, line string) (err error) {
	t.Helper()
	require.Eventually(t, line+" is within the rate", func() bool {
		_, err = c.Do(line)
		return err == nil || !strings.Contains(err.Error(), "err RATELIMITED ")
	})
	return err
}

// floodedCycle makes the requests of a web application on its session, which must contain one value, and gets another.
func floodedCycle(c *servertest.Conn, id, before, value string) error {
	if _, err := c.Do("open " + id); err != nil {
		return err
	}
	all, err := c.Do("get_all")
	if err != nil {
		return err
	}
	if before != "" && !strings.Contains(all, `"`+before+`"`) {
		return fmt.Errorf("the session does not hold the saved value, but %.60s", all)
	}
	if _, err := c.Do("put data " + value); err != nil {
		return err
	}
	_, err = c.Do("close")
	return err
}

// numbers returns the numbers in a reply to whoami.
func numbers(text string) map[string]int {
	all := map[string]int{}
	for _, field := range regexp.MustCompile(`(\w+)=(\d+)(?: |$)`).FindAllStringSubmatch(text, -1) {
		all[field[1]], _ = strconv.Atoi(field[2])
	}
	return all
}

// peak returns the most memory that the server has used, in bytes.
func (c *process) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Skipf("the system does not report the memory of a process: %v", err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kb, _ := strconv.Atoi(string(found[1]))
	return kb << 10
}
