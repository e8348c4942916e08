package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	for _, test := range []readingTest{
		{"CRLF", "ping\r\n", []string{"line ping", "EOF"}},
		{"LF", "ping\nping\n", []string{"line ping", "line ping", "EOF"}},
		{"the last argument is verbatim", "put a  b c  \r\n", []string{"line put [a] [ b c  ]", "EOF"}},
		{"an empty argument in the middle", "put  b\r\n", []string{"line put [] [b]", "EOF"}},
		{"a space behind the name", "ping \r\n", []string{"line ping []", "EOF"}},
		{"a space behind an argument", "put a \r\n", []string{"line put [a] []", "EOF"}},
		{"a tab is not a separator", "get\ta\r\n", []string{"line get\ta", "EOF"}},
		{"bytes above 127", "put \xff \xc3\xa4\r\n", []string{"line put [\xff] [\xc3\xa4]", "EOF"}},
		{"empty", "\r\n\nping\r\n", []string{"line UNKNOWN", "line UNKNOWN", "line ping", "EOF"}},
		{"NUL", "put a \x00\r\nping\r\n", []string{"line BINARY", "line ping", "EOF"}},
		{"CR inside", "put a\rb\r\nping\r\n", []string{"line BINARY", "line ping", "EOF"}},
		{"two CRs", "ping\r\r\nping\r\n", []string{"line BINARY", "line ping", "EOF"}},
		{"end inside", "ping\r\npi", []string{"line ping", "unexpected EOF"}},
		{"end before LF", "ping\r", []string{"unexpected EOF"}},

		{"as long as may be", "get 4567890123456789\n", []string{"line get [4567890123456789]", "EOF"}},
		{"CR does not count", "get 4567890123456789\r\n", []string{"line get [4567890123456789]", "EOF"}},
		{"a CR too far", "get 4567890123456789\rx\r\nping\n", []string{"line TOOLARGE", "line ping", "EOF"}},
		{"a CR and a byte too far", "get 4567890123456789\rx\nping\n", []string{"line TOOLARGE", "line ping", "EOF"}},
		{"a byte too long", "get 45678901234567890\r\nping\n", []string{"line TOOLARGE", "line ping", "EOF"}},
		{"far too long", strings.Repeat("x", 20000) + "\nping\n", []string{"line TOOLARGE", "line ping", "EOF"}},
		{"too long and binary", strings.Repeat("\x00\r", 20) + "\nping\n",
			[]string{"line TOOLARGE", "line ping", "EOF"}},
		{"too long without an end", strings.Repeat("x", 30), []string{"unexpected EOF"}},
		{"payload", "put a " + strings.Repeat("x", 24) + "\r\nping\n",
			[]string{"line put [a] [" + strings.Repeat("x", 24) + "]", "line ping", "EOF"}},
		{"a byte too much payload", "put a " + strings.Repeat("x", 25) + "\r\nping\n",
			[]string{"line TOOLARGE", "line ping", "EOF"}},
		{"payload for put only", "puts " + strings.Repeat("x", 24) + "\r\nping\n",
			[]string{"line TOOLARGE", "line ping", "EOF"}},
	} {
		test.run(t, small)
	}
}

// TestLinePayload checks that put with a value of 1 MiB is accepted, with as much before the value as a line may
// have. Package session checks the size of the value itself, since this package cannot find its beginning.
func TestLinePayload(t *testing.T) {
	limits := DefaultLimits()
	line := func(value int) string { return "put key " + strings.Repeat("v", value) }
	most := limits.Line + limits.Value - len(line(0))
	for _, test := range []struct {
		value int
		want  Code
	}{{limits.Value, ""}, {most, ""}, {most + 1, TooLarge}} {
		for _, size := range []int{0, 4096, 1 << 16} {
			r := NewReader(&chunks{line(test.value) + "\r\nping\r\n", always(size)}, limits, puts(limits))
			req, err := r.Next()
			if test.want != "" {
				if !errors.Is(err, &Error{Code: test.want}) {
					t.Errorf("a value of %d bytes: %v", test.value, err)
				}
			} else if err != nil || string(req.Args(2)[1]) != strings.Repeat("v", test.value) {
				t.Errorf("a value of %d bytes: %v", test.value, err)
			}
			if got := transcribe(r); !slices.Equal(got, []string{"line ping", "EOF"}) {
				t.Errorf("after a value of %d bytes: %q", test.value, got)
			}
		}
	}
}

// TestLinePayloadIsBounded checks that a payload function cannot exceed the limit of a request.
func TestLinePayloadIsBounded(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("x", 37)+"\nping\n"), small, func([]byte) int { return 1 << 40 })
	if got := transcribe(r); !slices.Equal(got, []string{"line TOOLARGE", "line ping", "EOF"}) {
		t.Errorf("%q", got)
	}
}

// filler returns x left times, and counts the bytes that are read.
type filler struct{ left, read int }

func (f *filler) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), f.left)
	for i := range p[:n] {
		p[i] = 'x'
	}
	f.left, f.read = f.left-n, f.read+n
	return n, nil
}

func TestLineSkipBound(t *testing.T) {
	for _, test := range []struct {
		length int // with LF
		want   []string
	}{
		{skipMax, []string{"line TOOLARGE", "line ping", "EOF"}},
		{skipMax + 1, []string{"line fatal TOOLARGE"}},
		{1 << 40, []string{"line fatal TOOLARGE"}},
	} {
		src := &filler{left: test.length - 1}
		r := NewReader(io.MultiReader(src, strings.NewReader("\nping\r\n")), DefaultLimits(), nil)
		if got := transcribe(r); !slices.Equal(got, test.want) {
			t.Errorf("a line of %d bytes: %q, want %q", test.length, got, test.want)
		}
		if most := DefaultLimits().memory() + skipMax; src.read > most {
			t.Errorf("%d bytes of a line were read, more than %d", src.read, most)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, test := range []struct {
		line string
		most int
		want []string
	}{
		{"ping", 0, nil},
		{"ping", 3, nil},
		{"ping x", 0, []string{"x"}}, // one too many
		{"ping ", 0, []string{""}},
		{"put a b c", 1, []string{"a b c"}},
		{"put a b c", 2, []string{"a", "b c"}},
		{"put a b c", 3, []string{"a", "b", "c"}},
		{"put a b c", 4, []string{"a", "b", "c"}},
		{"put  a", 2, []string{"", "a"}},
		{"put a ", 2, []string{"a", ""}},
	} {
		r := NewReader(strings.NewReader(test.line+"\n"), DefaultLimits(), nil)
		req, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		req.Args(9) // a second call with another limit is allowed
		if got := fmt.Sprintf("%q", req.Args(test.most)); got != fmt.Sprintf("%q", test.want) {
			t.Errorf("%q split into at most %d: %s, want %q", test.line, test.most, got, test.want)
		}
	}
}

func TestLineSafe(t *testing.T) {
	for value, want := range map[string]struct{ value, key bool }{
		"": {true, true}, "a": {true, true}, "\xff": {true, true}, "\t": {true, true},
		"a b": {true, false}, "a|b": {true, false},
		"a\n": {}, "\ra": {}, "a\x00b": {},
	} {
		if LineSafe([]byte(value)) != want.value || LineSafeKey([]byte(value)) != want.key {
			t.Errorf("%q: LineSafe %v, LineSafeKey %v", value, !want.value, !want.key)
		}
	}
}
