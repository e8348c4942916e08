package wire

import (
	"io"
	"sync"
	"unsafe"
)

// Reader reads requests of both framings from one connection. It owns the only buffer, which is taken from a pool while there is something
// in it and grows with what arrives, up to its limits. It is not for concurrent use.
type Reader struct {
	src     io.Reader
	limits  Limits
	payload func(name []byte) int
	room    func(size int) *Error // see SetRoom

	buf   []byte // nil while the reader holds nothing
	start int    // first byte of the request that is being read, or was handed out last
	next  int    // first byte after the request that was handed out last: start, while one is being read
	end   int    // first free byte

	midway bool   // see Midway
	spans  []span // arguments found so far, relative to start: the buffer may move while a request arrives
	req    Request
	one    [1]byte
}

type span struct{ from, to int }

// NewReader reads from src. payload tells how much longer than limits.Line a line with the given command name may be, because its last
// argument is a payload: at most limits.Request. nil means that no command has such an argument.
func NewReader(src io.Reader, limits Limits, payload func(name []byte) int) *Reader {
	if payload == nil {
		payload = func([]byte) int { return 0 }
	}
	return &Reader{src: src, limits: limits, payload: payload}
}

// SetLimits changes what is accepted from the next request on; see NewReader.
func (r *Reader) SetLimits(limits Limits, payload func(name []byte) int) {
	if payload == nil {
		payload = func([]byte) int { return 0 }
	}
	r.limits, r.payload = limits, payload
}

// SetRoom has room asked before the buffer grows beyond the ordinary one: whether it may have size bytes. A refusal
// becomes that of the request, the rest of which is discarded as it comes. nil is no bound but the limits.
func (r *Reader) SetRoom(room func(size int) *Error) { r.room = room }

// Next returns the next request, which is valid until the following call. An *Error tells what was wrong with it; unless that is fatal,
// the reader stands at the beginning of the request after it. The end of the stream between two requests is io.EOF, inside one
// io.ErrUnexpectedEOF; other errors are those of src, after which Next may be called again unless Midway.
func (r *Reader) Next() (*Request, error) {
	if r.midway {
		return nil, fatalf(Protocol, "the request before was not read to its end")
	}
	if _, err := r.Peek(); err != nil {
		return nil, err
	}
	r.midway = true
	req, err := r.read()
	if refused, ok := err.(*Error); err == nil || ok && !refused.Fatal {
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

// Peek returns the first byte of the next request and leaves it there. Like Next, it ends the life of the request before.
func (r *Reader) Peek() (byte, error) {
	r.settle()
	if err := r.need(1); err != nil {
		return 0, err
	}
	return r.buf[r.start], nil
}

// Midway reports whether a request has begun and is not complete. After a fatal error it never will be.
func (r *Reader) Midway() bool { return r.midway }

// Held is how many bytes the reader holds beyond the ordinary buffer of a connection.
func (r *Reader) Held() int {
	held := cap(r.req.args)*argSize + cap(r.spans)*spanSize
	if len(r.buf) > bufferSize {
		held += cap(r.buf)
	}
	return held
}

const (
	argSize  = int(unsafe.Sizeof([]byte{}))
	spanSize = int(unsafe.Sizeof(span{}))
)

// Release gives the buffer back until bytes arrive, if nothing is in it, and reports whether there was one to give. An idle connection then
// holds one byte. The request before is no longer valid.
func (r *Reader) Release() bool {
	if r.buf == nil || r.end > r.next {
		return false
	}
	r.req.clear()
	if cap(r.req.args) > keepArgs {
		r.req.args, r.spans = nil, nil
	}
	putBuffer(r.buf)
	r.buf, r.start, r.next, r.end = nil, 0, 0, 0
	return true
}

var pool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// settle moves on behind the request handed out last, and lets go of it and of the buffer that it has grown.
func (r *Reader) settle() {
	r.req.clear()
	unread := r.buf[r.next:r.end]
	switch {
	case len(r.buf) > keepMax && len(unread) <= bufferSize:
		large := r.buf
		r.buf = nil
		if len(unread) > 0 {
			r.buf = pool.Get().(*[bufferSize]byte)[:]
		}
		r.start, r.next, r.end = 0, 0, copy(r.buf, unread)
		putBuffer(large)
	case len(unread) == 0:
		r.start, r.next, r.end = 0, 0, 0
	default:
		r.start = r.next
	}
}

// need waits until n bytes of the request are there.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		if err := r.more(n); err != nil {
			return err
		}
	}
	return nil
}

// more reads once, towards n bytes of the request if it is known that it has so many, or else 0. An *Error that is
// not fatal is a refusal by room: nothing was read, and the request is to be skipped.
func (r *Reader) more(n int) error {
	into := r.one[:]
	if r.buf != nil {
		if r.end == len(r.buf) {
			if refused := r.makeRoom(n); refused != nil {
				return refused
			}
		}
		into = r.buf[r.end:]
	}
	got, err := r.src.Read(into)
	switch {
	case got > 0:
		if r.buf == nil {
			r.buf = pool.Get().(*[bufferSize]byte)[:]
			r.buf[0] = r.one[0]
		}
		r.end += got
		return nil
	case err == nil:
		return io.ErrNoProgress
	case r.midway:
		return unexpected(err)
	default:
		return err
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// makeRoom slides the request to the front, or doubles a buffer that it fills, if there may be a larger one: to n
// bytes at most if it is known that they are enough, so that a buffer grows with what has come and not beyond what
// will. A buffer all of which was skipped is exchanged for an ordinary one.
func (r *Reader) makeRoom(n int) *Error {
	held := r.buf[r.start:r.end]
	into := r.buf
	switch {
	case len(held) == 0 && len(r.buf) > bufferSize:
		into = pool.Get().(*[bufferSize]byte)[:]
	case len(held) > len(r.buf)/2:
		size := max(len(held)+bufferSize, min(2*len(r.buf), r.limits.memory()))
		if n > len(held) {
			size = min(size, max(n, len(r.buf)+bufferSize))
		}
		if r.room != nil {
			if refused := r.room(size); refused != nil {
				copied := *refused // skipping may make it fatal
				return &copied
			}
		}
		into = getBuffer(size)
	}
	before := r.buf
	r.end = copy(into, held)
	r.buf, r.start, r.next = into, 0, 0
	if &into[0] != &before[0] {
		putBuffer(before)
	}
	return nil
}

// drop throws away n bytes that are here.
func (r *Reader) drop(n int) {
	r.start += n
	r.next = r.start
}

// skip throws away n bytes as they come, so that a request that is refused for its size is never held as a whole.
func (r *Reader) skip(n int) error {
	for {
		held := min(n, r.end-r.start)
		r.drop(held)
		if n -= held; n == 0 {
			return nil
		}
		if err := r.more(0); err != nil {
			return err
		}
	}
}
