package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a reader of a log that can be gone, or stopped.
type pipe struct {
	mu      sync.Mutex
	gone    error
	stopped chan struct{} // a write waits until it is closed; nil for none
	got     bytes.Buffer
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	stopped := p.stopped
	p.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		n := min(len(b), 5) // a part of the first line
		p.got.Write(b[:n])
		return n, p.gone
	}
	return p.got.Write(b)
}

func (p *pipe) set(gone error, stopped chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.stopped = gone, stopped
}

// read returns what has been written since the last time.
func (p *pipe) read() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.got.Reset()
	return p.got.String()
}

func textSink(p *pipe) (*LogSink, *slog.Logger) {
	form := func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	}
	s := NewLogSink(p, form)
	return s, slog.New(form(s))
}

// TestLogSinkGone checks that lines without a reader are counted. They are reported as soon as there is a reader again,
// without another line.
func TestLogSinkGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{}
		s, log := textSink(p)
		log.Info("first")
		synctest.Wait()
		if got := p.read(); got != "level=INFO msg=first\n" {
			t.Errorf("with a reader: %q", got)
		}
		p.set(errors.New("broken pipe"), nil)
		for i := range 3 {
			log.Info("lost", "i", i)
			synctest.Wait()
		}
		if lost := s.lost.Load(); lost != 3 {
			t.Errorf("%d lines are lost, want 3", lost)
		}
		p.read()
		p.set(nil, nil)
		time.Sleep(logRetry)
		synctest.Wait()
		const want = "\nlevel=ERROR msg=\"lines of this log were lost\" lines=3 err=\"broken pipe\"\n"
		if got := p.read(); got != want {
			t.Errorf("when the reader is back: %q, want %q", got, want)
		}
		log.Info("next")
		s.Close()
		if got := p.read(); got != "level=INFO msg=next\n" {
			t.Errorf("then: %q", got)
		}
	})
}

// TestLogSinkStopped checks that a reader that does not read blocks no caller, and that the memory is bounded. The
// waiting lines are written when it reads again.
func TestLogSinkStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stopped := &pipe{}, make(chan struct{})
		p.set(nil, stopped)
		s, log := textSink(p)
		log.Info("first")
		synctest.Wait() // it hangs in the write
		line := strings.Repeat("x", 10_000)
		const many = 200
		for range many {
			log.Info(line)
		}
		lost := s.lost.Load()
		if lost == 0 || s.waiting.Len() > logWaiting {
			t.Errorf("%d lines are lost, %d bytes wait", lost, s.waiting.Len())
		}
		close(stopped)
		p.set(nil, nil)
		synctest.Wait()
		got := p.read()
		if n := int64(strings.Count(got, line)); n != many-lost {
			t.Errorf("%d of %d lines are written, and %d counted as lost", n, many, lost)
		}
		if !strings.Contains(got, fmt.Sprintf(`lines=%d err="they came faster`, lost)) {
			t.Error("nothing reports those that are lost")
		}
		p.set(nil, make(chan struct{}))
		log.Info("last")
		began := time.Now()
		s.Close()
		if took := time.Since(began); took != logFlush {
			t.Errorf("closing took %v with a reader that does not read", took)
		}
		close(p.stopped)
	})
}
