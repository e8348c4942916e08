package wire

import (
	"io"
	"sync"
	"unsafe"
)

// Reader reads requests of both framings from one connection. It owns the only buffer, which comes from a pool while
// it holds data, and grows with what arrives up to the limits. It is not safe for concurrent use.
type Reader struct {
	src     io.Reader
	limits  Limits
	payload func(name []byte) int
	room    func(size int) *Error // see SetRoom

	buf   []byte // nil while the reader holds no data
	start int    // first byte of the request that is being read, or of the last one that was returned
	next  int    // first byte after the last request that was returned; start, while one is being read
	end   int    // first free byte

	midway bool   // see Midway
	spans  []span // arguments so far, relative to start, since the buffer may move while a request arrives
	req    Request
	one    [1]byte
}

type span struct{ from, to int }

// NewReader returns a Reader of src. For a command whose last argument is a payload, payload returns by how much a
// line with that command name may exceed limits.Line. It is at most limits.Request. A nil payload means that no
// command has a payload.
func NewReader(src io.Reader, limits Limits, payload func(name []byte) int) *Reader {
	if payload == nil {
		payload = func([]byte) int { return 0 }
	}
	return &Reader{src: src, limits: limits, payload: payload}
}

// SetLimits changes the limits from the next request on; see NewReader.
func (r *Reader) SetLimits(limits Limits, payload func(name []byte) int) {
	if payload == nil {
		payload = func([]byte) int { return 0 }
	}
	r.limits, r.payload = limits, payload
}

// SetRoom sets a function that is called before the buffer grows to size bytes, beyond its normal size. If it returns
// an error, the request is refused with that error, and the rest of the request is discarded as it arrives. With nil
// only the limits bound the buffer.
func (r *Reader) SetRoom(room func(size int) *Error) { r.room = room }

// Next returns the next request, which is valid until the following call. An *Error describes an invalid request.
// Unless it is fatal, the reader is then at the beginning of the following request. The error is io.EOF if the stream
// ends between two requests, and io.ErrUnexpectedEOF inside one. Other errors are those of src; after them Next may
// be called again unless Midway.
func (r *Reader) Next() (*Request, error) {
	if r.midway {
		return nil, fatalf(Protocol, "previous request is incomplete; connect again")
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

// Framing returns the framing of the last request that Next returned or refused.
func (r *Reader) Framing() Framing { return r.req.Framing }

// Peek returns the first byte of the next request without consuming it. Like Next, it invalidates the previous
// request.
func (r *Reader) Peek() (byte, error) {
	r.settle()
	if err := r.need(1); err != nil {
		return 0, err
	}
	return r.buf[r.start], nil
}

// Midway reports whether a request has begun and is incomplete. After a fatal error it remains true.
func (r *Reader) Midway() bool { return r.midway }

// Held returns the number of bytes that the reader holds beyond a buffer of normal size.
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

// Release returns an empty buffer to its pool until bytes arrive, and reports whether there was one. An idle
// connection then holds one byte. The previous request is no longer valid.
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

// settle advances behind the last request. It clears that request and returns a buffer that only the request has
// grown.
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

// need reads until n bytes of the request have arrived.
func (r *Reader) need(n int) error {
	for r.end-r.start < n {
		if err := r.more(n); err != nil {
			return err
		}
	}
	return nil
}

// more reads once. n is the number of bytes that the request has at least, or 0 if that is unknown. An *Error that is
// not fatal is a refusal by room: no byte was read, and the caller must skip the request.
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

// makeRoom moves the request to the front of the buffer, or doubles a buffer that the request fills. If n is known,
// the new buffer is no larger than n bytes need. So a buffer grows with what has arrived, and not beyond what will
// arrive. A large buffer whose contents were all skipped is replaced with one of normal size.
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
				copied := *refused // skipping the request may make it fatal
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

// drop discards n bytes that have arrived.
func (r *Reader) drop(n int) {
	r.start += n
	r.next = r.start
}

// skip discards n bytes as they arrive, so that a request that is refused for its size is never held as a whole.
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
