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

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// binDir is where the program is built, once for all tests of the package.
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
	if spec := os.Getenv(floodEnv); spec != "" {
		os.Exit(beFlood(spec))
	}
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

// child is a running server.
type child struct {
	t   testing.TB
	cmd *exec.Cmd

	listening chan struct{} // closed when it does; the addresses are known then
	addr      string        // of its first listener
	operators string        // the address of their HTTP, "" if there is none

	ended chan struct{} // closed when it has
	err   error         // of cmd.Wait, then

	outputs []io.Closer // where its output is read

	mu       sync.Mutex
	out, log bytes.Buffer
}

// serve starts the program with these arguments to serve and waits until it listens. It is ended with the test.
func serve(t testing.TB, args ...string) *child {
	t.Helper()
	return serveWith(t, binary(), args...)
}

// serveWith starts another program that runs it.
func serveWith(t testing.TB, program string, args ...string) *child {
	t.Helper()
	c := startWith(t, program, args...)
	select {
	case <-c.listening:
	case <-c.ended:
		t.Fatalf("the server ended at once: %v\n%s", c.err, c.logged())
	case <-time.After(require.Patience):
		t.Fatalf("the server does not listen\n%s", c.logged())
	}
	return c
}

// start starts the program with these arguments to serve. It is ended with the test.
func start(t testing.TB, args ...string) *child {
	t.Helper()
	return startWith(t, binary(), args...)
}

func startWith(t testing.TB, program string, args ...string) *child {
	t.Helper()
	if slices.Contains(args, "--dev") && !slices.Contains(args, "--admin") {
		args = append(args, "--admin", "127.0.0.1:0")
	}
	c := &child{t: t, listening: make(chan struct{}), ended: make(chan struct{})}
	c.cmd = exec.Command(program, append([]string{"serve"}, args...)...)
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.outputs = []io.Closer{stderr, stdout}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kill() })
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		_, _ = io.Copy(writer{c, &c.out}, stdout)
	}()
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			_, _ = writer{c, &c.log}.Write(append(lines.Bytes(), '\n'))
			var entry struct{ Msg, Address string }
			switch err := json.Unmarshal(lines.Bytes(), &entry); {
			case err != nil:
			case entry.Msg == "serving operators":
				c.operators = entry.Address
			case entry.Msg == "listening" && c.addr == "":
				c.addr = entry.Address
				close(c.listening)
			}
		}
		<-printed
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	return c
}

type writer struct {
	c   *child
	buf *bytes.Buffer
}

func (w writer) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.buf.Write(p)
}

func (c *child) logged() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

func (c *child) printed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// closeOutputs makes nobody read what the server writes.
func (c *child) closeOutputs() {
	for _, output := range c.outputs {
		_ = output.Close()
	}
}

// metric is the value of a series that has no labels.
func (c *child) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, text := servertest.Get(t, c.operatorsClient(), "http://localhost/metrics")
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

// operatorsClient reaches the server's HTTP for operators, at a TCP address or a Unix socket.
func (c *child) operatorsClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if strings.Contains(c.operators, "/") {
			network = "unix"
		}
		return new(net.Dialer).DialContext(ctx, network, c.operators)
	}}}
}

// kill ends the server without giving it a chance to do anything.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// stop asks the server to end and wants it to do so in good order.
func (c *child) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	c.hasEnded()
}

// hasEnded wants the server to end in good order by itself.
func (c *child) hasEnded() {
	c.t.Helper()
	select {
	case <-c.ended:
		if c.err != nil {
			c.t.Errorf("the server ended with %v\n%s", c.err, c.logged())
		}
	case <-time.After(require.Patience):
		c.t.Errorf("the server does not end\n%s", c.logged())
	}
}
