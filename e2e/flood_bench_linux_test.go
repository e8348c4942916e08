package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sessionserver/auth"
	"sessionserver/e2e/flood"
)

// BenchmarkFlood measures the cycles of a tenant while another tenant floods the server: their rate, and the 50th and
// 99th percentile of their duration. Each kind of flood runs alone, and all together. In "apart" the flood hits a
// second server on the same processor, which shows what the server adds to the contention. All clients run on the other
// of two processors, where the flood has the lowest priority. SESSIONSERVER_FLOOD_TIME sets the duration of each part,
// 1 s by default.
func BenchmarkFlood(b *testing.B) {
	window := time.Second
	if text := os.Getenv("SESSIONSERVER_FLOOD_TIME"); text != "" {
		var err error
		if window, err = time.ParseDuration(text); err != nil {
			b.Fatal(err)
		}
	}
	kinds := map[string][]string{"none": nil, "all": flood.Kinds}
	names := append([]string{"none"}, flood.Kinds...)
	for _, kind := range flood.Kinds {
		kinds[kind] = []string{kind}
	}
	for _, driver := range []string{"log", "memory"} {
		for _, rates := range []string{"rates", "free"} {
			for _, name := range append(names, "all") {
				for _, where := range []string{"apart", "shared"} {
					if name == "none" && where == "apart" {
						continue
					}
					b.Run(fmt.Sprintf("%s/%s/%s/%s", driver, rates, name, where), func(b *testing.B) {
						if b.N == 1 {
							measureFlood(b, driver, rates == "rates", kinds[name], where == "apart", window)
						}
					})
				}
			}
		}
	}
}

// BenchmarkDrop measures the cycles of a tenant while the 20,000 sessions of another are dropped.
func BenchmarkDrop(b *testing.B) {
	quiet, loud := auth.NewSecret(), auth.NewSecret()
	s := floodedDeployment("log", false, quiet, loud).serve(b)
	if out, err := exec.Command(binary(), "bench", "--dsn", "tcp://app:"+loud+"@"+s.addr+"/loud", "--sessions", "20000",
		"--duration", "10ms").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	time.AfterFunc(time.Second, func() { s.command(b, "tenant", "delete", "loud", "--drop-sessions") })
	measureQuiet(b, s, quiet, 4*time.Second)
	if !strings.Contains(s.log(), "dropped the sessions of a deleted tenant") {
		b.Error("the sessions were not dropped")
	}
}

// BenchmarkExpire measures the cycles of a tenant while thousands of sessions of another expire each second.
func BenchmarkExpire(b *testing.B) {
	quiet, loud := auth.NewSecret(), auth.NewSecret()
	h := floodedDeployment("log", false, quiet, loud)
	h.tenants["loud"] = tenantFile("session: {lifetime: 1s}", "app "+loud)
	s := h.serve(b)
	run := (&flood.Flood{Addr: s.addr, From: "127.0.0.2", App: "loud/app", Secret: loud,
		Kinds: []string{"session_creation"}}).Start(b)
	time.Sleep(2 * time.Second)
	measureQuiet(b, s, quiet, 4*time.Second)
	b.Logf("the flood got %v", run.Stop(b))
}

// measureFlood measures the cycles of a tenant during a flood.
func measureFlood(b *testing.B, driver string, rates bool, kinds []string, apart bool, window time.Duration) {
	quiet, loud := auth.NewSecret(), auth.NewSecret()
	h := floodedDeployment(driver, rates, quiet, loud)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pin(b, 0)
	s := h.serve(b)
	if len(kinds) > 0 {
		f := &flood.Flood{Addr: s.addr, From: "127.0.0.2", App: "loud/app", Secret: loud, Kinds: kinds}
		if apart {
			f.Addr = h.serve(b).addr
		}
		pin(b, 1)
		run := f.Start(b)
		defer func() { b.Logf("the flood got %v", run.Stop(b)) }()
		time.Sleep(window / 2)
	}
	pin(b, 1)
	measureQuiet(b, s, quiet, window)
}

// measureQuiet runs cycles of the tenant quiet and reports their rate and durations.
func measureQuiet(b *testing.B, s *instance, quiet string, window time.Duration) {
	cmd := exec.Command(binary(), "bench", "--dsn", "tcp://app:"+quiet+"@"+s.addr+"/quiet", "--connections", "8",
		"--sessions", "8", "--duration", window.String())
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	found := regexp.MustCompile(`: (\d+) cycles/s\np50 (\S+)  p99 (\S+)  p999 \S+  max (\S+)`).FindStringSubmatch(
		string(out))
	if found == nil {
		b.Fatalf("unknown output of bench: %s", out)
	}
	cycles, _ := strconv.ParseFloat(found[1], 64)
	b.ReportMetric(cycles, "cycles/s")
	for i, name := range []string{"p50-ms", "p99-ms", "max-ms"} {
		d, err := time.ParseDuration(found[i+2])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(d.Microseconds())/1000, name)
	}
	b.ReportMetric(0, "ns/op") // has no meaning here
}

// floodedDeployment is a server as in docs/hosting.md, with the tenants quiet and loud. Quiet has no rates, so that its
// share can be measured. Without rates neither loud nor unauthenticated clients have any.
func floodedDeployment(driver string, rates bool, quiet, loud string) deployment {
	h := deployment{
		storage:  "{driver: memory}",
		settings: "quotas: {sessions: 20000, bytes: 1GiB, connections: 1000, waiters: 500, memory: 256MiB}\n",
		tenants:  map[string]string{"quiet": tenantFile("", "app "+quiet)},
	}
	if driver != "memory" {
		h.storage = "{driver: " + driver + ", path: DIR/sessions}"
	}
	settings := ""
	if rates {
		settings = "rates: {tenant: {per_second: 20000, burst: 40000}, app: {per_second: 10000, burst: 20000}, " +
			"session_creation: {per_second: 200, burst: 2000}}\n"
	} else {
		h.settings += "rates: {unauthenticated: {per_second: 0, burst: 0}, auth_failures: {per_second: 0, burst: 0}}\n"
	}
	h.tenants["loud"] = tenantFile(strings.TrimSpace(settings), "app "+loud)
	return h
}

// pin makes this thread, and the processes that it starts, run on one processor.
func pin(b *testing.B, cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		b.Fatal(err)
	}
}
