package wire

import "bytes"

// Framing is the encoding of a request and of its reply.
type Framing uint8

const (
	Line Framing = iota // command arg rest-of-line, CRLF or LF
	RESP                // an array of bulk strings
)

func (f Framing) String() string {
	if f == RESP {
		return "resp"
	}
	return "line"
}

// Request is one received command. All its slices are views of the reader's buffer, valid until the next
// call of Next.
type Request struct {
	Framing Framing
	Name    []byte

	args    [][]byte // RESP: the words after the name; Line: the result of Args
	rest    []byte   // Line: the bytes after the name and one space
	hasRest bool     // Line: whether there was a space
}

// Args returns the arguments after the name. A line is split at single spaces into at most limit arguments, the last
// of which is verbatim to the end of the line. For a command without arguments the rest of the line is one argument
// too many. RESP arguments are returned as they were received, whatever their number.
func (q *Request) Args(limit int) [][]byte {
	if q.Framing == RESP {
		return q.args
	}
	clear(q.args)
	q.args = q.args[:0]
	if !q.hasRest {
		return q.args
	}
	rest := q.rest
	for len(q.args) < limit-1 {
		arg, after, found := cutSpace(rest)
		if !found {
			break
		}
		q.args = append(q.args, arg)
		rest = after
	}
	q.args = append(q.args, rest)
	return q.args
}

// clear drops all views of the request and keeps the capacity for its arguments.
func (q *Request) clear() {
	clear(q.args)
	*q = Request{args: q.args[:0]}
}

// cutSpace is bytes.Cut at the first space. The result before it is clipped, so an append to it makes a copy.
func cutSpace(b []byte) (before, after []byte, found bool) {
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return b, nil, false
	}
	return b[:i:i], b[i+1:], true
}

// AppendRequest appends a client's request in RESP framing to dst.
func AppendRequest[T string | []byte](dst []byte, args ...T) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, arg := range args {
		dst = appendHeader(dst, '$', len(arg))
		dst = append(dst, arg...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
