package wire

import "bytes"

// Framing tells how a request stands on the wire, and so how its reply will.
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

// Request is one command as it came. All its slices are views of the reader's buffer and die with the next call of Next.
type Request struct {
	Framing Framing
	Name    []byte

	args    [][]byte // RESP: what follows the name; Line: filled by Args
	rest    []byte   // Line: what follows the name and one space
	hasRest bool     // Line: whether there was a space
}

// Args returns the arguments after the name. A line is split at single spaces into at most most arguments, the last of which is taken
// verbatim to the end of the line; for a command that takes none, whatever follows is one argument too many. RESP arguments are
// as they came, however many.
func (q *Request) Args(most int) [][]byte {
	if q.Framing == RESP {
		return q.args
	}
	clear(q.args)
	q.args = q.args[:0]
	if !q.hasRest {
		return q.args
	}
	rest := q.rest
	for len(q.args) < most-1 {
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

// clear lets go of all that the request is a view of, and keeps the room for its arguments.
func (q *Request) clear() {
	clear(q.args)
	*q = Request{args: q.args[:0]}
}

// cutSpace is bytes.Cut at the first space; whoever appends to what stands before it gets a copy.
func cutSpace(b []byte) (before, after []byte, found bool) {
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return b, nil, false
	}
	return b[:i:i], b[i+1:], true
}

// AppendRequest appends a request in RESP framing: what a client sends.
func AppendRequest[T string | []byte](dst []byte, args ...T) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, arg := range args {
		dst = appendHeader(dst, '$', len(arg))
		dst = append(dst, arg...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
