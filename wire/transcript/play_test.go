package transcript

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"sessionserver/wire"
)

// fake is a server in memory. It sends for each request the reply in its table, byte for byte.
type fake struct {
	// a RESP request is its words with · between them; a reply "hang up" closes the connection
	replies map[string]string

	wait     sync.WaitGroup
	mu       sync.Mutex
	received []string // guarded by mu
}

func (f *fake) dial(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	// A pipe has no buffer. Replies wait in a queue, so that a client may send several requests before it reads.
	queue := make(chan string, 100)
	f.wait.Go(func() {
		for a := range queue {
			_, _ = io.WriteString(theirs, a)
		}
		_ = theirs.Close()
	})
	f.wait.Go(func() {
		defer close(queue)
		requests := wire.NewReader(theirs, wire.DefaultLimits(), nil)
		for {
			req, err := requests.Next()
			if err != nil {
				return
			}
			request := string(req.Name)
			for _, arg := range req.Args(1) {
				if req.Framing == wire.RESP {
					request += "·" + string(arg)
				} else {
					request += " " + string(arg)
				}
			}
			f.mu.Lock()
			f.received = append(f.received, request)
			f.mu.Unlock()
			reply, known := f.replies[request]
			if !known {
				reply = "err UNKNOWN " + request + "\r\n"
			}
			rest, ends := strings.CutSuffix(reply, "hang up")
			if rest != "" {
				queue <- rest
			}
			if ends {
				return
			}
		}
	})
	return ours, nil
}

// play plays text against the fake and returns the results of Play. All connections have ended then.
func (f *fake) play(t *testing.T, text string) (string, error) {
	t.Helper()
	script, err := Parse("t", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	actual, err := script.Play(t.Context(), f.dial)
	f.wait.Wait()
	return actual, err
}

// TestPlay checks that a conversation that runs as written is returned unchanged.
func TestPlay(t *testing.T) {
	for name, row := range map[string]struct {
		text     string
		replies  map[string]string
		requests string // all requests, in order
	}{
		"lines": {"# hello\nC: ping\nS: ok PONG\n\nC: put a  b \nS: ok\n",
			map[string]string{"ping": "ok PONG\r\n", "put a  b ": "ok\n"}, "ping,put a  b "},
		"names": {"C: new\nS: ok {id}\nC: open {id}\nS: ok\nC: again\nS: ok {id}\n",
			map[string]string{"new": "ok 0123\r\n", "open 0123": "ok\r\n", "again": "ok 0123\r\n"},
			"new,open 0123,again"},
		"any text":      {"C: new\nS: err {...}\n", map[string]string{"new": "err BUSY come again\r\n"}, "new"},
		"empty reply":   {"C: x\nS:\nC: y\nS: \n", map[string]string{"x": "\r\n", "y": "\r\n"}, "x,y"},
		"pipelining":    {"C: a\nC: b\nS: 1\nS: 2\n", map[string]string{"a": "1\r\n", "b": "2\r\n"}, "a,b"},
		"several lines": {"C: a\nS: 1\nS: 2\n", map[string]string{"a": "1\r\n2\r\n"}, "a"},
		"closed": {"C: quit\nS: ok\nS: (closed)\nS: (closed)\n", map[string]string{"quit": "ok\r\nhang up"},
			"quit"},
		"closed in RESP": {"connect r resp2\nC r: quit\nS r: OK\nS r: (closed)\n",
			map[string]string{"quit": "+OK\r\nhang up"}, "quit"},
		"hangup": {"C bob: a\nS bob: 1\nhangup bob\nC bob: b\nS bob: 2\n",
			map[string]string{"a": "1\r\n", "b": "2\r\n"}, "a,b"},
		"hangup at once": {"hangup bob\n", nil, ""},
		"RESP2": {"connect r resp2\nC r: put \"a b\" {c}\nS r: OK\n",
			map[string]string{"put·a b·{c}": "+OK\r\n"}, "put·a b·{c}"},
		"RESP3": {"connect r resp3\nC r: new\nS r: \"{id}\"\nC r: open {id}\nS r: OK\n",
			map[string]string{"HELLO·3": "%0\r\n", "new": "$4\r\n0123\r\n", "open·0123": "+OK\r\n"},
			"HELLO·3,new,open·0123"},
		"lines, then RESP": {"C r: ping\nS r: ok\nconnect r resp2\nC r: ping x\nS r: \"x\"\n",
			map[string]string{"ping": "ok\r\n", "ping·x": "$1\r\nx\r\n"}, "ping,ping·x"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{replies: row.replies}
			actual, err := f.play(t, row.text)
			if err != nil || actual != row.text {
				t.Errorf("%v\n%s", err, actual)
			}
			if got := strings.Join(f.received, ","); got != row.requests {
				t.Errorf("the server received %q, want %q", got, row.requests)
			}
		})
	}
}

// TestRender checks the format of each kind of reply.
func TestRender(t *testing.T) {
	for reply, want := range map[string]string{
		"+PONG\r\n":                     "PONG",
		"$3\r\nbar\r\n":                 `"bar"`,
		"$0\r\n\r\n":                    `""`,
		"$5\r\n\x00\r\n\xff\"\r\n":      `"\x00\r\n\xff\""`,
		":-7\r\n":                       "(integer) -7",
		"$-1\r\n":                       "(null)",
		"*-1\r\n":                       "(null)",
		"_\r\n":                         "(null)",
		"-NOKEY no such key\r\n":        "(error) NOKEY no such key",
		"*0\r\n":                        "[]",
		"*3\r\n+a\r\n_\r\n*1\r\n:1\r\n": "[a, (null), [(integer) 1]]",
		"~1\r\n:1\r\n":                  "[(integer) 1]",
		"%0\r\n":                        "{}",
		// sorted: a map has no order
		"%2\r\n$1\r\nb\r\n:2\r\n$1\r\na\r\n%1\r\n+x\r\n_\r\n": `{"a": {x: (null)}, "b": (integer) 2}`,
	} {
		f := &fake{replies: map[string]string{"x": reply}}
		if _, err := f.play(t, "connect r resp2\nC r: x\nS r: "+want+"\n"); err != nil {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

// TestMismatch checks that the first unexpected reply is reported with its line and the conversation before it, and
// that Play returns the actual transcript.
func TestMismatch(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	f := &fake{replies: map[string]string{
		"new": "ok " + id + "\r\n", "get a": "ok 1\r\n", "get b": "ok is " + id + "\r\n", "stat": "ok n=2\r\n",
		"bye":   "hang up",
		"get·a": "$1\r\n1\r\n",
	}}
	actual, err := f.play(t, `# a session
C: new
S: ok {id}
C: get a
S: ok 1
C: get b
S: ok was {id}
C bob: stat
S bob: ok n=1
connect r resp2
C r: get a
S r: "2"
C bob: bye
S bob: ok
`)
	const want = `t:7: unexpected reply:
# a session
C: new
S: ok {id}
C: get a
S: ok 1
C: get b
expected: S: ok was 0123456789abcdef0123456789abcdef
received: S: ok is {id}`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	const rewritten = `# a session
C: new
S: ok {id}
C: get a
S: ok 1
C: get b
S: ok is {id}
C bob: stat
S bob: ok n=2
connect r resp2
C r: get a
S r: "1"
C bob: bye
S bob: (closed)
`
	if actual != rewritten {
		t.Errorf("rewritten:\n%s", actual)
	}
	if again, err := f.play(t, rewritten); err != nil || again != rewritten {
		t.Errorf("the rewritten transcript does not play: %v", err)
	}
}

// TestBroken checks that a failure is reported with its line and the conversation before it, and that Play then
// returns no transcript, so that -update writes nothing.
func TestBroken(t *testing.T) {
	replies := map[string]string{"ping": "ok\r\n", "half": "ok hal" + "hang up", "bye": "hang up", "odd": "?\r\n",
		"HELLO·3": "-NOPROTO no\r\n", "cut": "$9\r\nabc" + "hang up"}
	for name, row := range map[string]struct{ text, want string }{
		"half a line": {"\n\nC: ping\nS: ok\nC: half\nS: ok half\n",
			"t:6: the server closed the connection in the middle of a line: \"ok hal\"\n" +
				"the conversation so far:\nC: ping\nS: ok\nC: half\nS: ok half"},
		"gone": {"C: bye\nS: (closed)\nC: ping\n",
			"t:3: io: read/write on closed pipe\nthe conversation so far:\nC: bye\nS: (closed)\nC: ping"},
		"no reply of RESP": {"connect r resp2\nC r: odd\nS r: OK\n", "t:3: wire: unknown reply kind '?'\nthe …"},
		"half a reply":     {"connect r resp2\nC r: cut\nS r: OK\n", "t:3: unexpected EOF\nthe …"},
		"no RESP3":         {"connect r resp3\n", "t:1: NOPROTO no\nthe …"},
		"no words":         {"connect r resp2\nC r: \"a\n", "t:2: quoted word has no end: \"a\nthe …"},
		"no word":          {"connect r resp2\nC r:\n", "t:2: empty request; a request is at least one word\nthe …"},
		"RESP3 on hung up": {"C r: bye\nS r: (closed)\nconnect r resp3\n",
			"t:3: io: read/write on closed pipe\nthe …"},
		"another after gap": {"C a: ping\nC b: half\nS b: x\n", "t:3: the server closed …"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{replies: replies}
			actual, err := f.play(t, row.text)
			beginning, cut := strings.CutSuffix(row.want, "…")
			if err == nil || err.Error() != row.want && !(cut && strings.HasPrefix(err.Error(), beginning)) {
				t.Errorf("got:\n%v\nwant:\n%s", err, row.want)
			}
			if actual != "" {
				t.Errorf("Play returned:\n%s", actual)
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	script, err := Parse("t", strings.NewReader("# one\nC: ping\n"))
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	_, err = script.Play(t.Context(), func(context.Context) (net.Conn, error) { return nil, refused })
	if !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), "t:2: refused\n") {
		t.Errorf("%v", err)
	}
}

// TestCancel checks that a silent server is waited for until the context ends, and no longer.
func TestCancel(t *testing.T) {
	f := &fake{replies: map[string]string{"silence": ""}}
	script, err := Parse("t", strings.NewReader("C: silence\nS: ok\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	_, err = script.Play(ctx, func(ctx context.Context) (net.Conn, error) {
		nc, err := f.dial(ctx)
		return &notifyingConn{nc, func() { cancel(stopped) }}, err
	})
	f.wait.Wait()
	if !errors.Is(err, stopped) || !strings.HasPrefix(err.Error(), "t:2: stopped\n") {
		t.Errorf("%v", err)
	}
}

// notifyingConn calls begin when its owner starts to wait for a reply.
type notifyingConn struct {
	net.Conn
	begin func()
}

func (l *notifyingConn) Read(p []byte) (int, error) {
	l.begin()
	return l.Conn.Read(p)
}
