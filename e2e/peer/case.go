package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setup is a configuration of one of the servers.
type setup struct {
	name  string
	redis bool
	sync  string // always, interval or memory; for Redis: appendfsync always, everysec, or no AOF
	audit bool
	bare  bool // without credentials, rates, admin listener and metrics of tenants
}

var (
	logInterval = setup{name: "log, interval", sync: "interval"}
	aofEverysec = setup{name: "AOF everysec", redis: true, sync: "interval"}
	logAlways   = setup{name: "log, always", sync: "always"}
	aofAlways   = setup{name: "AOF always", redis: true, sync: "always"}
	inMemory    = setup{name: "memory", sync: "memory"}
	noAOF       = setup{name: "no AOF", redis: true, sync: "memory"}
	audited     = setup{name: "log, interval, audit", sync: "interval", audit: true}
	ungated     = setup{name: "log, interval, gates off", sync: "interval", bare: true}
)

// trial is a case: two setups that are compared, the load, and what else is measured.
type trial struct {
	name      string
	ours      setup
	other     setup
	plaintext bool
	sessions  int      // 0 is that of the flags
	load      []string // flags of `sessionserver bench`
	idle      bool     // measure the memory of idle connections, in place of cycles
	stored    bool     // measure memory and restart with the sessions stored too
}

// stored is the load with many sessions stored. Eight connections do not saturate a server, so that the latency is
// that of the server and not of the queue.
var stored = []string{"--size", "512", "--connections", "8"}

// contended is the load of clients that use one session, each of which works with it for 2 ms and returns after 3 ms.
// With Redis they try to take the lock at intervals.
func contended(clients, poll string) []string {
	return []string{"--connections", clients, "--work", "2ms", "--pause", "3ms", "--lock-poll", poll}
}

var cases = []trial{
	{name: "interval", ours: logInterval, other: aofEverysec},
	{name: "audit", ours: audited, other: aofEverysec},
	{name: "always", ours: logAlways, other: aofAlways},
	{name: "memory", ours: inMemory, other: noAOF},
	{name: "plaintext", ours: logInterval, other: aofEverysec, plaintext: true},
	{name: "contended-20ms", ours: logInterval, other: aofEverysec, sessions: 1, load: contended("32", "20ms")},
	{name: "contended-2ms", ours: logInterval, other: aofEverysec, sessions: 1, load: contended("32", "2ms")},
	{name: "pair-20ms", ours: logInterval, other: aofEverysec, sessions: 1, load: contended("2", "20ms")},
	{name: "pair-2ms", ours: logInterval, other: aofEverysec, sessions: 1, load: contended("2", "2ms")},
	{name: "idle", ours: inMemory, other: noAOF, idle: true},
	{name: "gates", ours: logInterval, other: ungated},
	{name: "1mib", ours: logInterval, other: aofEverysec, sessions: 200,
		load: []string{"--size", "1MiB", "--connections", "8"}},
	{name: "fresh", ours: logInterval, other: aofEverysec, sessions: 10_000,
		load: []string{"--fresh", "--connections", "16"}},
	{name: "stored-10k", ours: logInterval, other: aofEverysec, sessions: 10_000, load: stored, stored: true},
	{name: "stored-1m", ours: logInterval, other: aofEverysec, sessions: 1_000_000, load: stored, stored: true},
	{name: "stored-10m", ours: logInterval, other: aofEverysec, sessions: 10_000_000, load: stored, stored: true},
}

const mainCases = 4

func names(of []trial) []string {
	list := make([]string, len(of))
	for i, c := range of {
		list[i] = c.name
	}
	return list
}

// choose returns the cases that a flag names.
func choose(list string) ([]trial, error) {
	switch list {
	case "main":
		return cases[:mainCases], nil
	case "all":
		return cases[:len(cases)-1], nil
	}
	var chosen []trial
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(names(cases), name)
		if i < 0 {
			return nil, fmt.Errorf("unknown case %q (allowed: main, all, %s)", name, strings.Join(names(cases), ", "))
		}
		chosen = append(chosen, cases[i])
	}
	return chosen, nil
}

// arguments returns the flags of `sessionserver bench`.
func (c trial) arguments(opts options) []string {
	n := opts.sessions
	if c.sessions > 0 {
		n = c.sessions
	}
	if opts.most > 0 {
		n = min(n, opts.most)
	}
	return append([]string{"bench", "--duration", opts.duration.String(), "--sessions", strconv.Itoa(n)}, c.load...)
}

// figures are the results of one measurement. A figure that was not measured is 0.
type figures struct {
	perSecond float64       // cycles
	cpu       time.Duration // of the server, a cycle
	used      float64       // processors that the server used
	open      time.Duration // p99 from the beginning of a cycle to the value
	handover  time.Duration // p99 from a release to the value at the next client

	idle    float64       // KiB of memory that an idle connection takes
	memory  float64       // MiB of the server with the sessions stored
	restart time.Duration // from the start to the first reply, with the sessions stored
}

func (f figures) String() string {
	return fmt.Sprintf("%.0f cycles/s, %v CPU a cycle, %.2f processors; p99 of open %v, of a release to the next open "+
		"%v; %.1f KiB an idle connection; RSS %.0f MiB, restart %v", f.perSecond, f.cpu, f.used, f.open, f.handover,
		f.idle, f.memory, f.restart)
}
