package wire

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// parsePHP returns the elements that ParsePHPArray puts, as key=value.
func parsePHP(input string) ([]string, error) {
	var got []string
	err := ParsePHPArray([]byte(input), func(key, value []byte) error {
		got = append(got, fmt.Sprintf("%s=%s", key, value))
		return nil
	})
	return got, err
}

// TestParsePHPArray has expectations that were compared with unserialize and (string) of PHP 8.2.
func TestParsePHPArray(t *testing.T) {
	for _, test := range []struct {
		input string
		want  []string
	}{
		{`a:0:{}`, nil},
		{`a:1:{s:1:"a";s:1:"b";}`, []string{"a=b"}},
		{`a:2:{s:1:"a";s:0:"";s:0:"";s:1:"b";}`, []string{"a=", "=b"}},
		{"a:1:{s:1:\"a\";s:7:\"\";}\r\n\x00\xff\";}", []string{"a=\";}\r\n\x00\xff"}},
		{`a:1:{s:9:"s:1:"a";}";s:1:";";}`, []string{`s:1:"a";}=;`}},
		{`a:2:{i:0;s:1:"a";i:-5;s:1:"b";}`, []string{"0=a", "-5=b"}},
		{`a:01:{i:007;s:01:"a";}`, []string{"007=a"}},

		// A caller that puts them in turn keeps the last one, as PHP does.
		{`a:3:{s:1:"a";i:1;s:1:"5";i:2;i:5;i:3;}`, []string{"a=1", "5=2", "5=3"}},
		{`a:2:{s:1:"a";i:1;s:1:"a";i:2;}`, []string{"a=1", "a=2"}},

		{`a:1:{i:0;N;}`, []string{"0="}},
		{`a:2:{i:0;b:0;i:1;b:1;}`, []string{"0=", "1=1"}},
		{`a:1:{i:0;i:-9223372036854775808;}`, []string{"0=-9223372036854775808"}},
		{`a:1:{i:0;i:+7;}`, []string{"0=+7"}},
		{`a:1:{i:0;d:-0;}`, []string{"0=-0"}},
		{`a:1:{i:0;d:0.1;}`, []string{"0=0.1"}},
		{`a:1:{i:0;d:0.10000000000000001;}`, []string{"0=0.10000000000000001"}}, // serialize_precision=17
		{`a:1:{i:0;d:1.25e-10;}`, []string{"0=1.25e-10"}},
		{`a:1:{i:0;d:1.0E+100;}`, []string{"0=1.0E+100"}},
		{`a:3:{i:0;d:INF;i:1;d:-INF;i:2;d:NAN;}`, []string{"0=INF", "1=-INF", "2=NAN"}},
	} {
		if got, err := parsePHP(test.input); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, %v; want %q", test.input, got, err, test.want)
		}
	}
}

// TestParsePHPArrayLatin1 checks arrays of the client of HTTP_SessionServer, which sends
// utf8_encode(serialize($array)). A length of n bytes before the encoding is n characters afterwards.
func TestParsePHPArrayLatin1(t *testing.T) {
	for _, test := range []struct {
		name, input string
		want        []string
	}{
		{"Latin-1", "a:1:{s:1:\"ä\";s:2:\"öß\";}", []string{"ä=öß"}},
		{"UTF-8 encoded once more", "a:1:{s:1:\"a\";s:2:\"Ã¤\";}", []string{"a=Ã¤"}},
		{"bytes 128 to 159", "a:1:{s:1:\"a\";s:2:\"\u0080\u009f\";}", []string{"a=\u0080\u009f"}},
		{"ASCII and Latin-1", "a:2:{s:1:\"a\";s:3:\"abc\";s:1:\"b\";s:3:\"äbc\";}", []string{"a=abc", "b=äbc"}},
		{"plain UTF-8", "a:1:{s:2:\"ä\";s:4:\"öß\";}", []string{"ä=öß"}},
		// In characters this would be a=ääääääää";s:15:" and q=";s:1:"x, which is as well-formed.
		{"bytes win where both readings fit", `a:2:{s:1:"a";s:16:"ääääääää";s:15:"";s:1:"q";s:8:"";s:1:"x";}`,
			[]string{"a=ääääääää", `";s:1:"q";s:8:"=x`}},
	} {
		if got, err := parsePHP(test.input); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q: %q, %v; want %q", test.name, test.input, got, err, test.want)
		}
	}
}

func TestParsePHPArrayRefused(t *testing.T) {
	for _, test := range []struct {
		name, input string
		offset      int
	}{
		{"nothing", ``, 0},
		{"null", `N;`, 0},
		{"string", `s:1:"a";`, 0},
		{"object", `O:8:"stdClass":0:{}`, 0},
		{"custom object", `C:1:"A":0:{}`, 0},
		{"object inside", `a:1:{i:0;O:8:"stdClass":0:{}}`, 9},
		{"custom object inside", `a:1:{i:0;C:1:"A":0:{}}`, 9},
		{"enum inside", `a:1:{i:0;E:3:"A:B";}`, 9},
		{"nested array", `a:1:{i:0;a:0:{}}`, 9},
		{"reference", `a:2:{i:0;i:1;i:1;R:2;}`, 17},
		{"object reference", `a:2:{i:0;i:1;i:1;r:1;}`, 17},
		{"escaped string", `a:1:{i:0;S:1:"\61";}`, 9},
		{"unknown type", `a:1:{i:0;x:1;}`, 9},
		{"key that is null", `a:1:{N;i:1;}`, 5},
		{"key that is a float", `a:1:{d:1;i:1;}`, 5},
		{"key that is a boolean", `a:1:{b:1;i:1;}`, 5},
		{"string too short", `a:1:{i:0;s:1:"ab";}`, 15},
		{"string too long", `a:1:{i:0;s:3:"ab";}`, 17},
		{"string far too long", `a:1:{i:0;s:999999999:"ab";}`, 22},
		{"negative length", `a:1:{i:0;s:-1:"a";}`, 11},
		{"signed length", `a:1:{i:0;s:+1:"a";}`, 11},
		{"length of ten digits", `a:1:{i:0;s:0000000001:"a";}`, 11},
		{"huge length", `a:1:{i:0;s:99999999999999999999:"a";}`, 11},
		{"no length", `a:1:{i:0;s::"a";}`, 11},
		{"no quote", `a:1:{i:0;s:1:a;}`, 13},
		{"no closing quote", `a:1:{i:0;s:1:"a;}`, 15},
		{"no semicolon", `a:1:{i:0;s:1:"a"}`, 15},
		{"negative count", `a:-1:{}`, 2},
		{"signed count", `a:+1:{i:0;N;}`, 2},
		{"no count", `a::{}`, 2},
		{"count of letters", `a:x:{}`, 2},
		{"count without end", `a:1`, 2},
		{"huge count", `a:4294967296:{}`, 2},
		{"more elements than declared", `a:1:{i:0;N;i:1;N;}`, 11},
		{"fewer elements than declared", `a:2:{i:0;N;}`, 11},
		{"far fewer elements than declared", `a:999999999:{}`, 13},
		{"key without value", `a:1:{i:0;}`, 9},
		{"no brace", `a:1:i:0;N;`, 4},
		{"no closing brace", `a:1:{i:0;N;`, 11},
		{"end inside", `a:1:{i:0;`, 9},
		{"trailing semicolon", `a:1:{i:0;N;};`, 12},
		{"trailing line end", "a:0:{}\n", 6},
		{"leading space", ` a:0:{}`, 0},
		{"integer without digits", `a:1:{i:0;i:;}`, 11},
		{"integer too large", `a:1:{i:0;i:9223372036854775808;}`, 11},
		{"integer in hexadecimal", `a:1:{i:0;i:0x1;}`, 11},
		{"integer with a point", `a:1:{i:0;i:1.0;}`, 11},
		{"integer without end", `a:1:{i:0;i:1}`, 11},
		{"boolean 2", `a:1:{i:0;b:2;}`, 11},
		{"boolean in words", `a:1:{i:0;b:true;}`, 11},
		{"boolean 00", `a:1:{i:0;b:00;}`, 11},
		{"boolean without value", `a:1:{i:0;b:;}`, 11},
		{"float without digits", `a:1:{i:0;d:.;}`, 11},
		{"float without value", `a:1:{i:0;d:;}`, 11},
		{"float without exponent", `a:1:{i:0;d:1e;}`, 11},
		{"float in hexadecimal", `a:1:{i:0;d:0x1p4;}`, 11},
		{"float with underscores", `a:1:{i:0;d:1_000;}`, 11},
		{"float that is too large", `a:1:{i:0;d:1e400;}`, 11},
		{"inf", `a:1:{i:0;d:inf;}`, 11},
		{"+INF", `a:1:{i:0;d:+INF;}`, 11},
		{"Infinity", `a:1:{i:0;d:Infinity;}`, 11},
		{"null with a value", `a:1:{i:0;N:1;}`, 9},
		{"utf8_encode and too short", "a:1:{i:0;s:1:\"äö\";}", 15},
		{"not Latin-1", "a:1:{i:0;s:1:\"€\";}", 15},
	} {
		got, err := parsePHP(test.input)
		var refused *PHPError
		if !errors.As(err, &refused) || refused.Offset != test.offset || len(got) > 0 {
			t.Errorf("%s: %q: %q, %v; want none, and an error at byte %d", test.name, test.input, got, err,
				test.offset+1)
		} else if !LineSafe([]byte(err.Error())) {
			t.Errorf("%s: %q is not one line", test.name, err)
		}
	}
}

func TestParsePHPArrayStopsWhenPutFails(t *testing.T) {
	full, calls := errors.New("full"), 0
	err := ParsePHPArray([]byte(`a:2:{i:0;N;i:1;N;}`), func(_, _ []byte) error { calls++; return full })
	if err != full || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestAppendPHPArray(t *testing.T) {
	n, pair := pairs("a", "", "ä", "\";}\r\n\x00")
	got := string(AppendPHPArray([]byte("ok "), n, pair))
	if want := "ok a:2:{s:1:\"a\";s:0:\"\";s:2:\"ä\";s:6:\"\";}\r\n\x00\";}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
