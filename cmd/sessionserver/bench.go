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

const benchDSN = "tcp://127.0.0.1:9090"

type benchCmd struct {
	DSN         string        `name:"dsn" env:"SESSIONSERVER_DSN" placeholder:"DSN" help:"The server (default tcp://127.0.0.1:9090, or what the variable: other users of this machine can see arguments)."`
	Connections int           `default:"64" placeholder:"N" help:"Clients at the same time, each on a connection of its own (default ${default})."`
	Sessions    int           `default:"1000" placeholder:"N" help:"Sessions to choose from at random; 1 measures waiting for each other (default ${default})."`
	Size        configs.Size  `default:"2KiB" placeholder:"SIZE" help:"Bytes written in each cycle (default ${default})."`
	Duration    time.Duration `default:"10s" placeholder:"TIME" help:"How long (default ${default})."`
}

// Validate checks the flags. Kong calls it.
func (b *benchCmd) Validate() error {
	if b.Connections < 1 || b.Sessions < 1 || b.Size < 1 || b.Duration <= 0 {
		return errors.New("connections, sessions, size and duration must be more than 0")
	}
	return nil
}

// Run creates the sessions. Until the time is up, each connection then opens a session, reads all of it, writes one
// value and closes it: two round trips a cycle. The sessions expire by themselves.
func (b *benchCmd) Run(ctx context.Context, io streams) error {
	dsn, err := fromFile(cmp.Or(b.DSN, benchDSN)) // the variable may be empty
	if err != nil {
		return err
	}
	c, err := client.Dial(ctx, dsn, client.Options{MaxOpen: b.Connections, MaxIdle: b.Connections, RateWait: -1})
	if err != nil {
		return err
	}
	defer c.Close()
	ids, err := b.prepare(ctx, c, io.err)
	if err != nil {
		return fmt.Errorf("sessionserver bench: making the sessions: %w%s", err, advice(err))
	}
	var m measure
	start := time.Now()
	running, stop := context.WithTimeout(ctx, b.Duration)
	defer stop()
	var progress, workers sync.WaitGroup
	progress.Go(func() {
		everySecond(running, io.err, m.done.Load, func(_, more int64) string {
			return fmt.Sprintf("%8d cycles/s", more)
		})
	})
	for range b.Connections {
		workers.Go(func() { m.add(b.cycles(running, c, ids, &m.done)) })
	}
	workers.Wait()
	took := time.Since(start)
	stop()
	progress.Wait()
	return m.report(io.out, took)
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
func (b *benchCmd) prepare(ctx context.Context, c *client.Client, out io.Writer) ([]string, error) {
	ids := make([]string, b.Sessions)
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
	for range b.Connections {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < b.Sessions && failed.Load() == nil; i = next.Add(1) - 1 {
				s, err := c.New(ctx, b.Duration+10*time.Minute)
				if err == nil {
					ids[i] = s.ID()
					if err = s.Put(ctx, "data", value); err == nil {
						err = s.Close(ctx)
					}
				}
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
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
	latencies *hdrhistogram.Histogram // microseconds
	failures  int
	failure   error // the first
}

// cycles runs cycles until ctx ends. A cycle that is interrupted by the end does not count.
func (b *benchCmd) cycles(ctx context.Context, c *client.Client, ids []string, done *atomic.Int64) worked {
	w := worked{latencies: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
	value := []byte(b.value())
	for n := 0; ctx.Err() == nil; n++ {
		copy(value, fmt.Sprintf("%016x", n))
		start := time.Now()
		err := b.cycle(ctx, c, ids[rand.IntN(len(ids))], string(value))
		switch {
		case err == nil:
			_ = w.latencies.RecordValue(max(time.Since(start).Microseconds(), 1)) // no cycle takes an hour
			done.Add(1)
		case ctx.Err() == nil:
			w.failures++
			if w.failure == nil {
				w.failure = err
			}
		}
	}
	return w
}

func (b *benchCmd) cycle(ctx context.Context, c *client.Client, id, value string) error {
	s, values, err := c.Load(ctx, id, client.OpenOptions{})
	if err != nil {
		return err
	}
	if got := len(values.Get("data")); got != len(value) {
		s.Abort(ctx)
		return fmt.Errorf("the session holds %d bytes instead of %d", got, len(value))
	}
	values.Set("data", value)
	return s.Save(ctx, values)
}

// measure holds the measurements of all workers.
type measure struct {
	done atomic.Int64

	mu  sync.Mutex
	all worked
}

func (m *measure) add(w worked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all.latencies == nil {
		m.all = w
		return
	}
	m.all.latencies.Merge(w.latencies)
	m.all.failures += w.failures
	if m.all.failure == nil {
		m.all.failure = w.failure
	}
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

func (m *measure) report(out io.Writer, took time.Duration) error {
	h := m.all.latencies
	n := h.TotalCount()
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	fmt.Fprintf(out, "%d cycles in %.1f s, %d failed: %.0f cycles/s\n", n, took.Seconds(), m.all.failures,
		float64(n)/took.Seconds())
	fmt.Fprintf(out, "p50 %v  p99 %v  p999 %v  max %v\n", at(50), at(99), at(99.9),
		time.Duration(h.Max())*time.Microsecond)
	if m.all.failure != nil {
		return fmt.Errorf("sessionserver bench: cycles failed, the first with: %w%s", m.all.failure,
			advice(m.all.failure))
	}
	if n == 0 {
		return errors.New("sessionserver bench: no cycle was finished in this time")
	}
	return nil
}
