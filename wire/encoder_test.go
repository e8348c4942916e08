package wire

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
)

// pairs returns alternating keys and values as Map takes them.
func pairs(keysAndValues ...string) (n int, pair func(i int) (key, value []byte)) {
	return len(keysAndValues) / 2, func(i int) ([]byte, []byte) {
		return []byte(keysAndValues[2*i]), []byte(keysAndValues[2*i+1])
	}
}

func keys(names ...string) (n int, key func(i int) []byte) {
	return len(names), func(i int) []byte { return []byte(names[i]) }
}

// replyTests has every reply method of Encoder. An expectation in line framing that begins with err BINARY means that
// no line can carry the reply. An empty one means that the method is for RESP only.
var replyTests = []struct {
	name              string
	encode            func(e *Encoder)
	line, resp2, resp string
}{
	{"OK", (*Encoder).OK, "ok\r\n", "+OK\r\n", "+OK\r\n"},
	{"Status", func(e *Encoder) { e.Status("PONG") }, "ok PONG\r\n", "+PONG\r\n", "+PONG\r\n"},
	{"Text", func(e *Encoder) { e.Text("a b") }, "ok a b\r\n", "$3\r\na b\r\n", "$3\r\na b\r\n"},
	{"Text/empty", func(e *Encoder) { e.Text("") }, "ok \r\n", "$0\r\n\r\n", "$0\r\n\r\n"},
	{"Text/lines", func(e *Encoder) { e.Text("a\r\nb") }, "err BINARY", "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
	{"Value", func(e *Encoder) { e.Value([]byte(" a b ")) }, "ok  a b \r\n", "$5\r\n a b \r\n", "$5\r\n a b \r\n"},
	{"Value/empty", func(e *Encoder) { e.Value(nil) }, "ok \r\n", "$0\r\n\r\n", "$0\r\n\r\n"},
	{"Value/LF", func(e *Encoder) { e.Value([]byte("a\nb")) }, "err BINARY", "$3\r\na\nb\r\n", "$3\r\na\nb\r\n"},
	{"Value/CR", func(e *Encoder) { e.Value([]byte("\r")) }, "err BINARY", "$1\r\n\r\r\n", "$1\r\n\r\r\n"},
	{"Value/NUL", func(e *Encoder) { e.Value([]byte("\x00")) }, "err BINARY", "$1\r\n\x00\r\n", "$1\r\n\x00\r\n"},
	{"NoKey", (*Encoder).NoKey, "err NOKEY no such key\r\n", "$-1\r\n", "_\r\n"},
	{"Values", func(e *Encoder) { e.Values([][]byte{[]byte("a"), nil, {}}) }, "",
		"*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n", "*3\r\n$1\r\na\r\n_\r\n$0\r\n\r\n"},
	{"Int", func(e *Encoder) { e.Int(-5) }, "ok -5\r\n", ":-5\r\n", ":-5\r\n"},
	{"Count/0", func(e *Encoder) { e.Count(0) }, "err NOKEY no such key\r\n", ":0\r\n", ":0\r\n"},
	{"Count/1", func(e *Encoder) { e.Count(1) }, "ok\r\n", ":1\r\n", ":1\r\n"},
	{"Count/2", func(e *Encoder) { e.Count(2) }, "ok\r\n", ":2\r\n", ":2\r\n"},
	{"Keys", func(e *Encoder) { e.Keys(keys("a", "b")) },
		"ok a|b\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
	{"Keys/none", func(e *Encoder) { e.Keys(keys()) }, "ok \r\n", "*0\r\n", "*0\r\n"},
	{"Keys/space", func(e *Encoder) { e.Keys(keys("a", "b c")) },
		"err BINARY", "*2\r\n$1\r\na\r\n$3\r\nb c\r\n", "*2\r\n$1\r\na\r\n$3\r\nb c\r\n"},
	{"Keys/bar", func(e *Encoder) { e.Keys(keys("a|b")) }, "err BINARY", "*1\r\n$3\r\na|b\r\n", "*1\r\n$3\r\na|b\r\n"},
	{"Keys/LF", func(e *Encoder) { e.Keys(keys("a\n")) }, "err BINARY", "*1\r\n$2\r\na\n\r\n", "*1\r\n$2\r\na\n\r\n"},
	{"Map", func(e *Encoder) { e.Map(pairs("a", "1", "b|c d", "")) },
		`ok a:2:{s:1:"a";s:1:"1";s:5:"b|c d";s:0:"";}` + "\r\n",
		"*4\r\n$1\r\na\r\n$1\r\n1\r\n$5\r\nb|c d\r\n$0\r\n\r\n",
		"%2\r\n$1\r\na\r\n$1\r\n1\r\n$5\r\nb|c d\r\n$0\r\n\r\n"},
	{"Map/none", func(e *Encoder) { e.Map(pairs()) }, "ok a:0:{}\r\n", "*0\r\n", "%0\r\n"},
	{"Map/LF in a value", func(e *Encoder) { e.Map(pairs("a", "\n")) },
		"err BINARY", "*2\r\n$1\r\na\r\n$1\r\n\n\r\n", "%1\r\n$1\r\na\r\n$1\r\n\n\r\n"},
	{"Map/CR in a key", func(e *Encoder) { e.Map(pairs("\r", "a")) },
		"err BINARY", "*2\r\n$1\r\n\r\r\n$1\r\na\r\n", "%1\r\n$1\r\n\r\r\n$1\r\na\r\n"},
	{"Record", func(e *Encoder) { e.Record([]Field{{"keys", 1}, {"bytes", -2}}) }, "ok keys=1 bytes=-2\r\n",
		"*4\r\n$4\r\nkeys\r\n:1\r\n$5\r\nbytes\r\n:-2\r\n", "%2\r\n$4\r\nkeys\r\n:1\r\n$5\r\nbytes\r\n:-2\r\n"},
	{"Error", func(e *Encoder) { e.Error(NotFound, "no such session") },
		"err NOTFOUND no such session\r\n", "-NOTFOUND no such session\r\n", "-NOTFOUND no such session\r\n"},
	{"Error/CRLF", func(e *Encoder) { e.Error(BadArg, "a\r\nok\n") },
		"err BADARG a  ok \r\n", "-BADARG a  ok \r\n", "-BADARG a  ok \r\n"},
	{"Error/bytes", func(e *Encoder) { e.Error(BadArg, "\xff\xc3\xa4") },
		"err BADARG \xff\xc3\xa4\r\n", "-BADARG \xff\xc3\xa4\r\n", "-BADARG \xff\xc3\xa4\r\n"},
	{"Array", func(e *Encoder) { e.Array(2); e.OK(); e.Array(1); e.Int(1) },
		"", "*2\r\n+OK\r\n*1\r\n:1\r\n", "*2\r\n+OK\r\n*1\r\n:1\r\n"},
	{"OpenMap", func(e *Encoder) { e.OpenMap(1); e.Text("proto"); e.Int(3) },
		"", "*2\r\n$5\r\nproto\r\n:3\r\n", "%1\r\n$5\r\nproto\r\n:3\r\n"},
}

func TestEncoder(t *testing.T) {
	for _, test := range replyTests {
		for _, kind := range []struct {
			name    string
			framing Framing
			proto   int
			want    string
		}{{"line", Line, 2, test.line}, {"RESP2", RESP, 2, test.resp2}, {"RESP3", RESP, 3, test.resp}} {
			if kind.want == "" {
				continue
			}
			t.Run(test.name+"/"+kind.name, func(t *testing.T) {
				e := new(Encoder)
				e.SetProto(kind.proto)
				e.Begin(kind.framing)
				e.Error(NotFound, "") // an earlier reply must survive, even if this one is truncated
				before := len(e.Bytes())
				e.Begin(kind.framing)
				test.encode(e)
				got := string(e.Bytes()[before:])
				if kind.want == "err BINARY" {
					if !strings.HasPrefix(got, "err BINARY ") || strings.Count(got, "\n") != 1 ||
						e.Outcome() != Binary {
						t.Errorf("%q, outcome %q", got, e.Outcome())
					}
					return
				}
				if got != kind.want {
					t.Errorf("%q, want %q", got, kind.want)
				}
				if refused := strings.HasPrefix(got, "err ") ||
					strings.HasPrefix(got, "-"); refused != (e.Outcome() != "") {
					t.Errorf("%q has outcome %q", got, e.Outcome())
				}
				if kind.framing == RESP {
					readBack(t, got, kind.proto)
				}
			})
		}
	}
}

// readBack decodes one reply and encodes it again.
func readBack(t *testing.T, text string, proto int) {
	t.Helper()
	r := NewReplyReader(strings.NewReader(text))
	reply, err := r.Next()
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if got := appendReply(nil, reply, proto); string(got) != text {
		t.Errorf("%q is decoded and encoded as %q", text, got)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind %q: %v", text, err)
	}
}

// appendReply is the inverse of ReplyReader.
func appendReply(dst []byte, reply Reply, proto int) []byte {
	e := &Encoder{buf: dst, framing: RESP, proto: proto}
	switch reply.Kind {
	case '+':
		e.line("+", string(reply.Bytes))
	case '-':
		e.line("-", string(reply.Err.Code), " ", reply.Err.Message)
	case ':':
		e.Int(reply.Int)
	case '$':
		e.bulk(reply.Bytes)
	case '_':
		e.null()
	case '%':
		e.header('%', len(reply.Items)/2)
	default:
		e.header(reply.Kind, len(reply.Items))
	}
	for _, item := range reply.Items {
		e.buf = appendReply(e.buf, item, proto)
	}
	return e.buf
}

func TestEncoderBuffer(t *testing.T) {
	var e Encoder
	if e.Proto() != 2 {
		t.Errorf("a new encoder uses RESP%d", e.Proto())
	}
	e.Begin(RESP)
	e.Int(1)
	mark := e.Len()
	e.Int(2)
	e.Truncate(mark)
	e.Release() // no effect, since a reply is pending
	if got := string(e.Bytes()); got != ":1\r\n" {
		t.Errorf("after Truncate and Release: %q", got)
	}
	e.Reset()
	if e.Len() != 0 || cap(e.buf) == 0 {
		t.Errorf("after Reset: %d bytes, room for %d", e.Len(), cap(e.buf))
	}
	e.Release()
	if cap(e.buf) != 0 {
		t.Errorf("after Release: room for %d", cap(e.buf))
	}
	e.Value(make([]byte, keepMax))
	e.Reset()
	if cap(e.buf) != 0 {
		t.Errorf("after Reset of a large reply: room for %d", cap(e.buf))
	}
}

func TestReply(t *testing.T) {
	null := Reply{Kind: '_'}
	for _, test := range []struct {
		input string
		want  Reply
	}{
		{"+\r\n", Reply{Kind: '+'}},
		{"-ERR a b\r\n", Reply{Kind: '-', Err: &Error{Code: "ERR", Message: "a b"}}},
		{"-ERR\r\n", Reply{Kind: '-', Err: &Error{Code: "ERR"}}},
		{":-9223372036854775808\r\n", Reply{Kind: ':', Int: -1 << 63}},
		{"$0\r\n\r\n", Reply{Kind: '$', Bytes: []byte{}}},
		{"$-1\r\n", null}, {"*-1\r\n", null}, {"_\r\n", null},
		{"*0\r\n", Reply{Kind: '*', Items: []Reply{}}},
		{"~1\r\n:1\r\n", Reply{Kind: '~', Items: []Reply{{Kind: ':', Int: 1}}}},
		{"%1\r\n:1\r\n_\r\n", Reply{Kind: '%', Items: []Reply{{Kind: ':', Int: 1}, null}}},
		{"*1\r\n>1\r\n:1\r\n", Reply{Kind: '*', Items: []Reply{{Kind: '>', Items: []Reply{{Kind: ':', Int: 1}}}}}},
	} {
		got, err := NewReplyReader(strings.NewReader(test.input)).Next()
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %+v, %v; want %+v", test.input, got, err, test.want)
		}
		if got.IsNull() != (test.want.Kind == '_') {
			t.Errorf("%q: IsNull is %v", test.input, got.IsNull())
		}
	}
}

func TestReplyRefused(t *testing.T) {
	for _, test := range []struct{ input, want string }{
		{"", "EOF"},
		{"+OK", "unexpected EOF"},
		{"$3\r\nab", "unexpected EOF"},
		{"$3\r\n", "unexpected EOF"},
		{"$100000000", "unexpected EOF"},
		{"*1\r\n", "unexpected EOF"},
		{"%1\r\n:1\r\n", "unexpected EOF"},
		{"\r\n", "malformed"},
		{"+OK\n", "malformed"},
		{"$x\r\n", "malformed number"},
		{":\r\n", "malformed number"},
		{":99999999999999999999\r\n", "malformed number"},
		{"_x\r\n", "malformed"},
		{"ok\r\n", "unknown reply kind"},
		{"$-2\r\n", "length -2"},
		{"$67108865\r\n", "length 67108865"},
		{"$3\r\nabcd\r\n", "CRLF"},
		{"*-2\r\n", "-2 elements"},
		{"~-1\r\n", "-1 elements"},
		{"%-1\r\n", "-1 elements"},
		{"%-9223372036854775807\r\n", "elements"}, // twice that is 2
		{"%4611686018427387904\r\n", "elements"},
		{"*1048577\r\n", "1048577 elements"},
		{strings.Repeat("*1\r\n", 9) + ":1\r\n", "depth 8"},
		{"+" + strings.Repeat("x", 5000) + "\r\n", "buffer full"},
	} {
		got, err := NewReplyReader(strings.NewReader(test.input)).Next()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q: %+v, %v; want %q", test.input, got, err, test.want)
		}
	}
}

func TestReplyGrowsWithWhatArrives(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, src := range []io.Reader{
		bytes.NewReader(AppendRequest(nil, large)),
		&chunks{string(AppendRequest(nil, large)), always(777)},
	} {
		reply, err := NewReplyReader(src).Next()
		if err != nil || !bytes.Equal(reply.Items[0].Bytes, large) {
			t.Errorf("%d bytes are not decoded as they were encoded: %v", len(large), err)
		}
	}
	if allocated := allocates(func() {
		if _, err := NewReplyReader(strings.NewReader("$67108864\r\nabc")).Next(); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	}); allocated > 1<<20 {
		t.Errorf("a declared length allocates %d bytes", allocated)
	}
}
