package php_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should happen at once, before it says that it does not happen.
const patience = 2 * time.Minute

// binDir is where the server is built, once for all tests of the package.
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

// build builds the server as users have it and answers where it is.
var build = sync.OnceValues(func() (string, error) {
	if err := depend("../.."); err != nil {
		return "", err
	}
	binary := filepath.Join(binDir, "sessionserver")
	if out, err := exec.Command("go", "build", "-o", binary, "sessionserver/cmd/sessionserver").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// depend looks at every source file in a folder. Go takes the results of tests from its cache while what they have looked at stays the same;
// it cannot see what the programs that they run are made of.
func depend(folder string) error {
	return filepath.WalkDir(folder, func(file string, _ fs.DirEntry, err error) error {
		if ext := filepath.Ext(file); err == nil && (ext == ".go" || ext == ".php" || ext == ".mod") {
			_, err = os.Stat(file)
		}
		return err
	})
}

// daemon is a server on a port and with a state folder of its own. It can be ended and started again with both.
type daemon struct {
	tb   testing.TB
	addr string // host:port

	storage string // as the configuration has it
	config  string // the file
	runner  []string
	proc    *child
}

// startDaemon starts a server that answers anybody on this machine as dev/app, and ends it with the test. more is added to its
// configuration.
func startDaemon(tb testing.TB, more string) *daemon {
	tb.Helper()
	return startDaemonWith(tb, "sync: always", nil, more)
}

// startDaemonWith is startDaemon with a choice of what a power failure may cost, and of a program that runs the server, such as taskset.
func startDaemonWith(tb testing.TB, sync string, runner []string, more string) *daemon {
	tb.Helper()
	dir := tb.TempDir()
	d := &daemon{
		tb: tb, addr: "127.0.0.1:0", runner: runner,
		storage: fmt.Sprintf("{path: %q, %s}", filepath.Join(dir, "state"), sync), config: filepath.Join(dir, "config.yaml"),
	}
	d.configure(more)
	d.start()
	d.configure(more) // now with the port that it has got
	return d
}

func (d *daemon) configure(more string) {
	d.tb.Helper()
	text := fmt.Sprintf("listen:\n  - {name: main, address: %q, allow: [127.0.0.1], anonymous: dev/app}\nstorage: %s\n%s", d.addr, d.storage, more)
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
	d.addr = listening(d.proc.await("the server to listen", 1, func(line string) bool { return listening(line) != "" })[0])
}

// command is a command that runner, if there is one, runs.
func command(runner []string, words ...string) *exec.Cmd {
	words = slices.Concat(runner, words)
	return exec.Command(words[0], words[1:]...)
}

// listening answers the address in the log entry that tells of one.
func listening(line string) string {
	var entry struct{ Msg, Address string }
	if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "listening" {
		return ""
	}
	return entry.Address
}

// kill ends the server without giving it a chance to do anything.
func (d *daemon) kill() { d.proc.kill() }

// stop lets the server end in good order.
func (d *daemon) stop() {
	d.tb.Helper()
	d.proc.stop()
}

// drain asks the server to end, and waits until it takes no new requests. Sessions that are open may be finished.
func (d *daemon) drain() {
	d.tb.Helper()
	_ = d.proc.cmd.Process.Signal(syscall.SIGTERM)
	d.proc.await("the server to drain", 1, func(line string) bool { return strings.Contains(line, `"msg":"draining"`) })
}

// freeze stops the server without a word, and thaw lets it go on.
func (d *daemon) freeze() {
	d.tb.Helper()
	pid := d.proc.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		d.tb.Fatalf("the server does not stop: %v", err)
	}
}

func (d *daemon) thaw() { _ = d.proc.cmd.Process.Signal(syscall.SIGCONT) }

// restart kills the server and starts it again on the same port.
func (d *daemon) restart() {
	d.tb.Helper()
	d.kill()
	d.start()
}

// awaitWaiters waits until so many requests have had to wait for a lock since the server was started: the place in the queue of
// each is certain then. It needs `log: {level: debug}`.
func (d *daemon) awaitWaiters(n int) {
	d.tb.Helper()
	d.proc.await("requests to wait for a lock", n, func(line string) bool { return strings.Contains(line, `"msg":"waiting for a lock"`) })
}

// child is a running program of which each line of output is kept.
type child struct {
	tb    testing.TB
	cmd   *exec.Cmd
	ended chan struct{}

	killing sync.Once

	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed and replaced with each line
}

// startChild starts a program. It is killed at the end of the test, with whatever it has started in its process group.
func startChild(tb testing.TB, cmd *exec.Cmd) *child {
	tb.Helper()
	c := &child{tb: tb, cmd: cmd, ended: make(chan struct{}), changed: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts is ended with it
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

// await waits until n of the lines that the program prints are wanted ones and answers those.
func (c *child) await(what string, n int, wanted func(line string) bool) []string {
	c.tb.Helper()
	timeout := time.After(patience)
	var found []string
	for seen := 0; ; {
		c.mu.Lock()
		for _, line := range c.lines[seen:] {
			if wanted(line) {
				found = append(found, line)
			}
		}
		seen = len(c.lines)
		changed := c.changed
		c.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-c.ended:
			c.tb.Fatalf("%s ended while waiting for %s\n%s", c.cmd.Path, what, c.printed())
		case <-timeout:
			c.tb.Fatalf("waiting for %s: %d of %d\n%s", what, len(found), n, c.printed())
		}
	}
}

// printed is what the program has printed, or the end of it.
func (c *child) printed() string {
	const most = 200
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	for _, line := range c.lines[max(0, len(c.lines)-most):] {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// kill ends the program and those that it has started.
func (c *child) kill() {
	c.killing.Do(func() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
	<-c.ended
}

// stop asks the program to end, and waits until it has.
func (c *child) stop() {
	c.tb.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.tb.Fatalf("%s does not end\n%s", c.cmd.Path, c.printed())
	}
}

// program finds a program that a test needs. Without it the test is skipped, unless every test is to run.
func program(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	lack(tb, "needs "+names[0])
	return ""
}

// lack skips a test that cannot run here for this reason. Where every test is to run it fails.
func lack(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("SESSIONSERVER_TEST_ALL") != "" {
		tb.Fatal(reason)
	}
	tb.Skip(reason + "; make setup installs it")
}
