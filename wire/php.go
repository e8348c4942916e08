package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// PHP's serialize() format, as far as get_all and put_all of HTTP_SessionServer need it: one array of scalars.
// Objects, references and nested arrays are refused before any value is created.

// PHPError is the position and reason for which ParsePHPArray refuses a text. Its message is one line and fit for a
// client.
type PHPError struct {
	Offset  int // of the first invalid byte
	Problem string
}

func (e *PHPError) Error() string {
	return fmt.Sprintf("not a serialized PHP array of scalars: byte %d: %s", e.Offset+1, e.Problem)
}

// AppendPHPArray appends a serialized array of n strings to dst.
func AppendPHPArray(dst []byte, n int, pair func(i int) (key, value []byte)) []byte {
	dst = appendPHPHead(dst, n)
	for i := range n {
		key, value := pair(i)
		dst = appendPHPString(dst, key)
		dst = appendPHPString(dst, value)
	}
	return append(dst, '}')
}

// appendPHPHead begins an array of n strings, which } ends.
func appendPHPHead(dst []byte, n int) []byte {
	dst = append(dst, "a:"...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, ":{"...)
}

func appendPHPString(dst, s []byte) []byte {
	dst = appendPHPLength(dst, len(s))
	dst = append(dst, s...)
	return append(dst, phpStringEnd...)
}

// appendPHPLength begins a string of n bytes, which phpStringEnd ends.
func appendPHPLength(dst []byte, n int) []byte {
	dst = append(dst, "s:"...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, ":\""...)
}

const phpStringEnd = "\";"

// ParsePHPArray calls put for each element of the serialized array in b, in order. Strings are views of b. A number
// becomes its text in b, true becomes 1, false and null become the empty string.
//
// The client of HTTP_SessionServer applies utf8_encode() to its arrays. The lengths in them then count Latin-1
// characters and no longer bytes. An array whose lengths do not fit as bytes is parsed with lengths in characters.
// Its strings are the bytes on the wire, which put stores for the same text.
//
// No element is put before the whole array is valid. The error is a *PHPError, or the first error of put.
func ParsePHPArray(b []byte, put func(key, value []byte) error) error {
	length := byteLength
	err := (&phpParser{b: b, length: length}).array(nil)
	if err != nil {
		length = latin1Length
		if (&phpParser{b: b, length: length}).array(nil) != nil {
			return err
		}
	}
	return (&phpParser{b: b, length: length}).array(put)
}

// byteLength returns the size in bytes of the next n units of b, which are bytes.
func byteLength(b []byte, n int) (int, bool) { return n, n <= len(b) }

// latin1Length returns the size in bytes of the next n units of b, which are characters up to U+00FF in UTF-8.
func latin1Length(b []byte, n int) (int, bool) {
	i := 0
	for range n {
		switch {
		case i < len(b) && b[i] < 0x80:
			i++
		case i+1 < len(b) && (b[i] == 0xC2 || b[i] == 0xC3) && b[i+1]&0xC0 == 0x80:
			i += 2
		default:
			return 0, false
		}
	}
	return i, true
}

type phpParser struct {
	b      []byte
	at     int
	length func(b []byte, n int) (int, bool)
}

func (p *phpParser) errorf(format string, args ...any) error {
	return &PHPError{Offset: p.at, Problem: fmt.Sprintf(format, args...)}
}

func (p *phpParser) array(put func(key, value []byte) error) error {
	if err := p.expect("a:"); err != nil {
		return err
	}
	n, err := p.count("the number of elements")
	if err != nil {
		return err
	}
	if err := p.expect("{"); err != nil {
		return err
	}
	for range n {
		key, err := p.scalar("is")
		if err != nil {
			return err
		}
		value, err := p.scalar("sidbN")
		if err != nil {
			return err
		}
		if put == nil {
			continue
		}
		if err := put(key, value); err != nil {
			return err
		}
	}
	if err := p.expect("}"); err != nil {
		return err
	}
	if p.at != len(p.b) {
		return p.errorf("expected the end")
	}
	return nil
}

// scalar reads a key or value whose type is one of kinds.
func (p *phpParser) scalar(kinds string) ([]byte, error) {
	if p.at >= len(p.b) {
		return nil, p.errorf("expected a value")
	}
	kind := p.b[p.at]
	if bytes.IndexByte([]byte(kinds), kind) < 0 {
		return nil, p.errorf("type %q is not allowed here (allowed: %s)", kind, kinds)
	}
	if kind == 'N' {
		return nil, p.expect("N;")
	}
	p.at++
	if err := p.expect(":"); err != nil {
		return nil, err
	}
	if kind == 's' {
		return p.str()
	}
	from := p.at
	text, ok := phpText(kind, string(p.until(';')))
	if !ok {
		p.at = from
		return nil, p.errorf("malformed value of type %q", kind)
	}
	return []byte(text), nil
}

func (p *phpParser) str() ([]byte, error) {
	n, err := p.count("the length of a string")
	if err != nil {
		return nil, err
	}
	if err := p.expect(`"`); err != nil {
		return nil, err
	}
	size, ok := p.length(p.b[p.at:], n)
	if !ok {
		return nil, p.errorf("a string of %d bytes does not end here", n)
	}
	s := p.b[p.at : p.at+size : p.at+size]
	p.at += size
	return s, p.expect(`";`)
}

// until returns the bytes before the next end and advances behind it. It returns nil without an end.
func (p *phpParser) until(end byte) []byte {
	i := bytes.IndexByte(p.b[p.at:], end)
	if i < 0 {
		return nil
	}
	text := p.b[p.at : p.at+i]
	p.at += i + 1
	return text
}

func (p *phpParser) expect(text string) error {
	if !bytes.HasPrefix(p.b[p.at:], []byte(text)) {
		return p.errorf("expected %q", text)
	}
	p.at += len(text)
	return nil
}

// count reads decimal digits and the colon behind them.
func (p *phpParser) count(of string) (int, error) {
	n, digits := 0, p.b[p.at:]
	for i, c := range digits {
		switch {
		case c == ':' && i > 0:
			p.at += i + 1
			return n, nil
		case c < '0', c > '9', i == 9:
			return 0, p.errorf("expected %s", of)
		}
		n = n*10 + int(c-'0')
	}
	return 0, p.errorf("expected %s", of)
}

// phpText returns the text of a serialized number or boolean. For a number it is the text in b, so no digit is lost.
// For a boolean it is the result of PHP's (string).
func phpText(kind byte, text string) (string, bool) {
	switch kind {
	case 'i':
		_, err := strconv.ParseInt(text, 10, 64)
		return text, err == nil
	case 'd':
		return text, isPHPFloat(text)
	case 'b':
		return strings.TrimPrefix(text, "0"), text == "0" || text == "1" // (string)false is empty
	}
	return "", false
}

func isPHPFloat(text string) bool {
	switch text {
	case "INF", "-INF", "NAN":
		return true
	}
	if strings.Trim(text, "0123456789+-.eE") != "" { // Go accepts more than PHP: infinity, 0x1p4, 1_000
		return false
	}
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}
