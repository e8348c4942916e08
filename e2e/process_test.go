package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sessionserver/e2e/flood"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// binDir is the folder of the binary.
var binDir string

// binary builds the program for the first test that runs it, and returns its path.
var binary = sync.OnceValue(func() string {
	path, err := servertest.Build("..", binDir)
	if err != nil {
		panic(err)
	}
	return path
})

func TestMain(m *testing.M) {
	flood.Main()
	status := 1
	var err error
	if binDir, err = os.MkdirTemp("", "sessionserver"); err == nil {
		status = m.Run()
		err = os.RemoveAll(binDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// process is a running server.
type process struct {
	t   testing.TB
	cmd *exec.Cmd

	listening chan struct{} // closed when the first listener serves; addr and admin are known then
	addr      string        // the address of the first listener
	admin     string        // the address of the HTTP for operators, or ""

	ended chan struct{} // closed when the process has ended; err is known then
	err   error         // of cmd.Wait

	pipes []io.Closer // the ends of both outputs at which the test reads

	mu         sync.Mutex // guards what follows
	out, lines bytes.Buffer
}

// serve starts the program with arguments for serve, and waits until it listens. It is killed at the end of the test.
func serve(t testing.TB, args ...string) *process {
	t.Helper()
	return serveWith(t, binary(), args...)
}

// serveWith is serve with another program that runs the server.
func serveWith(t testing.TB, program string, args ...string) *process {
	t.Helper()
	p := startWith(t, program, args...)
	select {
	case <-p.listening:
	case <-p.ended:
		t.Fatalf("the server ended at once: %v\n%s", p.err, p.log())
	case <-time.After(require.Patience):
		t.Fatalf("the server does not listen\n%s", p.log())
	}
	return p
}

// start is serve without waiting.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	return startWith(t, binary(), args...)
}

func startWith(t testing.TB, program string, args ...string) *process {
	t.Helper()
	if slices.Contains(args, "--dev") && !slices.Contains(args, "--admin") {
		args = append(args, "--admin", "127.0.0.1:0")
	}
	p := &process{t: t, listening: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(program, append([]string{"serve"}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.pipes = []io.Closer{stderr, stdout}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(lockedWriter{&p.mu, &p.out}, stdout)
	}()
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			_, _ = lockedWriter{&p.mu, &p.lines}.Write(append(lines.Bytes(), '\n'))
			var entry struct{ Msg, Address string }
			switch err := json.Unmarshal(lines.Bytes(), &entry); {
			case err != nil:
			case entry.Msg == "serving operators":
				p.admin = entry.Address
			case entry.Msg == "listening" && p.addr == "":
				p.addr = entry.Address
				close(p.listening)
			}
		}
		<-copied
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// lockedWriter writes to a buffer under a lock.
type lockedWriter struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

// log returns the standard error until now.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines.String()
}

// stdout returns the standard output until now.
func (p *process) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// closeOutputs leaves both outputs without a reader.
func (p *process) closeOutputs() {
	for _, pipe := range p.pipes {
		_ = pipe.Close()
	}
}

// metric returns the value of a metric without labels, or 0 if there is none.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, text := servertest.Get(t, p.adminClient(), "http://localhost/metrics")
	value := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if value == nil {
		return 0
	}
	f, err := strconv.ParseFloat(value[1], 64)
	if err != nil {
		t.Error(err)
	}
	return f
}

// adminClient returns a client of the HTTP for operators, at a TCP address or a Unix socket.
func (p *process) adminClient() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if strings.Contains(p.admin, "/") {
			network = "unix"
		}
		return new(net.Dialer).DialContext(ctx, network, p.admin)
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
}

// kill kills the server, which gives it no time to shut down.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop asks the server to shut down and waits for it.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.awaitExit()
}

// awaitExit waits until the server has ended, and fails if its status is not 0.
func (p *process) awaitExit() {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("the server ended with %v\n%s", p.err, p.log())
		}
	case <-time.After(require.Patience):
		p.t.Errorf("the server does not end\n%s", p.log())
	}
}
