package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// small is a set of limits that a few bytes reach. The command put has a payload.
var small = Limits{Line: 20, Value: 10, Request: 16, Args: 4}

// puts returns a payload function: put has a payload as large as a value.
func puts(limits Limits) func(name []byte) int {
	return func(name []byte) int {
		if string(name) == "put" {
			return limits.Value
		}
		return 0
	}
}

// transcribe reads to the end and returns one string for each result of Next. A line has at most two arguments.
func transcribe(r *Reader) []string {
	var results []string
	for {
		req, err := r.Next()
		var refused *Error
		switch {
		case err == nil:
			results = append(results, describe(req))
			continue
		case !errors.As(err, &refused):
			return append(results, err.Error())
		case refused.Fatal:
			return append(results, fmt.Sprintf("%v fatal %s", r.Framing(), refused.Code))
		}
		results = append(results, fmt.Sprintf("%v %s", r.Framing(), refused.Code))
	}
}

func describe(req *Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", req.Framing, req.Name)
	for _, arg := range req.Args(2) {
		fmt.Fprintf(&b, " [%s]", arg)
	}
	return b.String()
}

// chunks returns its bytes in pieces of size, or as many as fit if that is 0.
type chunks struct {
	rest string
	size func() int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.rest == "" {
		return 0, io.EOF
	}
	if n := c.size(); n > 0 && n < len(p) {
		p = p[:n]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func always(n int) func() int { return func() int { return n } }

// readingTest is a stream of bytes and the requests that are decoded from it, in whatever pieces it arrives.
type readingTest struct {
	name  string
	input string
	want  []string
}

func (test readingTest) run(t *testing.T, limits Limits) {
	t.Helper()
	t.Run(test.name, func(t *testing.T) {
		for _, size := range []int{0, 1, 2, 7} {
			src := &chunks{test.input, always(size)}
			if got := transcribe(NewReader(src, limits, puts(limits))); !slices.Equal(got, test.want) {
				t.Errorf("in chunks of %d, %.80q is read as\n%.400q\nwant\n%.400q", size, test.input, got, test.want)
			}
		}
	})
}

func TestMixedFramings(t *testing.T) {
	for _, test := range []readingTest{
		{"pipelined", "ping\r\n*1\r\n$4\r\nPING\r\nget a\n*2\r\n$3\r\nget\r\n$1\r\nb\r\nquit\r\n",
			[]string{"line ping", "resp PING", "line get [a]", "resp get [b]", "line quit", "EOF"}},
		{"refusals in between", "\r\n*0\r\nget a\x00\r\n*5\r\n" + strings.Repeat("$1\r\na\r\n", 5) + "ping\r\n",
			[]string{"line UNKNOWN", "resp PROTOCOL", "line BINARY", "resp TOOLARGE", "line ping", "EOF"}},
		{"the first byte decides, space or not", " *1\r\n*1\r\n$1\r\n*\r\n", []string{"line  [*1]", "resp *", "EOF"}},
		{"nothing", "", []string{"EOF"}},
	} {
		test.run(t, small)
	}
}

// step is one result of a script: bytes or an error.
type step struct {
	bytes string
	err   error
}

type script struct {
	t     *testing.T
	steps []step
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.steps) == 0 {
		s.t.Error("the reader read beyond the last step")
		return 0, io.ErrClosedPipe
	}
	next := &s.steps[0]
	if next.err != nil {
		s.steps = s.steps[1:]
		return 0, next.err
	}
	n := copy(p, next.bytes)
	if next.bytes = next.bytes[n:]; next.bytes == "" {
		s.steps = s.steps[1:]
	}
	return n, nil
}

var timeout = step{err: os.ErrDeadlineExceeded}

func TestTimeoutBetweenRequests(t *testing.T) {
	r := NewReader(&script{t, []step{
		timeout, {bytes: "ping\r\n"}, timeout, timeout, {bytes: "*1\r\n$4\r\nPING\r\n"}, timeout, {err: io.EOF},
	}}, small, nil)
	for _, want := range []string{"", "line ping", "", "", "resp PING", ""} {
		req, err := r.Next()
		switch {
		case want == "" && (!errors.Is(err, os.ErrDeadlineExceeded) || r.Midway()):
			t.Fatalf("Next: %v, Midway: %v", err, r.Midway())
		case want != "" && (err != nil || describe(req) != want):
			t.Fatalf("Next: %v, want %s", err, want)
		}
		r.Release()
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// TestBreakInsideRequest checks that no byte after a break in a request, even in a discarded one, is decoded as a
// request.
func TestBreakInsideRequest(t *testing.T) {
	for name, head := range map[string]string{
		"line":                     "put a",
		"line of refused size":     strings.Repeat("x", 25),
		"array header":             "*1",
		"bulk header":              "*1\r\n$4\r",
		"bulk":                     "*1\r\n$4\r\nPI",
		"bulk CRLF":                "*1\r\n$4\r\nPING\r",
		"between arguments":        "*2\r\n$4\r\nPING\r\n",
		"refused value":            "*1\r\n$99\r\nping",
		"before a refused value":   "*1\r\n$99\r\n",
		"behind a refused value":   "*2\r\n$12\r\nquitquitquit\r\n",
		"CRLF of a refused value":  "*2\r\n$12\r\nquitquitquit\r",
		"too many arguments":       "*9\r\n",
		"too many arguments, half": "*9\r\n$4\r\nquit\r\n",
	} {
		for _, end := range []struct{ is, want error }{
			{os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
			{io.EOF, io.ErrUnexpectedEOF},
			{io.ErrClosedPipe, io.ErrClosedPipe},
			{nil, io.ErrNoProgress},
		} {
			t.Run(fmt.Sprintf("%s/%v", name, end.is), func(t *testing.T) {
				// The first request makes sure that positions in the buffer are not all 0.
				r := NewReader(&script{t, []step{{bytes: "ping\r\n" + head}, {err: end.is}}}, small, puts(small))
				if _, err := r.Next(); err != nil || r.Midway() {
					t.Fatalf("the first request: %v, Midway: %v", err, r.Midway())
				}
				if _, err := r.Next(); err != end.want || !r.Midway() {
					t.Fatalf("Next: %v (want %v), Midway: %v", err, end.want, r.Midway())
				}
				req, err := r.Next()
				var refused *Error
				if !errors.As(err, &refused) || !refused.Fatal || req != nil {
					t.Errorf("Next once more: %v, %v", req, err)
				}
			})
		}
	}
}

func TestPeek(t *testing.T) {
	r := NewReader(strings.NewReader("\x16*1\r\nping\r\n"), small, nil)
	for range 2 {
		if b, err := r.Peek(); b != 0x16 || err != nil {
			t.Fatalf("Peek: %q, %v", b, err)
		}
	}
	if got, want := transcribe(r), []string{"line \x16*1", "line ping", "EOF"}; !slices.Equal(got, want) {
		t.Errorf("after Peek: %q, want %q", got, want)
	}
	if _, err := r.Peek(); err != io.EOF {
		t.Errorf("Peek at the end: %v", err)
	}
}

func TestRelease(t *testing.T) {
	r := NewReader(&script{t, []step{{bytes: "ping\r\nget a\r\n"}, timeout, {bytes: "get b\r\n"}}}, small, nil)
	next := func(want string) {
		t.Helper()
		req, err := r.Next()
		if err != nil || describe(req) != want {
			t.Fatalf("Next: %v, want %s", err, want)
		}
	}
	released := func(want bool) {
		t.Helper()
		if got := r.Release(); got != want {
			t.Fatalf("Release: %v, want %v", got, want)
		}
	}
	released(false) // no byte has arrived
	next("line ping")
	released(false) // get a is in the buffer
	next("line get [a]")
	if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Next: %v", err)
	}
	released(true)
	released(false)
	next("line get [b]")
}

// TestNothingIsKept checks that the views of a request end with it. A view kept for later would keep a large buffer,
// or show bytes of another connection.
func TestNothingIsKept(t *testing.T) {
	limits := DefaultLimits()
	many := slices.Repeat([]string{"a"}, limits.Args)
	for name, input := range map[string]string{
		"line": "put a " + strings.Repeat("x", limits.Value) + "\r\n",
		"resp": string(AppendRequest(nil, "put", "a", strings.Repeat("x", limits.Value))),
		"many": string(AppendRequest(nil, many...)),
	} {
		for _, then := range []string{"", "g"} {
			t.Run(name+"/"+then, func(t *testing.T) {
				r := NewReader(&script{t, []step{{bytes: input + then}, timeout}}, limits, puts(limits))
				req, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				req.Args(3)
				req.Args(1)
				if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Next: %v", err)
				}
				if len(r.buf) > keepMax {
					t.Errorf("a buffer of %d bytes holds %d", len(r.buf), len(then))
				}
				r.Release()
				if then == "" && (r.buf != nil || cap(r.spans)+cap(r.req.args) > 2*keepArgs) {
					t.Errorf("after Release: buffer %d, spans %d, args %d", len(r.buf), cap(r.spans), cap(r.req.args))
				}
				if r.req.Name != nil || r.req.rest != nil {
					t.Error("the name or the rest is kept")
				}
				for i, arg := range r.req.args[:cap(r.req.args)] {
					if arg != nil {
						t.Fatalf("argument %d is kept", i)
					}
				}
			})
		}
	}
}

// TestViewsAreClipped checks that an append to a view does not overwrite the next view.
func TestViewsAreClipped(t *testing.T) {
	for _, input := range []string{"put a b\r\nping\r\n", "*3\r\n$3\r\nput\r\n$1\r\na\r\n$1\r\nb\r\nping\r\n"} {
		r := NewReader(strings.NewReader(input), small, nil)
		req, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		before := describe(req)
		for _, view := range append(slices.Clone(req.Args(2)), req.Name) {
			_ = append(view, "!!!!"...)
		}
		if after := describe(req); after != before {
			t.Errorf("%q became %q", before, after)
		}
		if got := transcribe(r); !slices.Equal(got, []string{"line ping", "EOF"}) {
			t.Errorf("the following request became %q", got)
		}
	}
}
