package app

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	logWaiting = 1 << 20         // bytes of lines that wait for a slow reader of the log; further lines are lost
	logRetry   = time.Second     // between attempts to report lost lines
	logFlush   = 2 * time.Second // for the lines that wait when the process ends
)

// LogSink writes the lines of the log from a goroutine of its own. A reader of the log that is gone, stopped or out of
// space costs lines, which are counted and, once lines can be written again, reported. It never delays or ends the
// server.
type LogSink struct {
	to   io.Writer
	form func(io.Writer) slog.Handler // of the report of lost lines
	lost atomic.Int64                 // lines, since the start

	wake  chan struct{} // holds one token
	ended chan struct{} // closed when run has returned

	mu      sync.Mutex // guards what follows
	waiting bytes.Buffer
	closing bool
}

// NewLogSink returns a LogSink that writes lines to an output. Its report of lost lines has the form of the handler
// that form returns.
func NewLogSink(to io.Writer, form func(io.Writer) slog.Handler) *LogSink {
	s := &LogSink{to: to, form: form, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go s.run()
	return s
}

// Write takes a line. It never waits for a reader, and never fails.
func (s *LogSink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.waiting.Len()+len(line) > logWaiting {
		s.lost.Add(1)
	} else {
		s.waiting.Write(line)
	}
	s.nudge()
	return len(line), nil
}

func (s *LogSink) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes lines until the sink is closed.
func (s *LogSink) run() {
	defer close(s.ended)
	out := lineWriter{to: s.to}
	var lines bytes.Buffer
	var reported int64 // of the lines that were lost
	for {
		s.mu.Lock()
		lines.Reset()
		lines, s.waiting = s.waiting, lines
		closing := s.closing
		s.mu.Unlock()
		lost := s.lost.Load()
		if lost > reported && out.write(s.report(lost-reported, out.err)) == 0 {
			reported = lost
		}
		if lines.Len() > 0 && reported == lost {
			s.lost.Add(out.write(lines.Bytes()))
		} else {
			s.lost.Add(int64(bytes.Count(lines.Bytes(), []byte{'\n'})))
		}
		switch {
		case lines.Len() > 0:
		case closing:
			return
		case s.lost.Load() > reported:
			select {
			case <-s.wake:
			case <-time.After(logRetry):
			}
		default:
			<-s.wake
		}
	}
}

// report returns the line with the number of lines that are missing before it.
func (s *LogSink) report(lost int64, err error) []byte {
	cause := "they came faster than they were read"
	if err != nil {
		cause = err.Error()
	}
	var line bytes.Buffer
	slog.New(s.form(&line)).Error("lines of this log were lost", "lines", lost, "err", cause)
	return line.Bytes()
}

// Close writes the waiting lines, unless the reader is gone or stopped.
func (s *LogSink) Close() {
	s.mu.Lock()
	s.closing = true
	s.nudge()
	s.mu.Unlock()
	select {
	case <-s.ended:
	case <-time.After(logFlush):
	}
}

// lineWriter writes whole lines.
type lineWriter struct {
	to   io.Writer
	torn bool  // the last write ended within a line
	err  error // of the last write
}

// write returns the number of lines that were not written.
func (w *lineWriter) write(lines []byte) (lost int64) {
	if w.torn {
		if _, w.err = w.to.Write([]byte{'\n'}); w.err != nil {
			return int64(bytes.Count(lines, []byte{'\n'}))
		}
		w.torn = false
	}
	n := 0
	if n, w.err = w.to.Write(lines); w.err == nil {
		return 0
	}
	w.torn = n > 0 && lines[n-1] != '\n'
	return int64(bytes.Count(lines[n:], []byte{'\n'}))
}

// SurviveBrokenPipes makes a write to standard output or standard error without a reader return an error. By default
// the process ends. The signal is caught rather than ignored, since programs that the process starts inherit what it
// ignores.
func SurviveBrokenPipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// Lost returns the number of lines that were lost since the start.
func (s *LogSink) Lost() int64 { return s.lost.Load() }
