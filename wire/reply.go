package wire

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Reply is one decoded reply in RESP framing.
type Reply struct {
	Kind  byte    // the first byte on the wire; a null is '_' in both versions
	Int   int64   // ':'
	Bytes []byte  // '+', '$'
	Items []Reply // '*', '~', '>'; '%' has keys and values in turn
	Err   *Error  // '-'
}

// IsNull reports whether the reply is null.
func (r Reply) IsNull() bool { return r.Kind == '_' }

// ReplyReader reads the replies of a server in RESP2 or RESP3.
type ReplyReader struct {
	src *bufio.Reader
}

// Limits of a reply. They are higher than those of a request, but a server still cannot fill the memory of a client.
const (
	replyBulkMax  = 64 << 20
	replyItemsMax = 1 << 20
	replyDepthMax = 8
	replyStep     = 64 << 10 // bytes of a reply that are allocated before they arrive
)

// NewReplyReader returns a ReplyReader of src.
func NewReplyReader(src io.Reader) *ReplyReader {
	return &ReplyReader{src: bufio.NewReader(src)}
}

// Next reads one reply. An error reply is a Reply with Err set, not an error of Next.
func (r *ReplyReader) Next() (Reply, error) { return r.next(0) }

// Buffered returns the number of bytes that have arrived behind the last reply.
func (r *ReplyReader) Buffered() int { return r.src.Buffered() }

func (r *ReplyReader) next(depth int) (Reply, error) {
	line, err := r.src.ReadSlice('\n')
	if err != nil {
		if err == io.EOF && (len(line) > 0 || depth > 0) {
			err = io.ErrUnexpectedEOF
		}
		return Reply{}, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return Reply{}, fmt.Errorf("wire: malformed reply header %.40q", line)
	}
	kind, text := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return Reply{Kind: kind, Bytes: append([]byte(nil), text...)}, nil
	case '-':
		return Reply{Kind: kind, Err: parseError(text)}, nil
	case '_':
		if len(text) > 0 {
			return Reply{}, fmt.Errorf("wire: malformed null in reply header %.40q", line)
		}
		return Reply{Kind: kind}, nil
	case ':', '$', '*', '~', '>', '%':
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return Reply{}, fmt.Errorf("wire: malformed number in reply header %.40q", line)
		}
		return r.sized(kind, n, depth)
	}
	return Reply{}, fmt.Errorf("wire: unknown reply kind %q", kind)
}

func (r *ReplyReader) sized(kind byte, n int64, depth int) (Reply, error) {
	switch {
	case kind == ':':
		return Reply{Kind: kind, Int: n}, nil
	case n == -1 && (kind == '$' || kind == '*'): // RESP2
		return Reply{Kind: '_'}, nil
	case kind == '$':
		return r.bulk(n)
	}
	return r.items(kind, n, depth)
}

func (r *ReplyReader) bulk(n int64) (Reply, error) {
	if n < 0 || n > replyBulkMax {
		return Reply{}, fmt.Errorf("wire: invalid reply length %d (allowed: 0 to %d bytes)", n, replyBulkMax)
	}
	size := int(n) + 2
	var b []byte
	for len(b) < size { // grows with what arrives
		held := len(b)
		b = slices.Grow(b, min(size-held, max(held, replyStep)))
		b = b[:min(size, cap(b))]
		if _, err := io.ReadFull(r.src, b[held:]); err != nil {
			return Reply{}, unexpected(err)
		}
	}
	if b[n] != '\r' || b[n+1] != '\n' {
		return Reply{}, fmt.Errorf("wire: reply of %d bytes is not followed by CRLF", n)
	}
	return Reply{Kind: '$', Bytes: b[:n:n]}, nil
}

func (r *ReplyReader) items(kind byte, n int64, depth int) (Reply, error) {
	if n < 0 || n > replyItemsMax || depth == replyDepthMax {
		return Reply{}, fmt.Errorf("wire: invalid reply of %d elements at depth %d", n, depth)
	}
	if kind == '%' {
		n *= 2
	}
	items := make([]Reply, 0, min(n, 64)) // grows with what arrives
	for range n {
		item, err := r.next(depth + 1)
		if err != nil {
			return Reply{}, unexpected(err)
		}
		items = append(items, item)
	}
	return Reply{Kind: kind, Items: items}, nil
}

// parseError splits "CODE message". The first word is the code, even if it is not a code of this protocol.
func parseError(text []byte) *Error {
	for i, c := range text {
		if c == ' ' {
			return &Error{Code: Code(text[:i]), Message: string(text[i+1:])}
		}
	}
	return &Error{Code: Code(text)}
}
