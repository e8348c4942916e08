package wire

import (
	"bytes"
	"math"
	"strconv"
)

// readRESP reads a request in RESP framing: *<count>, then count times $<length> and as many bytes, each part ended
// by CRLF. A malformed request is fatal, since the beginning of the next one is unknown. A request that is too large
// is skipped.
func (r *Reader) readRESP() (*Request, error) {
	count, p, err := r.header(0, '*')
	if err != nil {
		return nil, err
	}
	if count < 1 {
		if count == 0 {
			r.next = r.start + p
			return nil, Errorf(Protocol, "empty array; send at least the name of a command")
		}
		return nil, fatalf(Protocol, "invalid array length %d", count)
	}
	if count > r.limits.Args {
		return nil, r.skipArgs(p, count, Errorf(TooLarge, "a request has at most %d arguments", r.limits.Args))
	}
	r.spans = r.spans[:0]
	total := 0
	for i := range count {
		length, after, err := r.header(p, '$')
		if err != nil {
			return nil, r.skipRefused(p, count-i, err)
		}
		if length < 0 {
			return nil, fatalf(Protocol, "invalid bulk string length %d", length)
		}
		if length > r.limits.Value {
			return nil, r.skipArgs(p, count-i, Errorf(TooLarge, "a value has at most %d bytes", r.limits.Value))
		}
		if total += length; total > r.limits.Request {
			return nil, r.skipArgs(p, count-i, Errorf(TooLarge, "a request has at most %d bytes", r.limits.Request))
		}
		begin := p
		p = after + length + 2
		if err := r.need(p); err != nil {
			return nil, r.skipRefused(begin, count-i, err)
		}
		if !r.crlf(p - 2) {
			return nil, fatalf(Protocol, "bulk string of %d bytes is not followed by CRLF", length)
		}
		r.spans = append(r.spans, span{after, after + length})
	}
	r.req.Name = r.view(r.spans[0])
	for _, s := range r.spans[1:] {
		r.req.args = append(r.req.args, r.view(s))
	}
	r.next = r.start + p
	return &r.req, nil
}

// skipRefused skips the remaining arguments if err is a refusal by room. It returns any other error unchanged.
func (r *Reader) skipRefused(p, count int, err error) error {
	if refused, ok := err.(*Error); ok && !refused.Fatal {
		return r.skipArgs(p, count, refused)
	}
	return err
}

func (r *Reader) view(s span) []byte { return r.buf[r.start+s.from : r.start+s.to : r.start+s.to] }

func (r *Reader) crlf(p int) bool {
	return r.buf[r.start+p] == '\r' && r.buf[r.start+p+1] == '\n'
}

// header reads "<kind><number>CRLF" at p, relative to start, and returns the number and the position behind it.
func (r *Reader) header(p int, kind byte) (n, after int, err error) {
	if err := r.need(p + 1); err != nil {
		return 0, 0, err
	}
	if got := r.buf[r.start+p]; got != kind {
		return 0, 0, fatalf(Protocol, "expected %q and a number, got %q", kind, got)
	}
	for end := p + 1; ; {
		held := r.buf[r.start:r.end]
		if i := bytes.IndexByte(held[end:], '\n'); i >= 0 {
			end += i
			number, ok := parseNumber(held[p+1 : end])
			if !ok {
				return 0, 0, fatalf(Protocol, "expected a number and CRLF after %q", kind)
			}
			return number, end + 1, nil
		}
		end = len(held)
		if end-(p+1) > headerMax {
			return 0, 0, fatalf(Protocol, "expected a number and CRLF after %q", kind)
		}
		if err := r.need(end + 1); err != nil {
			return 0, 0, err
		}
	}
}

// parseNumber returns the decimal number in b, which must end in CR. A number too large for any limit is returned as
// math.MaxInt32.
func parseNumber(b []byte) (int, bool) {
	if len(b) < 2 || len(b) > headerMax || b[len(b)-1] != '\r' {
		return 0, false
	}
	b = b[:len(b)-1]
	negative := b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), math.MaxInt32)
	}
	if negative {
		n = -n
	}
	return int(n), true
}

// skipArgs discards the count arguments that begin at p, and returns refusal. The refusal becomes fatal if they are
// larger than skipMax.
func (r *Reader) skipArgs(p, count int, refusal *Error) error {
	if count > skipMax/len("$0\r\n\r\n") {
		refusal.Fatal = true
		return refusal
	}
	r.drop(p)
	for skipped := p; count > 0; count-- {
		length, after, err := r.header(0, '$')
		if err != nil {
			return err
		}
		if length < 0 {
			return fatalf(Protocol, "invalid bulk string length %d", length)
		}
		if skipped += min(length, skipMax) + after + 2; skipped > skipMax {
			refusal.Fatal = true
			return refusal
		}
		if err := r.skip(after + length); err != nil {
			return err
		}
		if err := r.need(2); err != nil {
			return err
		}
		if !r.crlf(0) {
			return fatalf(Protocol, "bulk string of %d bytes is not followed by CRLF", length)
		}
		r.drop(2)
	}
	return refusal
}

func appendHeader(dst []byte, kind byte, n int) []byte {
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}
