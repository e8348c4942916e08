package php_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cycle is what bench/cycle.php measures, in microseconds.
type cycle struct{ Median, CPU float64 }

// BenchmarkPHPCycle times PHP's session_start … session_write_close with 2 KiB of data on this server and, beside it, with phpredis and its
// locking on redis-server, both over loopback and persistent connections, in runs that take turns. It reports the medians of the runs'
// median times and of the processor time of the PHP process, and the medians of what each pair of runs says of both.
//
// What a save is worth is compared as well: Redis as it comes forgets what it has acknowledged when it is killed, which this server does
// in no setting. "sync=never" is next to that; "sync=always" survives a power failure on both sides; "defaults" is each server as it comes,
// where this one waits for the disk and the other one does not.
//
// SaveHandler turns session.use_strict_mode on whatever php.ini says. strict=0 spares phpredis alone a round trip.
//
// Most of a cycle is the time that the kernel takes to wake one process when the other has written to it. On a machine with several processors
// that depends on what else runs there, and differs from run to run by a factor of four. On one processor (cpus=1) it does not, which leaves
// the cost of the work itself.
func BenchmarkPHPCycle(b *testing.B) {
	for _, c := range []cycleOptions{
		{name: "sync=never/strict=0", sync: "never", appendOnly: "no", strict: "0"},
		{name: "sync=never/strict=1", sync: "never", appendOnly: "no", strict: "1"},
		{name: "sync=always/strict=1", sync: "always", appendOnly: "yes", strict: "1"},
		{name: "defaults", sync: "always", appendOnly: "no", strict: "0"},
		{name: "sync=never/strict=0/cpus=1", sync: "never", appendOnly: "no", strict: "0", pinned: true},
		{name: "sync=never/strict=1/cpus=1", sync: "never", appendOnly: "no", strict: "1", pinned: true},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkCycle(b, c) })
	}
}

type cycleOptions struct {
	name             string
	sync, appendOnly string // what this server and redis-server do for a save to survive a power failure
	strict           string // session.use_strict_mode of phpredis
	pinned           bool   // all on one processor
}

func benchmarkCycle(b *testing.B, opts cycleOptions) {
	php := program(b, "php")
	if exec.Command(php, "-r", `exit(extension_loaded("redis") ? 0 : 1);`).Run() != nil {
		lack(b, "needs php-redis")
	}
	var runner []string
	if opts.pinned {
		runner = []string{program(b, "taskset"), "-c", someCPU(b)}
	}
	d := startDaemonWith(b, "sync: "+opts.sync, runner, "")
	redis := startRedis(b, runner, "--appendonly", opts.appendOnly, "--appendfsync", "always")

	const runs, cycles = 11, 500
	measure := func(handler, addr string) cycle {
		cmd := command(runner, php, "-d", "display_errors=stderr", "-d", "session.use_strict_mode="+opts.strict,
			"-d", "opcache.enable_cli=1", // as PHP-FPM has it
			"-d", "redis.session.locking_enabled=1",
			"bench/cycle.php", handler, "tcp://"+addr+"?persistent=1", strconv.Itoa(cycles))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("%v: %v\n%s", cmd, err, out)
		}
		var c cycle
		if err := json.Unmarshal(out, &c); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return c
	}
	var ours, theirs, ratios []cycle
	for range runs {
		o, t := measure("sessionserver", d.addr), measure("redis", redis)
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, cycle{o.Median / t.Median, o.CPU / t.CPU})
	}
	b.ReportMetric(0, "ns/op") // b.N says nothing here
	for name, all := range map[string][]cycle{"": ours, "phpredis-": theirs} {
		b.ReportMetric(median(all, func(c cycle) float64 { return c.Median }), name+"µs")
		b.ReportMetric(median(all, func(c cycle) float64 { return c.CPU }), name+"cpu-µs")
	}
	b.ReportMetric(median(ratios, func(c cycle) float64 { return c.Median }), "×phpredis")
	b.ReportMetric(median(ratios, func(c cycle) float64 { return c.CPU }), "×phpredis-cpu")
}

// someCPU is the number of a processor that this process may use.
func someCPU(tb testing.TB) string {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("needs Linux")
	}
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	return strings.TrimSpace(list[:strings.IndexAny(list, "-,\n")])
}

func median(of []cycle, what func(cycle) float64) float64 {
	all := make([]float64, len(of))
	for i, c := range of {
		all[i] = what(c)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// startRedis starts a redis-server on a free port and answers where it listens.
func startRedis(tb testing.TB, runner []string, args ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port; redis-server does not tell which one it takes
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	c := startChild(tb, command(runner, append([]string{
		program(tb, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "",
	}, args...)...))
	c.await("redis-server to be ready", 1, func(line string) bool { return strings.Contains(line, "Ready to accept connections") })
	return addr
}
