package wire

import (
	"bytes"
	"errors"
	"io"
)

// readLine reads a request in line framing: up to LF, without a CR before it.
func (r *Reader) readLine() (*Request, error) {
	seen := 0 // bytes known to hold no LF
	limit := r.limits.Line
	named := false
	for {
		held := r.buf[r.start:r.end]
		i := bytes.IndexByte(held[seen:], '\n')
		end := seen + i
		if i < 0 {
			end = len(held)
		}
		if end > limit && !named {
			name, _, _ := bytes.Cut(held[:limit], space)
			limit, named = limit+r.payload(name), true
		}
		if end > limit+1 || end > limit && held[limit] != '\r' { // a CR before the LF is not counted
			return nil, r.skipLine(seen, Errorf(TooLarge,
				"the line is longer than %d bytes; send less, or raise the limit in the server's configuration", limit))
		}
		if i >= 0 {
			return r.parseLine(held[:end], end+1)
		}
		seen = len(held)
		if err := r.more(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func (r *Reader) parseLine(line []byte, length int) (*Request, error) {
	line = bytes.TrimSuffix(line, carriageReturn)
	r.next = r.start + length
	if len(line) == 0 {
		return nil, Errorf(Unknown, "the line is empty; try: help")
	}
	if !LineSafe(line) {
		return nil, Errorf(Binary, "a line cannot carry CR or NUL (byte %d); send the value in RESP framing",
			bytes.IndexAny(line, "\x00\r")+1)
	}
	r.req.Name, r.req.rest, r.req.hasRest = bytes.Cut(line, space)
	return r.done(length)
}

var carriageReturn = []byte{'\r'}

// LineSafe reports whether a value can stand in a line as it is: it holds no CR, LF or NUL.
func LineSafe(value []byte) bool {
	return bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 && bytes.IndexByte(value, 0) < 0
}

// LineSafeKey reports whether a key can stand in a line: it is LineSafe and holds none of the separators space and |.
func LineSafeKey(key []byte) bool {
	return LineSafe(key) && bytes.IndexByte(key, ' ') < 0 && bytes.IndexByte(key, '|') < 0
}
