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
type cycle struct{ Median, Mean, CPU float64 }

// BenchmarkPHPCycle times PHP's session_start … session_write_close with 2 KiB of data on this server and, beside it, with phpredis and its
// locking on redis-server, both over loopback and persistent connections, in runs that take turns. It reports the median of the runs'
// medians, the processor time of the PHP process, and the ratios of both.
//
// What a save is worth is compared as well: Redis as it comes forgets what it has acknowledged when it is killed, which is nothing that this
// server does, in any setting. "sync never" is next to that; "sync always" and "appendfsync always" survive a power failure.
func BenchmarkPHPCycle(b *testing.B) {
	for _, c := range []struct{ name, ours, theirs string }{
		{"sync=never", "sync: never", "no"},
		{"sync=always", "sync: always", "yes"},
	} {
		for _, strict := range []string{"0", "1"} {
			b.Run(c.name+"/strict="+strict, func(b *testing.B) { benchmarkCycle(b, c.ours, c.theirs, strict) })
		}
	}
}

func benchmarkCycle(b *testing.B, sync, appendOnly, strict string) {
	php := program(b, "php")
	if exec.Command(php, "-r", `exit(extension_loaded("redis") ? 0 : 1);`).Run() != nil {
		lack(b, "needs php-redis")
	}
	d := startDaemonWith(b, sync, "")
	redis := startRedis(b, "--appendonly", appendOnly, "--appendfsync", "always")
	const runs, cycles = 5, 2000
	measure := func(handler, path string) cycle {
		cmd := exec.Command(php, "-d", "display_errors=stderr", "-d", "opcache.enable_cli=1", "-d", "session.use_strict_mode="+strict, // as PHP-FPM has it
			"-d", "redis.session.locking_enabled=1", "-d", "redis.session.lock_wait_time=2000",
			"bench/cycle.php", handler, path, strconv.Itoa(cycles))
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
	var ours, theirs []cycle
	b.ResetTimer()
	for range runs {
		ours = append(ours, measure("sessionserver", "tcp://"+d.addr+"?persistent=1"))
		theirs = append(theirs, measure("redis", "tcp://"+redis+"?persistent=1"))
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op") // the time of b.N is that of PHP starting, too
	us, cpu := median(ours, func(c cycle) float64 { return c.Median }), median(ours, func(c cycle) float64 { return c.CPU })
	theirUs, theirCPU := median(theirs, func(c cycle) float64 { return c.Median }), median(theirs, func(c cycle) float64 { return c.CPU })
	b.ReportMetric(us, "µs/cycle")
	b.ReportMetric(theirUs, "phpredis-µs/cycle")
	b.ReportMetric(us/theirUs, "ratio")
	b.ReportMetric(cpu, "cpu-µs/cycle")
	b.ReportMetric(theirCPU, "phpredis-cpu-µs/cycle")
	b.ReportMetric(cpu/theirCPU, "cpu-ratio")
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
func startRedis(tb testing.TB, args ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port; redis-server does not tell which one it takes
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	c := startChild(tb, exec.Command(program(tb, "redis-server"), append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "",
	}, args...)...))
	c.await("redis-server to be ready", 1, func(line string) bool { return strings.Contains(line, "Ready to accept connections") })
	return addr
}
