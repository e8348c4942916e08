package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// bench runs the cases.
type bench struct {
	options
	dir  string
	cert certificate
	log  io.Writer
}

// measure runs the rounds of a case and returns its row.
func (b *bench) measure(ctx context.Context, c trial) (string, error) {
	sides := [2]setup{c.ours, c.other}
	var all [2][]figures
	for round := range b.rounds {
		for i := range sides {
			side := (i + round) % 2
			f, err := b.once(ctx, c, sides[side])
			if err != nil {
				return "", fmt.Errorf("%s: %w", sides[side].name, err)
			}
			fmt.Fprintf(b.log, "%s, round %d, %s: %v\n", c.name, round+1, sides[side].name, f)
			all[side] = append(all[side], f)
		}
	}
	return row(c, all[0], all[1]), nil
}

// once measures one server.
func (b *bench) once(ctx context.Context, c trial, set setup) (figures, error) {
	s, err := b.newServer(ctx, c, set)
	if err != nil {
		return figures{}, err
	}
	defer os.RemoveAll(s.folder)
	if err := s.start(ctx); err != nil {
		return figures{}, err
	}
	defer s.stop()
	if c.idle {
		return b.idle(s)
	}
	f, err := b.cycles(ctx, c, set, s)
	if err != nil || !c.stored {
		return f, err
	}
	rss, err := s.memory()
	if err != nil {
		return f, err
	}
	f.memory = rss / (1 << 20)
	s.stop()
	begin := time.Now()
	err = s.start(ctx)
	f.restart = time.Since(begin)
	return f, err
}

// cycles runs `sessionserver bench` on the last processor.
func (b *bench) cycles(ctx context.Context, c trial, set setup, s *server) (figures, error) {
	args := append(c.arguments(b.options), "--server-pid", strconv.Itoa(s.cmd.Process.Pid))
	if set.redis {
		args = append(args, "--proto", "redis")
	}
	cmd := pinned(ctx, lastCPU(), append([]string{b.binary}, args...)...)
	cmd.Env = append(cmd.Env, "SESSIONSERVER_DSN="+s.dsn)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		return figures{}, fmt.Errorf("sessionserver bench: %w\n%s", err, log.Bytes())
	}
	return parse(string(out))
}

var (
	ofCycles   = regexp.MustCompile(`(?m), 0 failed: (\d+) cycles/s$`)
	ofOpen     = regexp.MustCompile(`(?m)^open: p50 \S+  p99 (\S+) `)
	ofHandover = regexp.MustCompile(`(?m)^release to the next open: p50 \S+  p99 (\S+) `)
	ofServer   = regexp.MustCompile(`(?m)^server: (\S+) µs of processor time a cycle, (\S+) processors$`)
)

// parse reads the output of `sessionserver bench`.
func parse(out string) (figures, error) {
	cycles, open, server := ofCycles.FindStringSubmatch(out), ofOpen.FindStringSubmatch(out),
		ofServer.FindStringSubmatch(out)
	if cycles == nil || open == nil || server == nil {
		return figures{}, fmt.Errorf("unknown output of sessionserver bench: %s", out)
	}
	var f figures
	var err [5]error
	f.perSecond, err[0] = strconv.ParseFloat(cycles[1], 64)
	f.open, err[1] = time.ParseDuration(open[1])
	f.cpu, err[2] = time.ParseDuration(server[1] + "µs")
	f.used, err[3] = strconv.ParseFloat(server[2], 64)
	if handover := ofHandover.FindStringSubmatch(out); handover != nil {
		f.handover, err[4] = time.ParseDuration(handover[1])
	}
	return f, errors.Join(err[:]...)
}

// idle measures the memory that a connection takes once it has been used and is idle.
func (b *bench) idle(s *server) (figures, error) {
	before, err := s.memory()
	if err != nil {
		return figures{}, err
	}
	conns := make([]net.Conn, b.connections)
	defer func() {
		for _, nc := range conns {
			if nc != nil {
				nc.Close()
			}
		}
	}()
	const workers = 16
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(conns) && errs[w] == nil; i += workers {
				conns[i], errs[w] = s.connect()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return figures{}, fmt.Errorf("%w (%d connections need as many files here and in the server: see ulimit -n)",
			err, len(conns))
	}
	time.Sleep(b.settle)
	after, err := s.memory()
	return figures{idle: (after - before) / 1024 / float64(len(conns))}, err
}
