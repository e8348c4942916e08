package wire

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestRESP(t *testing.T) {
	bad, ping := []string{"resp fatal PROTOCOL"}, "*1\r\n$4\r\nPING\r\n"
	for _, test := range []readingTest{
		{"one", ping, []string{"resp PING", "EOF"}},
		{"binary", "*3\r\n$3\r\nput\r\n$2\r\n\r\n\r\n$3\r\n\x00 |\r\n", []string{"resp put [\r\n] [\x00 |]", "EOF"}},
		{"empty strings", "*2\r\n$0\r\n\r\n$0\r\n\r\n", []string{"resp  []", "EOF"}},
		{"leading zeros", "*01\r\n$004\r\nPING\r\n", []string{"resp PING", "EOF"}},
		{"as many leading zeros as fit", "*" + strings.Repeat("0", 22) + "1\r\n$4\r\nPING\r\n",
			[]string{"resp PING", "EOF"}},
		{"more leading zeros", "*" + strings.Repeat("0", 23) + "1\r\n$4\r\nPING\r\n", bad},
		{"as large as may be", "*3\r\n$3\r\nput\r\n$3\r\nabc\r\n$10\r\n0123456789\r\n",
			[]string{"resp put [abc] [0123456789]", "EOF"}},
		{"four arguments", "*4\r\n" + strings.Repeat("$1\r\na\r\n", 4), []string{"resp a [a] [a] [a]", "EOF"}},

		{"empty array", "*0\r\n" + ping, []string{"resp PROTOCOL", "resp PING", "EOF"}},
		{"minus zero", "*-0\r\n" + ping, []string{"resp PROTOCOL", "resp PING", "EOF"}},
		{"null array", "*-1\r\n" + ping, bad},
		{"negative count", "*-2147483648\r\n", bad},
		{"no count", "*\r\n", bad},
		{"no digits", "*-\r\n", bad},
		{"plus", "*+1\r\n", bad},
		{"no number", "*x\r\n", bad},
		{"space", "* 1\r\n", bad},
		{"hexadecimal", "*0x1\r\n", bad},
		{"no CR", "*1\n$4\r\nPING\r\n", bad},
		{"no LF", "*1\r$4\r\nPING\r\n", bad},
		{"two CRs", "*1\r\r\n", bad},
		{"no end", "*" + strings.Repeat("1", 100), bad},
		{"a number beyond 64 bits", "*99999999999999999999999\r\n", []string{"resp fatal TOOLARGE"}},
		{"a negative number beyond 64 bits", "*-9999999999999999999999\r\n", bad},
		{"not a bulk string", "*1\r\n:4\r\n", bad},
		{"a line", "*1\r\nping\r\n", bad},
		{"an array in an array", "*1\r\n*1\r\n$4\r\nPING\r\n", bad},
		{"null bulk string", "*1\r\n$-1\r\n", bad},
		{"no length", "*1\r\n$\r\n", bad},
		{"no CRLF behind", "*1\r\n$4\r\nPINGxx", bad},
		{"no LF behind", "*1\r\n$4\r\nPING\rx", bad},
		{"no CRLF behind an empty string", "*1\r\n$0\r\n$0\r\n", bad},
		{"longer than declared", "*1\r\n$3\r\nPING\r\n", bad},

		{"too large a value", "*2\r\n$3\r\nget\r\n$11\r\n01234567890\r\n" + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"too large a name", "*2\r\n$11\r\n01234567890\r\n$1\r\na\r\n" + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"far too large a value", "*2\r\n$9999\r\n" + strings.Repeat("*", 9999) + "\r\n$1\r\na\r\n" + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"too large a request", "*3\r\n$3\r\nput\r\n$4\r\nabcd\r\n$10\r\n0123456789\r\n" + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"too many arguments", "*5\r\n" + strings.Repeat("$1\r\na\r\n", 5) + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"far too many arguments", "*5000\r\n" + strings.Repeat("$1\r\na\r\n", 5000) + ping,
			[]string{"resp TOOLARGE", "resp PING", "EOF"}},
		{"refused twice", strings.Repeat("*1\r\n$11\r\n01234567890\r\n", 2) + ping,
			[]string{"resp TOOLARGE", "resp TOOLARGE", "resp PING", "EOF"}},
		{"a negative length among too many", "*5\r\n$-1\r\n", bad},
		{"a line among too many", "*5\r\n$1\r\na\r\nping\r\n", bad},
		{"no CRLF behind the discarded part", "*1\r\n$11\r\n0123456789012\r\n", bad},
		{"a length of 2 GB", "*1\r\n$2000000000\r\nx", []string{"resp fatal TOOLARGE"}},
		{"a length beyond 64 bits", "*1\r\n$99999999999999999999999\r\nx", []string{"resp fatal TOOLARGE"}},
		{"a length of 2 GB among too many", "*5\r\n$1\r\na\r\n$2000000000\r\nx", []string{"resp fatal TOOLARGE"}},

		{"end in a header", ping + "*", []string{"resp PING", "unexpected EOF"}},
		{"end behind a header", "*1\r\n", []string{"unexpected EOF"}},
		{"end in a length", "*1\r\n$4", []string{"unexpected EOF"}},
		{"end in a string", "*1\r\n$4\r\nPI", []string{"unexpected EOF"}},
		{"end before CRLF", "*1\r\n$4\r\nPING", []string{"unexpected EOF"}},
		{"end in CRLF", "*1\r\n$4\r\nPING\r", []string{"unexpected EOF"}},
		{"end between arguments", "*2\r\n$4\r\nPING\r\n", []string{"unexpected EOF"}},
		{"end in the discarded part", "*1\r\n$99\r\nPING", []string{"unexpected EOF"}},
		{"end between the discarded part", "*5\r\n$1\r\na\r\n", []string{"unexpected EOF"}},
	} {
		test.run(t, small)
	}
}

// TestRESPSkipBound checks that a request of more than skipMax bytes is refused as soon as its size is known. No byte
// after that is read.
func TestRESPSkipBound(t *testing.T) {
	million := "$1000000\r\n" + strings.Repeat("*", 1000000) + "\r\n"
	for name, test := range map[string]struct {
		head string
		data io.Reader
		last string
		want []string
	}{
		"value":     {"*1\r\n$67108864\r\n", nil, "", []string{"resp fatal TOOLARGE"}},
		"arguments": {"*20000000\r\n", nil, "", []string{"resp fatal TOOLARGE"}},
		"sum":       {"*2051\r\n", repeat(million, 67), "$1000000\r\n", []string{"resp fatal TOOLARGE"}},
		"below": {"*2051\r\n", repeat(million, 67), strings.Repeat("$1\r\na\r\n", 1984) + "ping\r\n",
			[]string{"resp TOOLARGE", "line ping"}},
	} {
		t.Run(name, func(t *testing.T) {
			parts := []io.Reader{strings.NewReader(test.head)}
			if test.data != nil {
				parts = append(parts, test.data)
			}
			over := errors.New("over")
			parts = append(parts, strings.NewReader(test.last), &script{t, []step{{err: over}}})
			if slices.Contains(test.want, "resp fatal TOOLARGE") {
				parts[len(parts)-1] = &script{t: t} // must not be read
			} else {
				test.want = append(test.want, "over")
			}
			if got := transcribe(NewReader(io.MultiReader(parts...), DefaultLimits(), nil)); !slices.Equal(got,
				test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func repeat(s string, times int) io.Reader {
	parts := make([]io.Reader, times)
	for i := range parts {
		parts[i] = strings.NewReader(s)
	}
	return io.MultiReader(parts...)
}

// bounded fails the test when the buffer of its reader exceeds the limit.
type bounded struct {
	t   *testing.T
	src io.Reader
	r   *Reader
}

func (b *bounded) Read(p []byte) (int, error) {
	b.check()
	return b.src.Read(p)
}

func (b *bounded) check() {
	if most := b.r.limits.memory() + bufferSize; len(b.r.buf) > most {
		b.t.Fatalf("the buffer has %d bytes (allowed: %d)", len(b.r.buf), most)
	}
}

func readBounded(t *testing.T, src io.Reader, limits Limits) *Reader {
	b := &bounded{t: t, src: src}
	b.r = NewReader(b, limits, puts(limits))
	return b.r
}

func TestMemoryIsBounded(t *testing.T) {
	limits := Limits{Line: 8 << 10, Value: 16 << 10, Request: 32 << 10, Args: 16}
	value := strings.Repeat("v", limits.Value)
	zeros := strings.Repeat("0", headerMax-6)
	for name, unit := range map[string]string{
		"endless line":    strings.Repeat("x", 100000),
		"endless payload": "put " + strings.Repeat("x", 100000),
		"largest line":    "get " + strings.Repeat("x", limits.Line-4) + "\r\n",
		"largest payload": "put " + strings.Repeat("x", limits.Line+limits.Value-4) + "\r\n",
		"largest request": "*3\r\n$0\r\n\r\n$16384\r\n" + value + "\r\n$16384\r\n" + value + "\r\n",
		"largest headers": "*" + zeros + "16\r\n" + strings.Repeat("$"+zeros+"2048\r\n"+value[:2048]+"\r\n",
			16),
		"refused as a whole": "*4\r\n" + strings.Repeat("$16384\r\n"+value+"\r\n", 4),
		"refused for a value": "*2\r\n$16384\r\n" + value + "\r\n$100000\r\n" + strings.Repeat("v", 100000) +
			"\r\n",
		"refused for its count":   "*17\r\n" + strings.Repeat("$16384\r\n"+value+"\r\n", 17),
		"declared and never sent": "*16\r\n$16384\r\n",
		"broken":                  "*16\r\n$16384\r\n" + value + "x",
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 1000, 0} {
				transcribe(readBounded(t, &chunks{strings.Repeat(unit, 3), always(size)}, limits))
			}
		})
	}
}

// TestMemoryCoversTheLargestRequest checks that the largest accepted requests need no more than memory returns.
func TestMemoryCoversTheLargestRequest(t *testing.T) {
	limits := Limits{Line: 10 << 10, Value: 8 << 10, Request: 16 << 10, Args: 1024}
	zeros := strings.Repeat("0", headerMax-1-4)
	resp := "*" + zeros + "1024\r\n" + strings.Repeat("$"+zeros+"0016\r\n"+value2K[:16]+"\r\n", 1024)
	line := strings.Repeat("x", limits.Line+limits.Request) + "\r\n"
	for _, input := range []string{resp, line} {
		r := NewReader(strings.NewReader(input), limits, func([]byte) int { return limits.Request })
		if _, err := r.Next(); err != nil || len(input) > limits.memory() {
			t.Errorf("%.40q…, %d bytes (at most %d): %v", input, len(input), limits.memory(), err)
		}
	}
}

// TestDeclaredLengthAllocatesNothing checks that a declared length allocates no memory, since it costs a client
// nothing.
func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	for _, input := range []string{"*1\r\n$2000000000\r\n", "*1024\r\n$1048576\r\n", "*2000000000\r\n",
		"*1\r\n$99999999999999999999\r\n"} {
		r := NewReader(strings.NewReader(input), DefaultLimits(), nil)
		var err error
		if allocated := allocates(func() { _, err = r.Next() }); err == nil || len(r.buf) > bufferSize ||
			allocated > 1<<20 {
			t.Errorf("%q: %v, buffer %d, allocated %d bytes", input, err, len(r.buf), allocated)
		}
	}
}

// allocates returns the number of bytes that f, and any goroutine beside it, allocates.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestAppendRequest(t *testing.T) {
	got := AppendRequest([]byte("x"), "put", "", "a\r\n")
	if want := "x*3\r\n$3\r\nput\r\n$0\r\n\r\n$3\r\na\r\n\r\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := AppendRequest(nil, []byte("a")); !bytes.Equal(got, AppendRequest(nil, "a")) {
		t.Errorf("%q", got)
	}
}
