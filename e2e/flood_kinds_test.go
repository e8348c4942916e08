package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/wire"
)

// flood is a tenant that uses up what it can of a server. It runs in a process of its own, so that those whom it is measured against do not
// share a scheduler with it.
type flood struct {
	Addr   string
	From   string // the address that its clients have
	App    string // tenant/app
	Secret string
	Kinds  []string // of floods

	mu   sync.Mutex // guards what follows
	seen tally
}

// tally counts what the clients of a flood have heard: kind of flood → "ok", a code, "connected", or "ended" for a connection that
// the server has closed.
type tally map[string]map[string]int

// floods are all kinds that there are, each with its number of clients, who do the same again until the time is up.
var floods = map[string]struct {
	clients int
	again   func(context.Context, *floodConn) error
}{
	"connections":      {1600, floodConnections},
	"cycles":           {200, floodCycles},
	"values":           {48, floodValues},
	"half":             {96, floodHalf},
	"unread":           {64, floodUnread},
	"pump":             {32, floodPump},
	"locks":            {400, floodLocks},
	"session_creation": {64, floodSessionCreation},
	"unauthenticated":  {64, floodUnauthenticated},
	"handshakes":       {32, floodHandshakes},
}

var floodKinds = []string{"connections", "cycles", "values", "half", "unread", "pump", "locks", "session_creation", "unauthenticated", "handshakes"}

// floodEnv holds a flood as JSON, and makes this program be it instead of running tests.
const floodEnv = "SESSIONSERVER_TEST_FLOOD"

// beFlood floods until standard input ends. For each line in it and at the end it writes what was heard so far.
func beFlood(spec string) int {
	f := &flood{seen: tally{}}
	if err := json.Unmarshal([]byte(spec), f); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := json.NewEncoder(os.Stdout)
	report := func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return out.Encode(f.seen)
	}
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan() && report() == nil; {
		}
	}()
	var clients sync.WaitGroup
	for _, kind := range f.Kinds {
		for i := range floods[kind].clients {
			clients.Go(func() { f.client(ctx, kind, i) })
		}
	}
	clients.Wait()
	if err := report(); err != nil {
		return 1
	}
	return 0
}

// flooding is a flood that runs.
type flooding struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

func (f *flood) start(t testing.TB) *flooding {
	t.Helper()
	spec, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	run := &flooding{cmd: exec.Command("nice", "-n", "19", os.Args[0])}
	run.cmd.Env = append(os.Environ(), floodEnv+"="+string(spec))
	run.cmd.Stderr = os.Stderr
	if run.stdin, err = run.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := run.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run.out = json.NewDecoder(out)
	if err := run.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if run.cmd.ProcessState == nil {
			_ = run.cmd.Process.Kill()
			_ = run.cmd.Wait()
		}
	})
	return run
}

// heard returns what the clients of the flood have heard so far.
func (r *flooding) heard(t testing.TB) (all tally) {
	t.Helper()
	if _, err := io.WriteString(r.stdin, "\n"); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	if err := r.out.Decode(&all); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	return all
}

// stop ends the flood and returns what its clients have heard.
func (r *flooding) stop(t testing.TB) (all tally) {
	t.Helper()
	_ = r.stdin.Close()
	if err := errors.Join(r.out.Decode(&all), r.cmd.Wait()); err != nil {
		t.Fatalf("the flood: %v", err)
	}
	return all
}

func (f *flood) count(kind, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[kind] == nil {
		f.seen[kind] = map[string]int{}
	}
	f.seen[kind][what]++
}

// floodConn is one client of a flood with its connection.
type floodConn struct {
	net.Conn
	in      *bufio.Reader
	replies *wire.ReplyReader
	flood   *flood
	kind    string
	i       int // which of the clients of its kind
	n       int // how often it has done what it does on this connection
}

// client connects, and does what its kind does until the connection ends; then it connects again at once, as nobody should.
func (f *flood) client(ctx context.Context, kind string, i int) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(f.From)}, Timeout: 10 * time.Second}
	for ctx.Err() == nil {
		nc, err := dialer.DialContext(ctx, "tcp", f.Addr)
		if err != nil {
			f.count(kind, "not connected")
			pause(ctx, 10*time.Millisecond)
			continue
		}
		_ = nc.(*net.TCPConn).SetLinger(0) // no TIME_WAIT holds it up
		f.count(kind, "connected")
		stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
		c := &floodConn{Conn: nc, in: bufio.NewReader(nc), flood: f, kind: kind, i: i}
		c.replies = wire.NewReplyReader(c.in)
		for err == nil {
			err = floods[kind].again(ctx, c)
			c.n++
		}
		if ctx.Err() == nil && !errors.Is(err, errFloodLeaves) {
			f.count(kind, "ended")
		}
		stop()
		_ = nc.Close()
	}
}

// errFloodLeaves is that a client ends its connection itself.
var errFloodLeaves = errors.New("the client leaves")

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// say sends requests, each a list of words, in one piece.
func (c *floodConn) say(requests ...[]string) error {
	var out []byte
	for _, r := range requests {
		out = wire.AppendRequest(out, r...)
	}
	_, err := c.Write(out)
	return err
}

// hear reads n answers and answers the code of the last, "" for one that is good.
func (c *floodConn) hear(n int) (code string, err error) {
	for range n {
		first, err := c.in.Peek(1)
		if err != nil {
			return "", err
		}
		what := "ok"
		if first[0] == 'e' { // to somebody who has not spoken yet
			line, err := c.in.ReadString('\n')
			if err != nil {
				return "", err
			}
			code = strings.Fields(line + " ? ?")[1]
		} else {
			r, err := c.replies.Next()
			if err != nil {
				return "", err
			}
			if code = ""; r.Err != nil {
				code = string(r.Err.Code)
			}
		}
		if code != "" {
			what = code
		}
		c.flood.count(c.kind, what)
	}
	return code, nil
}

// ask is say and hear.
func (c *floodConn) ask(requests ...[]string) (code string, err error) {
	if err := c.say(requests...); err != nil {
		return "", err
	}
	return c.hear(len(requests))
}

// auth authenticates on a new connection.
func (c *floodConn) auth() error {
	if c.n > 0 {
		return nil
	}
	code, err := c.ask([]string{"auth", c.flood.App, c.flood.Secret})
	if err == nil && code != "" {
		return errFloodLeaves
	}
	return err
}

func (c *floodConn) id(kind string, i int) string { return fmt.Sprintf("flood-%s-%08d", kind, i) }

var (
	floodValue = strings.Repeat("0123456789abcdef", 128)
	floodMiB   = strings.Repeat("0123456789abcdef", 64<<10)
)

// floodConnections holds a connection for a second, and then takes another.
func floodConnections(ctx context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		pause(ctx, 10*time.Millisecond)
		return err
	}
	if _, err := c.ask([]string{"ping"}); err != nil {
		return err
	}
	pause(ctx, time.Second)
	return errFloodLeaves
}

// floodCycles does ordinary cycles, as fast as they go.
func floodCycles(_ context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id("cycles", c.i)}, []string{"get_all"}); err != nil {
		return err
	}
	_, err := c.ask([]string{"put", "data", floodValue}, []string{"close"})
	return err
}

// floodValues saves and reads sessions that are as large as they may be.
func floodValues(_ context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id("values", c.i)}); err != nil {
		return err
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := c.ask([]string{"put", key, floodMiB[:len(floodMiB)-100]}); err != nil {
			return err
		}
	}
	if _, err := c.ask([]string{"close"}); err != nil {
		return err
	}
	_, err := c.ask([]string{"open", c.id("values", c.i), "s"}, []string{"get_all"}, []string{"abort"})
	return err
}

// floodHalf sends all but the end of a large request.
func floodHalf(ctx context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id("half", c.i)}); err != nil {
		return err
	}
	var all []byte
	for _, arg := range []string{"put_all", "a", floodMiB, "b", floodMiB, "c", floodMiB, "d", floodMiB[:1000]} {
		all = fmt.Appendf(all, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := c.Write(append([]byte("*9\r\n"), all[:len(all)-10]...)); err != nil {
		return err
	}
	pause(ctx, 200*time.Millisecond)
	return errFloodLeaves
}

// floodUnread sends requests with large replies and reads none.
func floodUnread(ctx context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id("unread", c.i)}, []string{"put", "a", floodMiB[:256<<10]}); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	gets := strings.Repeat("*1\r\n$7\r\nget_all\r\n", 1000)
	for {
		if _, err := io.WriteString(c, gets); errors.Is(err, os.ErrDeadlineExceeded) {
			pause(ctx, time.Second)
			return errFloodLeaves
		} else if err != nil {
			return err
		}
	}
}

// floodPump sends pipelines of small requests, as fast as they go.
func floodPump(_ context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	var failed error
	var reading sync.WaitGroup
	reading.Go(func() {
		for failed == nil {
			_, failed = c.hear(1)
		}
	})
	pings := strings.Repeat("*1\r\n$4\r\nping\r\n", 1000)
	var err error
	for err == nil {
		_, err = io.WriteString(c, pings)
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what has come and was not read yet
	reading.Wait()
	return err
}

// floodLocks wants the same session as everybody else.
func floodLocks(_ context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if code, err := c.ask([]string{"open", c.id("locks", 0), "rw", "60000"}); err != nil || code != "" {
		return err
	}
	_, err := c.ask([]string{"put", "data", floodValue}, []string{"close"})
	return err
}

// floodSessionCreation makes sessions.
func floodSessionCreation(_ context.Context, c *floodConn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if code, err := c.ask([]string{"new"}); err != nil || code != "" {
		return err
	}
	if code, err := c.ask([]string{"put", "data", "x"}, []string{"close"}); err != nil || code == "" {
		return err
	}
	_, err := c.ask([]string{"abort"})
	return err
}

// floodUnauthenticated says who it is not, and asks for what strangers do not get.
func floodUnauthenticated(_ context.Context, c *floodConn) error {
	if _, err := c.ask([]string{"new"}, []string{"open", c.id("unauthenticated", 0)}, []string{"ping"}, []string{"nonsense"}); err != nil {
		return err
	}
	_, err := c.ask([]string{"auth", c.flood.App, "hss_wrong"}, []string{"auth", "no/body", "hss_wrong"})
	return err
}

// floodHandshakes does the dear part of TLS and leaves.
func floodHandshakes(ctx context.Context, c *floodConn) error {
	secured := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	c.flood.count(c.kind, "ok")
	return errFloodLeaves
}
