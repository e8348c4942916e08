package php_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sessionserver/server/servertest"
)

// timeLimit is how long a test waits for an event that should be immediate.
const timeLimit = 2 * time.Minute

// binDir is the folder of the server's binary, which is built once for all tests of the package.
var binDir string

func TestMain(m *testing.M) {
	status := 1
	var err error
	if binDir, err = os.MkdirTemp("", "sessionserver-php"); err == nil {
		status = m.Run()
		err = os.RemoveAll(binDir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// build builds the server and returns the path of its binary.
var build = sync.OnceValues(func() (string, error) { return servertest.Build("../..", binDir) })

// daemon is a server process with its own port and state folder, which it keeps over a restart.
type daemon struct {
	tb   testing.TB
	addr string // host:port

	storage string // the setting storage
	config  string // the path of the configuration
	runner  []string
	proc    *child
}

// startDaemon starts a server that accepts clients of this machine as dev/app, and stops it at the end of the test. The
// settings are added to its configuration.
func startDaemon(tb testing.TB, settings string) *daemon {
	tb.Helper()
	return startDaemonWith(tb, "sync: always", nil, settings)
}

// startDaemonWith is startDaemon with a setting sync, and with a program that runs the server, such as taskset.
func startDaemonWith(tb testing.TB, sync string, runner []string, settings string) *daemon {
	tb.Helper()
	dir := tb.TempDir()
	d := &daemon{
		tb: tb, addr: "127.0.0.1:0", runner: runner,
		storage: fmt.Sprintf("{path: %q, %s}", filepath.Join(dir, "state"), sync),
		config:  filepath.Join(dir, "config.yaml"),
	}
	d.configure(settings)
	d.start()
	d.configure(settings) // with the port from the system
	return d
}

func (d *daemon) configure(settings string) {
	d.tb.Helper()
	const format = "listen:\n  - {name: main, address: %q, allow: [127.0.0.1], anonymous: dev/app}\nstorage: %s\n%s"
	text := fmt.Sprintf(format, d.addr, d.storage, settings)
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// start starts the server and waits until it listens.
func (d *daemon) start() {
	d.tb.Helper()
	binary, err := build()
	if err != nil {
		d.tb.Fatal(err)
	}
	d.proc = startChild(d.tb, command(d.runner, binary, "serve", "--config", d.config))
	lines := d.proc.await("the server to listen", 1, func(line string) bool { return listenAddress(line) != "" })
	d.addr = listenAddress(lines[0])
}

// command returns a command, run by the runner if there is one.
func command(runner []string, words ...string) *exec.Cmd {
	words = slices.Concat(runner, words)
	return exec.Command(words[0], words[1:]...)
}

// listenAddress returns the address in the log entry of a listener, or "" for any other entry.
func listenAddress(line string) string {
	var entry struct{ Msg, Address string }
	if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "listening" {
		return ""
	}
	return entry.Address
}

// kill kills the server without a shutdown.
func (d *daemon) kill() { d.proc.kill() }

// stop shuts the server down.
func (d *daemon) stop() {
	d.tb.Helper()
	d.proc.stop()
}

// drain asks the server to shut down, and waits until it accepts no new sessions. Open sessions may continue.
func (d *daemon) drain() {
	d.tb.Helper()
	_ = d.proc.cmd.Process.Signal(syscall.SIGTERM)
	d.proc.await("the server to drain", 1, func(line string) bool { return strings.Contains(line, `"msg":"draining"`) })
}

// freeze stops the process of the server. Its connections remain open and silent until thaw.
func (d *daemon) freeze() {
	d.tb.Helper()
	pid := d.proc.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		d.tb.Fatalf("the process does not stop: %v", err)
	}
}

// thaw continues the process after freeze.
func (d *daemon) thaw() { _ = d.proc.cmd.Process.Signal(syscall.SIGCONT) }

// restart kills the server and starts it again on the same port.
func (d *daemon) restart() {
	d.tb.Helper()
	d.kill()
	d.start()
}

// awaitWaiters waits until n requests have entered the queue of a lock since the start of the server. It requires the
// setting log: {level: debug}.
func (d *daemon) awaitWaiters(n int) {
	d.tb.Helper()
	d.proc.await("requests to wait for a lock", n, func(line string) bool {
		return strings.Contains(line, `"msg":"waiting for a lock"`)
	})
}

// child is a running program whose output is recorded.
type child struct {
	tb    testing.TB
	cmd   *exec.Cmd
	ended chan struct{}

	killing sync.Once

	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed and replaced with each line
}

// startChild starts a program. The program and its process group are killed at the end of the test.
func startChild(tb testing.TB, cmd *exec.Cmd) *child {
	tb.Helper()
	c := &child{tb: tb, cmd: cmd, ended: make(chan struct{}), changed: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that kill ends its children too
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		tb.Fatal(err)
	}
	go c.read(r)
	go func() {
		_ = cmd.Wait()
		close(c.ended)
	}()
	tb.Cleanup(func() {
		c.kill()
		if tb.Failed() {
			tb.Logf("%s printed:\n%s", filepath.Base(cmd.Path), c.printed())
		}
	})
	return c
}

func (c *child) read(r io.ReadCloser) {
	defer func() { _ = r.Close() }()
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			c.mu.Lock()
			c.lines = append(c.lines, strings.TrimSuffix(line, "\n"))
			close(c.changed)
			c.changed = make(chan struct{})
			c.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// await waits until the program has printed n matching lines, and returns them.
func (c *child) await(event string, n int, match func(line string) bool) []string {
	c.tb.Helper()
	timeout := time.After(timeLimit)
	var found []string
	for next := 0; ; {
		c.mu.Lock()
		for _, line := range c.lines[next:] {
			if match(line) {
				found = append(found, line)
			}
		}
		next = len(c.lines)
		changed := c.changed
		c.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-c.ended:
			c.tb.Fatalf("%s ended while waiting for %s\n%s", c.cmd.Path, event, c.printed())
		case <-timeout:
			c.tb.Fatalf("waiting for %s: %d of %d\n%s", event, len(found), n, c.printed())
		}
	}
}

// printed returns the end of the program's output.
func (c *child) printed() string {
	const maxLines = 200
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	for _, line := range c.lines[max(0, len(c.lines)-maxLines):] {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// kill kills the program and its process group.
func (c *child) kill() {
	c.killing.Do(func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	<-c.ended
}

// stop asks the program to end, and waits for its end.
func (c *child) stop() {
	c.tb.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(timeLimit):
		c.tb.Fatalf("%s is still running\n%s", c.cmd.Path, c.printed())
	}
}

// program returns the path of a required program. If it is missing, the test is skipped.
func program(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	skip(tb, "requires "+names[0])
	return ""
}

// skip skips a test for a missing requirement. With SESSIONSERVER_TEST_ALL the test fails instead.
func skip(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("SESSIONSERVER_TEST_ALL") != "" {
		tb.Fatal(reason)
	}
	tb.Skip(reason + "; make setup installs it")
}
