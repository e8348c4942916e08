package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

func textSink(p *pipe) (*logSink, *slog.Logger) {
	form := func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	}
	s := newLogSink(p, form)
	return s, slog.New(form(s))
}

// TestLogSinkGone: lines that nobody reads are counted, and reported without another line to be logged as soon as somebody reads again.
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
		if got, want := p.read(), "\nlevel=ERROR msg=\"lines of this log were lost\" lines=3 err=\"broken pipe\"\n"; got != want {
			t.Errorf("when the reader is back: %q, want %q", got, want)
		}
		log.Info("next")
		s.close()
		if got := p.read(); got != "level=INFO msg=next\n" {
			t.Errorf("then: %q", got)
		}
	})
}

// TestLogSinkStopped: a reader that does not read holds up nobody, and costs no more memory than it may. What waits is written when it reads again.
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
		s.close()
		if took := time.Since(began); took != logFlush {
			t.Errorf("closing took %v with a reader that does not read", took)
		}
		close(p.stopped)
	})
}

// TestLogReaderGone: a server whose standard error and standard output nobody reads any more goes on, counts the lines and drains at the end.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	for _, outputs := range []string{"audit: {output: stdout, on_failure: continue, decisions: {output: stdout, sample: 1}}\n", "audit: {decisions: {output: stdout, sample: 1}}\n"} {
		file, _ := config(t, "storage: {driver: file, path: STATE}\nadmin: {address: \"unix:"+filepath.Join(t.TempDir(), "admin")+"\"}\n"+outputs)
		s := serve(t, "--config", file)
		c := mustConnect(t, s.addr)
		id := c.mustAsk(t, "new")
		c.mustAsk(t, "put foo bar")
		s.closeOutputs()
		for _, addr := range []string{s.addr, s.addr} { // refusals are logged
			if _, err := mustConnect(t, addr).ask("auth dev/app wrong"); err == nil || !strings.Contains(err.Error(), "BADAUTH") {
				t.Errorf("a wrong secret: %v", err)
			}
		}
		eventually(t, "lost lines are counted", func() bool { return s.metric(t, "sessionserver_log_lost_total") >= 2 })
		if strings.Contains(outputs, "continue") {
			eventually(t, "lost events are counted", func() bool { return s.metric(t, "sessionserver_audit_lost_total") > 0 })
		} else {
			eventually(t, "lost decisions are counted", func() bool {
				c.mustAsk(t, "get foo")
				return s.metric(t, "sessionserver_decisions_lost_total") > 0
			})
		}
		c.mustAsk(t, "close")
		s.stop()
		s = serve(t, "--config", file)
		mustConnect(t, s.addr).mustAsk(t, "open "+id+" r")
	}
}

// TestLogComesBack: the reader of a log that comes back finds how many lines it has missed.
func TestLogComesBack(t *testing.T) {
	t.Parallel()
	file, _ := config(t, "")
	fifo := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	r := open()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(), "serve", "--config", file)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	_ = w.Close()
	awaitLine(t, r, `"msg":"listening"`)
	_ = r.Close()
	hangup := func() { // which is answered by a line
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup()
	eventually(t, "the reader that is back is told", func() bool {
		hangup()
		r := open()
		defer r.Close()
		_ = r.SetReadDeadline(time.Now().Add(3 * time.Second))
		text := make([]byte, 1<<16)
		n, _ := r.Read(text)
		return strings.Contains(string(text[:n]), `"msg":"lines of this log were lost"`)
	})
}

// awaitLine reads until a line has want in it.
func awaitLine(t *testing.T, r *os.File, want string) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	var text []byte
	for !strings.Contains(string(text), want) {
		buf := make([]byte, 4096)
		n, err := r.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			t.Fatalf("%v before %s:\n%s", err, want, text)
		}
	}
}
