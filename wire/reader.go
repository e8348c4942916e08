package wire

import (
	"bytes"
	"io"
	"sync"
)

// Reader reads requests of both framings from one connection. It owns the only buffer, which is taken from a pool while there is something
// in it and grows with what arrives, up to its limits. It is not for concurrent use.
type Reader struct {
	src     io.Reader
	limits  Limits
	payload func(name []byte) int

	buf   []byte // nil while the reader holds nothing
	start int    // first byte of the request that is being read, or was handed out last
	next  int    // first byte after the request that was handed out last
	end   int    // first free byte

	midway bool   // a request has begun and is not complete
	spans  []span // arguments found so far, relative to start: the buffer may move while a request arrives
	req    Request
	one    [1]byte
}

type span struct{ from, to int }

// NewReader reads from src. payload tells how long the last argument of a line with the given command name may be beyond
// limits.Line; nil means that no command has such an argument.
func NewReader(src io.Reader, limits Limits, payload func(name []byte) int) *Reader {
	if payload == nil {
		payload = func([]byte) int { return 0 }
	}
	return &Reader{src: src, limits: limits, payload: payload}
}

// Next returns the next request, which is valid until the following call. An *Error tells what was wrong with it; unless that is fatal,
// the reader stands at the beginning of the request after it. The end of the stream between two requests is io.EOF, inside one
// io.ErrUnexpectedEOF; other errors are those of src, after which Next may be called again unless Midway.
func (r *Reader) Next() (*Request, error) {
	if _, err := r.Peek(); err != nil {
		return nil, err
	}
	r.midway = true
	req, err := r.read()
	if _, refused := err.(*Error); refused || err == nil {
		r.midway = false
	}
	return req, err
}

func (r *Reader) read() (*Request, error) {
	if r.buf[r.start] == '*' {
		r.req.Framing = RESP
		return r.readRESP()
	}
	r.req.Framing = Line
	return r.readLine()
}

// Framing is that of the request which Next has returned or refused.
func (r *Reader) Framing() Framing { return r.req.Framing }

// Peek returns the first byte of the next request and leaves it there.
func (r *Reader) Peek() (byte, error) {
	r.midway = false
	r.settle()
	if err := r.need(1); err != nil {
		return 0, err
	}
	return r.buf[r.start], nil
}

// Midway reports whether a request has begun and is not complete.
func (r *Reader) Midway() bool { return r.midway }

// Release gives the buffer back until bytes arrive, if nothing is in it, and reports whether there was one to give. An idle connection then
// holds one byte.
func (r *Reader) Release() bool {
	if r.buf == nil || r.end > r.next {
		return false
	}
	if len(r.buf) == bufferSize {
		pool.Put((*[bufferSize]byte)(r.buf))
	}
	r.buf, r.start, r.next, r.end = nil, 0, 0, 0
	return true
}

var pool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// settle moves on behind the request handed out last, and lets go of a buffer that one large request has grown.
func (r *Reader) settle() {
	r.start = r.next
	if r.start < r.end {
		return
	}
	r.start, r.next, r.end = 0, 0, 0
	if len(r.buf) > keepMax {
		r.buf = nil
	}
}

// need waits until n bytes of the request are there.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		if err := r.more(); err != nil {
			if err == io.EOF && r.end > r.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// more reads once.
func (r *Reader) more() error {
	if r.buf == nil {
		n, err := r.src.Read(r.one[:])
		if n == 0 {
			return orNoProgress(err)
		}
		r.buf = pool.Get().(*[bufferSize]byte)[:]
		r.buf[0], r.end = r.one[0], 1
		return nil
	}
	if r.end == len(r.buf) {
		r.makeRoom()
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	return orNoProgress(err)
}

func orNoProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// makeRoom slides the request to the front, or doubles a buffer that it fills.
func (r *Reader) makeRoom() {
	held := r.buf[r.start:r.end]
	into := r.buf
	if len(held) > len(r.buf)/2 {
		into = make([]byte, max(len(held)+bufferSize, min(2*len(r.buf), r.limits.memory())))
	}
	r.end = copy(into, held)
	r.buf, r.start, r.next = into, 0, 0
}

// done hands out the request that ends at p, relative to start.
func (r *Reader) done(p int) (*Request, error) {
	r.next = r.start + p
	return &r.req, nil
}

// skip throws away n bytes from p on, relative to start, and whatever came before.
func (r *Reader) skip(p, n int) error {
	for p+n > r.end-r.start {
		n -= r.end - r.start - p
		r.start, r.end, p = 0, 0, 0
		if err := r.more(); err != nil {
			return unexpected(err)
		}
	}
	r.start += p + n
	r.next = r.start
	return nil
}

// skipLine throws away the rest of a line of which held bytes are known to have no LF, and answers with refusal.
func (r *Reader) skipLine(held int, refusal *Error) error {
	skipped := held
	for {
		if i := bytes.IndexByte(r.buf[r.start+held:r.end], '\n'); i >= 0 {
			r.next = r.start + held + i + 1
			return refusal
		}
		skipped += r.end - r.start - held
		if skipped > skipMax {
			refusal.Fatal = true
			return refusal
		}
		r.start, r.next, r.end, held = 0, 0, 0, 0
		if err := r.more(); err != nil {
			return unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
