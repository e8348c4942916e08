package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	rounds      int
	duration    time.Duration
	sessions    int // of cases without a number of their own
	most        int // sessions of any case, for a short test; 0 is unlimited
	connections int // idle ones, of the case idle
	settle      time.Duration
	cases       string
	binary      string // the server; it is built if this is ""
}

func main() {
	var opts options
	flag.IntVar(&opts.rounds, "rounds", 3, "rounds of each case")
	flag.DurationVar(&opts.duration, "duration", 5*time.Second, "time of each measurement")
	flag.IntVar(&opts.sessions, "sessions", 100_000, "sessions of each case that has no number of its own")
	flag.IntVar(&opts.connections, "connections", 10_000, "connections of the case idle")
	flag.DurationVar(&opts.settle, "settle", 5*time.Second, "how long a server may release memory before that of its "+
		"idle connections is measured")
	flag.StringVar(&opts.cases, "case", "main", "cases, separated by commas: main (the first four), all (but "+
		"stored-10m), "+strings.Join(names(cases), ", "))
	flag.StringVar(&opts.binary, "binary", "", "a sessionserver to measure; without it one is built from this folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, opts, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

// run measures the cases and prints a table. The progress goes to log.
func run(ctx context.Context, opts options, out, log io.Writer) error {
	chosen, err := choose(opts.cases)
	if err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errors.New("needs Linux, whose /proc has the processor time of a server")
	}
	for _, program := range []string{"redis-server", "taskset"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("needs %s: run make setup, or install Debian's redis-server and util-linux", program)
		}
	}
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if opts.binary == "" {
		opts.binary = filepath.Join(dir, "sessionserver")
		build := exec.CommandContext(ctx, "go", "build", "-o", opts.binary, "sessionserver/cmd/sessionserver")
		build.Stderr = log
		if err := build.Run(); err != nil {
			return fmt.Errorf("building the server: %w", err)
		}
	}
	cert, err := writeCertificate(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %s\n\n%s", time.Now().Format(time.DateOnly), machine(), head)
	for _, c := range chosen {
		b := bench{options: opts, dir: dir, cert: cert, log: log}
		row, err := b.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		fmt.Fprint(out, row)
	}
	return nil
}

// machine returns the kernel, the processor and the Redis version.
func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	info, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown processor"
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	version, _ := exec.Command("redis-server", "--version").Output()
	redis, _, _ := bytes.Cut(bytes.TrimPrefix(version, []byte("Redis server ")), []byte(" sha"))
	return fmt.Sprintf("Linux %s, %d processors: %s, %s, Redis %s", bytes.TrimSpace(kernel), runtime.NumCPU(), model,
		runtime.Version(), redis)
}
