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

// cycle is the result of bench/cycle.php, in microseconds.
type cycle struct{ Median, CPU float64 }

// BenchmarkPHPCycle measures PHP's session_start … session_write_close with 2 KiB of data on this server and on
// redis-server with phpredis and its locking. Both use persistent connections over loopback, in alternating runs. It
// reports the medians of the runs' median times and of the processor time of the PHP process, and the medians of the
// ratios of each pair of runs.
//
// The cases differ in durability: Redis with its defaults loses acknowledged saves when it is killed, which no setting
// of this server does. The case "sync=never" is closest to that. With "sync=always" both survive a power failure. The
// case "defaults" has the default settings of both, so that only this server waits for the disk.
//
// SaveHandler always turns session.use_strict_mode on. Only phpredis saves a round trip with strict=0.
//
// Most of a cycle is the time that the kernel takes to wake a process when the other one has written to it. On several
// processors that time depends on the load and varies between runs by a factor of four. On one processor (cpus=1) it
// does not, so that the cost of the work itself remains.
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
	sync, appendOnly string // the settings for durability of this server and redis-server
	strict           string // session.use_strict_mode of phpredis
	pinned           bool   // whether all processes run on one processor
}

func benchmarkCycle(b *testing.B, opts cycleOptions) {
	php := program(b, "php")
	if exec.Command(php, "-r", `exit(extension_loaded("redis") ? 0 : 1);`).Run() != nil {
		skip(b, "requires php-redis")
	}
	var runner []string
	if opts.pinned {
		runner = []string{program(b, "taskset"), "-c", availableCPU(b)}
	}
	d := startDaemonWith(b, "sync: "+opts.sync, runner, "")
	redis := startRedis(b, runner, "--appendonly", opts.appendOnly, "--appendfsync", "always")

	const runs, cycles = 11, 500
	measure := func(handler, addr string) cycle {
		cmd := command(runner, php, "-d", "display_errors=stderr", "-d", "session.use_strict_mode="+opts.strict,
			"-d", "opcache.enable_cli=1", // like PHP-FPM
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
	var own, phpredis, ratios []cycle
	for range runs {
		o, r := measure("sessionserver", d.addr), measure("redis", redis)
		own, phpredis = append(own, o), append(phpredis, r)
		ratios = append(ratios, cycle{o.Median / r.Median, o.CPU / r.CPU})
	}
	b.ReportMetric(0, "ns/op") // b.N does not apply
	for name, all := range map[string][]cycle{"": own, "phpredis-": phpredis} {
		b.ReportMetric(median(all, func(c cycle) float64 { return c.Median }), name+"µs")
		b.ReportMetric(median(all, func(c cycle) float64 { return c.CPU }), name+"cpu-µs")
	}
	b.ReportMetric(median(ratios, func(c cycle) float64 { return c.Median }), "×phpredis")
	b.ReportMetric(median(ratios, func(c cycle) float64 { return c.CPU }), "×phpredis-cpu")
}

// availableCPU returns the number of a processor that this process may use.
func availableCPU(tb testing.TB) string {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip("requires Linux")
	}
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	return strings.TrimSpace(list[:strings.IndexAny(list, "-,\n")])
}

func median(cycles []cycle, field func(cycle) float64) float64 {
	all := make([]float64, len(cycles))
	for i, c := range cycles {
		all[i] = field(c)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// startRedis starts a redis-server on a free port and returns its address.
func startRedis(tb testing.TB, runner []string, args ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // redis-server does not report the port that it gets from the system
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	c := startChild(tb, command(runner, append([]string{
		program(tb, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "",
	}, args...)...))
	c.await("redis-server to be ready", 1, func(line string) bool {
		return strings.Contains(line, "Ready to accept connections")
	})
	return addr
}
