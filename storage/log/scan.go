package log

import (
	"encoding/binary"
	"errors"
	"io"
)

// pageEnd is the length of the mark that ends the frames of a page: a checksum like that of a head, and the offset of
// the next page with its lowest bit set, which is never set in the length of a frame.
const pageEnd = 8

func (s seal) putPageEnd(dst []byte, p position, next int) {
	binary.LittleEndian.PutUint32(dst[4:], uint32(next|1))
	binary.LittleEndian.PutUint32(dst, s.headSum(p, dst[4:8]))
}

// parsePageEnd returns the offset of the next page if there is a mark at p.
func (s seal) parsePageEnd(b []byte, p position) (next int, ok bool) {
	if len(b) < pageEnd {
		return 0, false
	}
	next = int(binary.LittleEndian.Uint32(b[4:]))
	ok = next&1 == 1 && s.headSum(p, b[4:8]) == binary.LittleEndian.Uint32(b)
	return next &^ 1, ok
}

// scanner reads the frames of a segment in order.
type scanner struct {
	segment *segment
	seal    seal
	offset  int // of the next frame
	last    int // offset behind the last frame

	buf   []byte // content of the file from start on
	start int
}

// next returns the next frame, its data and its offset. It returns errEnd where the next frame is invalid. The
// frame is valid until the next call.
func (sc *scanner) next() (f frame, encoded []byte, offset int, err error) {
	for {
		b, err := sc.window(frameHead + 255)
		if err != nil {
			return frame{}, nil, 0, err
		}
		p := at(sc.segment.number, sc.offset)
		if next, ok := sc.seal.parsePageEnd(b, p); ok && next > sc.offset {
			sc.offset = next
			continue
		}
		f, ok := sc.seal.parseHead(b, p)
		if !ok || sc.offset+f.length > sc.segment.size {
			return frame{}, nil, 0, errEnd
		}
		if b, err = sc.window(f.length); err != nil {
			return frame{}, nil, 0, err
		}
		f.tenant = b[frameHead : frameHead+len(f.tenant)]
		offset = sc.offset
		sc.offset += f.length
		sc.last = sc.offset
		return f, b[:f.length], offset, nil
	}
}

// window returns at least n bytes from the offset on, or what the file has.
func (sc *scanner) window(n int) ([]byte, error) {
	if sc.offset >= sc.segment.size {
		return nil, errEnd
	}
	n = min(n, sc.segment.size-sc.offset)
	if have := sc.start + len(sc.buf) - sc.offset; sc.offset >= sc.start && have >= n {
		return sc.buf[sc.offset-sc.start:], nil
	}
	size := min(max(n, sc.segment.unit), sc.segment.size-sc.offset)
	if cap(sc.buf) < size {
		sc.buf = make([]byte, size)
	}
	sc.buf, sc.start = sc.buf[:size], sc.offset
	read, err := sc.segment.file.ReadAt(sc.buf, int64(sc.offset))
	if errors.Is(err, io.EOF) { // the file is shorter than it was
		clear(sc.buf[read:])
		err = nil
	}
	return sc.buf, err
}

// errEnd reports that the next frame is invalid.
var errEnd = errors.New("log: no valid frame")
