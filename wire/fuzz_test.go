package wire

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// cut returns a reader that returns data in pieces of random sizes, the same sizes for the same data.
func cut(data string, most int) *chunks {
	h := fnv.New64a()
	_, _ = io.WriteString(h, data)
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	return &chunks{data, func() int { return 1 + rng.IntN(most) }}
}

// fuzzed returns a description of all that a Reader decodes from a stream, and checks its memory at every read.
func fuzzed(t *testing.T, src io.Reader, limits Limits) []string {
	r := readBounded(t, src, limits)
	var results []string
	for {
		req, err := r.Next()
		if err == nil {
			results = append(results, describe(req))
			if len(req.Name) > limits.Line+limits.Request || req.Framing == RESP && tooLarge(req, limits) {
				t.Fatalf("%q is larger than it may be", results[len(results)-1])
			}
			checkEncoded(t, req, limits)
			continue
		}
		results = append(results, fmt.Sprintf("%v %v", r.Framing(), err))
		var refused *Error
		if !errors.As(err, &refused) || refused.Fatal {
			return results
		}
	}
}

func tooLarge(req *Request, limits Limits) bool {
	total := len(req.Name)
	for _, arg := range req.Args(0) {
		if len(arg) > limits.Value {
			return true
		}
		total += len(arg)
	}
	return total > limits.Request || len(req.Args(0)) >= limits.Args
}

// checkEncoded checks that a request of either framing can be encoded in RESP and is decoded as the same request.
func checkEncoded(t *testing.T, req *Request, limits Limits) {
	args := append([][]byte{req.Name}, req.Args(2)...)
	limits.Value, limits.Args = limits.Line+limits.Request, max(limits.Args, 3)
	limits.Request = limits.Value
	r := NewReader(bytes.NewReader(AppendRequest(nil, args...)), limits, nil)
	copied, err := r.Next()
	if err != nil || !slices.EqualFunc(args, append([][]byte{copied.Name}, copied.Args(0)...), bytes.Equal) {
		t.Fatalf("%q is encoded, and decoded as %v, %v", args, copied, err)
	}
}

// FuzzReader checks that a stream is decoded as the same requests and refusals, in whatever pieces it arrives. In the
// data each ~ stands for a thousand x, so that input that fills a buffer is small to mutate and to minimize.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"ping\r\n", "put key value with spaces \r\n", "\r\n\n", "get a\x00\r\n",
		"*1\r\n$4\r\nPING\r\n", "*3\r\n$3\r\nput\r\n$1\r\na\r\n$4\r\n\r\n\r\n\r\n", "*0\r\nquit\r\n",
		"ping\r\n*2\r\n$3\r\nget\r\n$1\r\na\r\nget b\n", "*5\r\n" + strings.Repeat("$1\r\na\r\n", 5) + "ping\r\n",
		"*1\r\n$11\r\n01234567890\r\nping\r\n", "*1\r\n$-1\r\n", "*99999999999999999999999\r\n",
		"*1\r\n$2000000000\r\n",
		"put " + strings.Repeat("x", 26) + "\r\nput " + strings.Repeat("x", 27) + "\r\nping\r\n",
		"*" + strings.Repeat("0", 22) + "1\r\n$0\r\n\r\n", "~~~~~\r\nping\r\n", "*1\r\n$5000\r\n~~~~~\r\nping\r\n",
	} {
		for _, most := range []uint8{1, 8, 100} {
			f.Add(seed, most, false)
			f.Add(seed, most, true)
		}
	}
	thousand := strings.Repeat("x", 1000)
	f.Fuzz(func(t *testing.T, data string, most uint8, large bool) {
		limits := small
		if large {
			limits = Limits{Line: 5000, Value: 9000, Request: 10000, Args: 8}
		}
		if strings.Count(data, "~") > 30 {
			return // input far beyond the limits adds no case
		}
		data = strings.ReplaceAll(data, "~", thousand)
		whole := fuzzed(t, strings.NewReader(data), limits)
		if got := fuzzed(t, cut(data, max(1, int(most))), limits); !slices.Equal(got, whole) {
			t.Fatalf("%q\nas a whole:   %q\nin pieces: %q", data, whole, got)
		}
	})
}

// FuzzReply checks that replies are decoded the same in whatever pieces they arrive, and that encoding is the inverse
// of decoding.
func FuzzReply(f *testing.F) {
	for _, test := range replyTests {
		f.Add(test.resp2 + test.resp)
	}
	f.Add("*2\r\n%1\r\n+a\r\n~0\r\n>1\r\n_\r\n")
	f.Add("$67108864\r\nabc")
	f.Add("%4611686018427387905\r\n:1\r\n:2\r\n")
	f.Fuzz(func(t *testing.T, data string) {
		whole, err := readReplies(strings.NewReader(data))
		for _, most := range []int{1, 8, 100} {
			got, gotErr := readReplies(cut(data, most))
			if !reflect.DeepEqual(got, whole) || gotErr.Error() != err.Error() {
				t.Fatalf("%q\nas a whole: %+v, %v\nin pieces: %+v, %v", data, whole, err, got, gotErr)
			}
		}
		var rendered []byte
		for _, reply := range whole {
			rendered = appendReply(rendered, reply, 3)
		}
		if got, err := readReplies(bytes.NewReader(rendered)); err != io.EOF || !reflect.DeepEqual(got, whole) {
			t.Fatalf("%q\n%+v is encoded as %q, which is decoded as\n%+v, %v", data, whole, rendered, got, err)
		}
	})
}

func readReplies(src io.Reader) ([]Reply, error) {
	r := NewReplyReader(src)
	var replies []Reply
	for {
		reply, err := r.Next()
		if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
}

// FuzzEncoder checks that the output of the encoder in any version is one reply, and is decoded as the same.
func FuzzEncoder(f *testing.F) {
	f.Add("key", []byte("value"), "message")
	f.Add("a|b", []byte("a\r\nb\x00"), "two\r\nlines")
	f.Fuzz(func(t *testing.T, key string, value []byte, message string) {
		n, pair := pairs(key, string(value), "b", "")
		for _, encode := range []func(e *Encoder){
			func(e *Encoder) { e.Text(key) },
			func(e *Encoder) { e.Value(value) },
			func(e *Encoder) { e.Keys(keys(key, "b")) },
			func(e *Encoder) { e.Map(n, pair) },
			func(e *Encoder) { e.Error(BadArg, message) },
		} {
			for _, proto := range []int{2, 3} {
				e := Encoder{framing: RESP, proto: proto}
				encode(&e)
				readBack(t, string(e.Bytes()), proto)
			}
			var e Encoder
			encode(&e)
			line, found := bytes.CutSuffix(e.Bytes(), []byte("\r\n"))
			if !found || bytes.ContainsAny(line, "\r\n") || !bytes.HasPrefix(line, []byte("ok")) &&
				!bytes.HasPrefix(line, []byte("err ")) {
				t.Fatalf("%q is not one line", e.Bytes())
			}
		}
	})
}

// FuzzPHPArray checks that a valid array is serialized and parsed as the same array, and that no element of an
// invalid one is put.
func FuzzPHPArray(f *testing.F) {
	for _, seed := range []string{
		`a:0:{}`, `a:2:{s:1:"a";s:1:"b";i:0;N;}`, `a:3:{i:0;d:0.5;i:-1;b:1;i:2;i:7;}`, `a:1:{i:0;d:1.0E+25;}`,
		"a:1:{s:1:\"ä\";s:2:\"öß\";}", `a:2:{s:1:"a";s:16:"ääääääää";s:15:"";s:1:"q";s:8:"";s:1:"x";}`,
		`a:1:{i:0;a:1:{i:0;N;}}`, `O:8:"stdClass":1:{s:1:"a";i:1;}`, `a:1:{i:0;s:999999999:"a";}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parsePairs(data)
		if err != nil {
			if len(first) > 0 {
				t.Fatalf("%q: %v, but put %q", data, err, first)
			}
			// The same bytes are valid as a key and a value.
			half := len(data) / 2
			first = []string{string(data[:half]), string(data[half:])}
		}
		n, pair := pairs(first...)
		serialized := AppendPHPArray(nil, n, pair)
		if second, err := parsePairs(serialized); err != nil || !slices.Equal(first, second) {
			t.Fatalf("%q is serialized as %q and parsed as %q, %v", first, serialized, second, err)
		}
	})
}

func parsePairs(b []byte) (keysAndValues []string, err error) {
	err = ParsePHPArray(b, func(key, value []byte) error {
		keysAndValues = append(keysAndValues, string(key), string(value))
		return nil
	})
	return keysAndValues, err
}
