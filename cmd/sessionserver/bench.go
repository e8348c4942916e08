package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sessionserver/client"
	"sessionserver/configs"
)

const benchKey = "data" // of the value in each session

type benchCmd struct {
	DSN         string        `name:"dsn" env:"SESSIONSERVER_DSN" placeholder:"DSN" help:"The server (default tcp://127.0.0.1:9090, or what the variable: other users of this machine can see arguments)."`
	Proto       string        `enum:"sessionserver,redis" default:"sessionserver" help:"sessionserver, or redis: the same cycle as the session handler of phpredis, against a Redis server at a DSN such as rediss://127.0.0.1:6380?cafile=FILE (default ${default})."`
	Connections int           `default:"64" placeholder:"N" help:"Clients at the same time, each on a connection of its own (default ${default})."`
	Sessions    int           `default:"1000" placeholder:"N" help:"Sessions to choose from at random; 1 measures waiting for each other (default ${default})."`
	Size        configs.Size  `default:"2KiB" placeholder:"SIZE" help:"Bytes written in each cycle (default ${default})."`
	Duration    time.Duration `default:"10s" placeholder:"TIME" help:"How long (default ${default})."`
	Work        time.Duration `placeholder:"TIME" help:"How long each client keeps a session locked between reading and writing."`
	Pause       time.Duration `placeholder:"TIME" help:"How long each client waits between cycles."`
	Fresh       bool          `help:"Make a new connection for each cycle."`
	LockPoll    time.Duration `default:"20ms" placeholder:"TIME" help:"With --proto redis, how often a client tries to take a lock (default ${default})."`
	ServerPID   int           `name:"server-pid" placeholder:"PID" help:"Print the processor time of this process per cycle too: the server's, on this machine, with Linux."`
}

// Validate checks the flags. Kong calls it.
func (b *benchCmd) Validate() error {
	if b.Connections < 1 || b.Sessions < 1 || b.Size < 1 || b.Duration <= 0 || b.LockPoll <= 0 {
		return errors.New("connections, sessions, size, duration and lock-poll must be more than 0")
	}
	return nil
}

// Run creates the sessions. Until the time is up, each connection then opens a session, reads all of it, writes one
// value and closes it. The sessions expire by themselves.
func (b *benchCmd) Run(ctx context.Context, io streams) error {
	dial, err := b.dialer()
	if err != nil {
		return err
	}
	cyclers := make([]cycler, b.Connections)
	for i := range cyclers {
		if cyclers[i], err = dial(ctx); err != nil {
			return fmt.Errorf("sessionserver bench: connecting: %w%s", err, advice(err))
		}
		defer func() { cyclers[i].close() }()
	}
	ids, err := b.prepare(ctx, cyclers, io.err)
	if err != nil {
		return fmt.Errorf("sessionserver bench: making the sessions: %w%s", err, advice(err))
	}
	m := measure{alone: len(ids) == 1, watched: b.ServerPID != 0}
	start := time.Now()
	cpu, err := b.serverCPU()
	if err != nil {
		return fmt.Errorf("sessionserver bench: %w", err)
	}
	running, stop := context.WithTimeout(ctx, b.Duration)
	defer stop()
	var progress, workers sync.WaitGroup
	progress.Go(func() {
		everySecond(running, io.err, m.done.Load, func(_, more int64) string {
			return fmt.Sprintf("%8d cycles/s", more)
		})
	})
	for i := range cyclers {
		workers.Go(func() { m.add(b.cycles(running, &cyclers[i], dial, ids, &m)) })
	}
	workers.Wait()
	m.took = time.Since(start)
	after, err := b.serverCPU()
	m.cpu = after - cpu
	stop()
	progress.Wait()
	return errors.Join(m.report(io.out), err)
}

// dialer returns a function that connects.
func (b *benchCmd) dialer() (func(context.Context) (cycler, error), error) {
	standard := "tcp://127.0.0.1:9090"
	if b.Proto == "redis" {
		standard = "redis://127.0.0.1:6379"
	}
	dsn, err := fromFile(cmp.Or(b.DSN, standard)) // the variable may be empty
	return func(ctx context.Context) (cycler, error) {
		if b.Proto == "redis" {
			return dialRedis(ctx, dsn, b.LockPoll)
		}
		return dialNative(ctx, dsn)
	}, err
}

// serverCPU returns the processor time of the server until now, or 0 if that was not requested.
func (b *benchCmd) serverCPU() (time.Duration, error) {
	if b.ServerPID == 0 {
		return 0, nil
	}
	return cpuTime(b.ServerPID)
}

// advice returns what to do about a refusal.
func advice(err error) string {
	switch {
	case errors.Is(err, client.ErrRateLimited):
		return "\nraise rates in the tenant's file, session_creation above all, or take fewer --sessions or " +
			"--connections"
	case errors.Is(err, client.ErrDenied):
		return "\ngive the DSN of an app that may make sessions, and read and write the key data"
	case errors.Is(err, client.ErrQuota):
		return "\nraise quotas in the tenant's file, or take fewer --sessions or a smaller --size"
	}
	return ""
}

// prepare creates the sessions, each with its value.
func (b *benchCmd) prepare(ctx context.Context, cyclers []cycler, out io.Writer) ([]string, error) {
	ids := make([]string, b.Sessions)
	lifetime := b.Duration + 10*time.Minute + time.Duration(b.Sessions)*time.Millisecond
	value := b.value()
	var next, made atomic.Int64
	var workers, progress sync.WaitGroup
	var failed atomic.Pointer[error]
	running, stop := context.WithCancel(ctx)
	progress.Go(func() {
		everySecond(running, out, made.Load, func(all, _ int64) string {
			return fmt.Sprintf("%8d of %d sessions made", all, b.Sessions)
		})
	})
	for _, c := range cyclers {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < b.Sessions && failed.Load() == nil; i = next.Add(1) - 1 {
				id, err := c.create(ctx, lifetime, value)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				ids[i] = id
				made.Add(1)
			}
		})
	}
	workers.Wait()
	stop()
	progress.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return ids, nil
}

// value returns a new value of the requested size.
func (b *benchCmd) value() string {
	mark := fmt.Sprintf("%016x", rand.Uint64())
	return strings.Repeat(mark, int(b.Size)/len(mark)+1)[:b.Size]
}

// worked holds the measurements of one worker.
type worked struct {
	cycles    *hdrhistogram.Histogram // microseconds; of the whole cycle,
	opens     *hdrhistogram.Histogram // from its beginning to the value,
	handovers *hdrhistogram.Histogram // and from the beginning of another client's release to the value
	failures  int
	failure   error // the first
}

func newWorked() worked {
	h := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Hour.Microseconds(), 3) }
	return worked{cycles: h(), opens: h(), handovers: h()}
}

// record adds a duration; no cycle takes an hour.
func record(h *hdrhistogram.Histogram, d time.Duration) { _ = h.RecordValue(max(d.Microseconds(), 1)) }

// cycles runs cycles until ctx ends. A cycle that is interrupted by the end does not count.
func (b *benchCmd) cycles(
	ctx context.Context, c *cycler, dial func(context.Context) (cycler, error), ids []string, m *measure,
) worked {
	w := newWorked()
	value := []byte(b.value())
	for n := 0; ctx.Err() == nil; n++ {
		copy(value, fmt.Sprintf("%016x", n))
		start := time.Now()
		var err error
		if b.Fresh {
			(*c).close()
			var fresh cycler
			if fresh, err = dial(ctx); err == nil {
				*c = fresh
			}
		}
		if err == nil {
			err = b.cycle(ctx, *c, ids[rand.IntN(len(ids))], string(value), start, &w, m)
		}
		switch {
		case err == nil:
			record(w.cycles, time.Since(start))
			m.done.Add(1)
		case ctx.Err() == nil:
			w.failures++
			if w.failure == nil {
				w.failure = err
			}
		}
		if b.Pause > 0 {
			time.Sleep(b.Pause)
		}
	}
	return w
}

func (b *benchCmd) cycle(
	ctx context.Context, c cycler, id, value string, start time.Time, w *worked, m *measure,
) error {
	got, err := c.lock(ctx, id)
	if err != nil {
		return err
	}
	record(w.opens, time.Since(start))
	if released := m.released.Load(); m.alone && released != nil && released.After(start) {
		record(w.handovers, time.Since(*released))
	}
	if len(got) != len(value) {
		err = fmt.Errorf("the session holds %d bytes instead of %d", len(got), len(value))
		value = got
	}
	if b.Work > 0 {
		time.Sleep(b.Work)
	}
	if m.alone {
		now := time.Now()
		m.released.Store(&now)
	}
	return cmp.Or(c.release(ctx, value), err)
}

// measure holds the measurements of all workers.
type measure struct {
	alone    bool                      // all clients use one session
	done     atomic.Int64              // cycles
	released atomic.Pointer[time.Time] // beginning of the last release, of the one session
	took     time.Duration
	watched  bool          // cpu is known
	cpu      time.Duration // of the server

	mu  sync.Mutex
	all worked
}

func (m *measure) add(w worked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all.cycles == nil {
		m.all = newWorked()
	}
	m.all.cycles.Merge(w.cycles)
	m.all.opens.Merge(w.opens)
	m.all.handovers.Merge(w.handovers)
	m.all.failures += w.failures
	m.all.failure = cmp.Or(m.all.failure, w.failure)
}

// everySecond prints the progress until ctx ends: a count, and its increase in the last second.
func everySecond(ctx context.Context, out io.Writer, count func() int64, text func(all, more int64) string) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for last, second := int64(0), 1; ; second++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := count()
			fmt.Fprintf(out, "%4d s  %s\n", second, text(now, now-last))
			last = now
		}
	}
}

func (m *measure) report(out io.Writer) error {
	h := m.all.cycles
	n := h.TotalCount()
	fmt.Fprintf(out, "%d cycles in %.1f s, %d failed: %.0f cycles/s\n", n, m.took.Seconds(), m.all.failures,
		float64(n)/m.took.Seconds())
	fmt.Fprintln(out, quantiles(h))
	fmt.Fprintln(out, "open:", quantiles(m.all.opens))
	if m.all.handovers.TotalCount() > 0 {
		fmt.Fprintln(out, "release to the next open:", quantiles(m.all.handovers))
	}
	if m.watched && n > 0 {
		fmt.Fprintf(out, "server: %.1f µs of processor time a cycle, %.2f processors\n",
			float64(m.cpu.Microseconds())/float64(n), m.cpu.Seconds()/m.took.Seconds())
	}
	if m.all.failure != nil {
		return fmt.Errorf("sessionserver bench: cycles failed, the first with: %w%s", m.all.failure,
			advice(m.all.failure))
	}
	if n == 0 {
		return errors.New("sessionserver bench: no cycle was finished in this time")
	}
	return nil
}

func quantiles(h *hdrhistogram.Histogram) string {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	return fmt.Sprintf("p50 %v  p99 %v  p999 %v  max %v", at(50), at(99), at(99.9),
		time.Duration(h.Max())*time.Microsecond)
}
