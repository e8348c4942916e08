package wire

import "bytes"

// readLine reads a request in line framing. It ends at LF; a CR before the LF is not part of it.
func (r *Reader) readLine() (*Request, error) {
	scanned := 0 // bytes that contain no LF
	limit := r.limits.Line
	named := false
	for {
		held := r.buf[r.start:r.end]
		i := bytes.IndexByte(held[scanned:], '\n')
		end := scanned + i
		if i < 0 {
			end = len(held)
		}
		if end > limit && !named {
			name, _, _ := cutSpace(held[:limit])
			limit, named = limit+min(r.payload(name), r.limits.Request), true
		}
		if end > limit+1 || end > limit && held[limit] != '\r' { // a CR before the LF is not counted
			return nil, r.skipLine(scanned, Errorf(TooLarge,
				"line is longer than %d bytes; send less, or raise the limit in the server's configuration", limit))
		}
		if i >= 0 {
			r.next = r.start + end + 1
			return r.parseLine(held[:end:end])
		}
		scanned = len(held)
		if err := r.more(0); err != nil {
			if refused, ok := err.(*Error); ok {
				return nil, r.skipLine(scanned, refused)
			}
			return nil, err
		}
	}
}

func (r *Reader) parseLine(line []byte) (*Request, error) {
	line = bytes.TrimSuffix(line, carriageReturn)
	if len(line) == 0 {
		return nil, Errorf(Unknown, "empty line; try: help")
	}
	if !LineSafe(line) {
		return nil, Errorf(Binary, "a line cannot carry CR or NUL (byte %d); send the value in RESP framing",
			bytes.IndexAny(line, "\x00\r")+1)
	}
	r.req.Name, r.req.rest, r.req.hasRest = cutSpace(line)
	return &r.req, nil
}

// skipLine discards a line whose first scanned bytes contain no LF, and returns refusal. The refusal becomes fatal if
// the line is longer than skipMax.
func (r *Reader) skipLine(scanned int, refusal *Error) error {
	for skipped := 0; ; scanned = 0 {
		held := r.buf[r.start:r.end]
		i := bytes.IndexByte(held[scanned:], '\n')
		if i >= 0 {
			held = held[:scanned+i+1]
		}
		if skipped += len(held); skipped > skipMax {
			refusal.Fatal = true
			return refusal
		}
		r.drop(len(held))
		if i >= 0 {
			return refusal
		}
		if err := r.more(0); err != nil {
			return err
		}
	}
}

var carriageReturn = []byte{'\r'}

// LineSafe reports whether a line can carry a value: it contains no CR, LF or NUL.
func LineSafe(value []byte) bool {
	return bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 && bytes.IndexByte(value, 0) < 0
}

// LineSafeKey reports whether a line can carry a key: it is LineSafe and contains neither space nor |, the
// separators.
func LineSafeKey(key []byte) bool {
	return LineSafe(key) && bytes.IndexByte(key, ' ') < 0 && bytes.IndexByte(key, '|') < 0
}
