package wire

import (
	"strconv"
)

// Encoder encodes replies in the framing of their requests, and collects them until the caller takes them. Each reply
// is exactly one call of one method.
type Encoder struct {
	buf     []byte
	framing Framing
	proto   int  // RESP version: 2, or 3 after HELLO 3
	outcome Code // error code of the current reply
	missing int  // elements that the current reply still lacks

	limit int            // see SetSink
	sink  func(p []byte) // nil: replies are only collected
	sunk  bool           // part of the current reply has been passed to sink
}

// SetSink makes the encoder pass its bytes to sink as soon as it holds more than limit bytes. Large values are passed
// without a copy. Bytes that were passed cannot be truncated; see Sunk.
func (e *Encoder) SetSink(limit int, sink func(p []byte)) { e.limit, e.sink = limit, sink }

// Sunk reports whether a part of the current reply has been passed to the sink, so that Truncate cannot remove it.
func (e *Encoder) Sunk() bool { return e.sunk }

// data appends bytes of a user's value or key to the reply.
func (e *Encoder) data(b []byte) {
	if e.sink != nil && len(e.buf)+len(b) > e.limit {
		e.sunk = true
		e.sink(e.buf)
		e.Reset()
		if len(b) > e.limit {
			e.sink(b)
			return
		}
	}
	e.buf = append(e.buf, b...)
}

// Begin starts a reply in framing f.
func (e *Encoder) Begin(f Framing) { e.framing, e.outcome, e.missing, e.sunk = f, "", 1, false }

// Complete reports whether exactly one reply was added since Begin, with all the elements that it announced.
func (e *Encoder) Complete() bool { return e.missing == 0 }

// Outcome returns the code of the error reply added since Begin, or "".
func (e *Encoder) Outcome() Code { return e.outcome }

// Framing returns the framing of the current reply.
func (e *Encoder) Framing() Framing { return e.framing }

// SetProto sets the RESP version, 2 or 3, for the rest of the connection.
func (e *Encoder) SetProto(version int) { e.proto = version }

// Proto returns the RESP version of the connection.
func (e *Encoder) Proto() int { return max(e.proto, 2) }

// Bytes returns the replies collected since Reset. They are valid until the next call of any method.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len returns the number of bytes collected since Reset.
func (e *Encoder) Len() int { return len(e.buf) }

// Held returns the number of bytes that the encoder holds beyond a buffer of normal size.
func (e *Encoder) Held() int {
	if cap(e.buf) <= bufferSize {
		return 0
	}
	return cap(e.buf)
}

// Reset discards the collected replies. It frees a buffer that a large reply has grown.
func (e *Encoder) Reset() {
	if cap(e.buf) > keepMax {
		e.buf = nil
	}
	e.buf = e.buf[:0]
}

// Release frees the buffer of an idle connection.
func (e *Encoder) Release() {
	if len(e.buf) == 0 {
		e.buf = nil
	}
}

// Truncate discards all but the first n bytes, for a reply that turned out to be an error. It frees a buffer that
// only this reply has grown.
func (e *Encoder) Truncate(n int) {
	if e.buf = e.buf[:n]; n == 0 {
		e.Reset()
	}
}

func (e *Encoder) line(parts ...string) {
	for _, p := range parts {
		e.buf = append(e.buf, p...)
	}
	e.crlf()
}

// crlf ends an element.
func (e *Encoder) crlf() {
	e.buf = append(e.buf, '\r', '\n')
	e.missing--
}

func (e *Encoder) bulk(b []byte) {
	e.buf = appendHeader(e.buf, '$', len(b))
	e.data(b)
	e.crlf()
}

func (e *Encoder) bulkString(s string) {
	e.buf = appendHeader(e.buf, '$', len(s))
	e.buf = append(e.buf, s...)
	e.crlf()
}

// header begins an aggregate of n elements. For kind %, which RESP2 does not have, it is n pairs.
func (e *Encoder) header(kind byte, n int) {
	e.missing += n - 1
	if kind == '%' {
		e.missing += n
		if e.Proto() < 3 {
			kind, n = '*', 2*n
		}
	}
	e.buf = appendHeader(e.buf, kind, n)
}

func (e *Encoder) null() {
	if e.Proto() >= 3 {
		e.line("_")
	} else {
		e.line("$-1")
	}
}

// OK adds the reply to a command that returns nothing.
func (e *Encoder) OK() {
	if e.framing == RESP {
		e.line("+OK")
	} else {
		e.line("ok")
	}
}

// Status adds a short text of the server, which is a simple string in RESP.
func (e *Encoder) Status(text string) {
	if e.framing == RESP {
		e.line("+", text)
	} else {
		e.line("ok ", text)
	}
}

// Text adds a text of the server. In RESP it is a bulk string. In line framing a text of several lines becomes
// BINARY.
func (e *Encoder) Text(text string) {
	if e.framing == RESP {
		e.bulkString(text)
		return
	}
	mark := e.openLine()
	e.buf = append(e.buf, text...)
	e.closeLine(mark, "reply has several lines; send the command in RESP framing")
}

// openLine begins a reply in line framing. closeLine ends it, or replaces it with BINARY if it contains CR, LF or
// NUL.
func (e *Encoder) openLine() (mark int) {
	mark = len(e.buf)
	e.buf = append(e.buf, "ok "...)
	return mark
}

func (e *Encoder) closeLine(mark int, refusal string) {
	if LineSafe(e.buf[mark:]) {
		e.crlf()
		return
	}
	e.Truncate(mark)
	e.Error(Binary, refusal)
}

// Value adds a user's value, or BINARY where a line cannot carry it.
func (e *Encoder) Value(value []byte) {
	if e.framing == RESP {
		e.bulk(value)
		return
	}
	if !LineSafe(value) {
		e.Error(Binary, "value contains CR, LF or NUL, which a line cannot carry; read it in RESP framing")
		return
	}
	e.openLine()
	e.data(value)
	e.crlf()
}

// NoKey adds the reply for a missing key, which is null in RESP.
func (e *Encoder) NoKey() {
	if e.framing == RESP {
		e.null()
	} else {
		e.Error(NoKey, "no such key")
	}
}

// Values adds the reply to a RESP request for several keys: one value for each key, null where value is nil.
func (e *Encoder) Values(values [][]byte) {
	e.header('*', len(values))
	for _, v := range values {
		if v == nil {
			e.null()
		} else {
			e.bulk(v)
		}
	}
}

// Int adds a number.
func (e *Encoder) Int(n int64) {
	if e.framing == RESP {
		e.buf = append(e.buf, ':')
	} else {
		e.buf = append(e.buf, "ok "...)
	}
	e.buf = strconv.AppendInt(e.buf, n, 10)
	e.crlf()
}

// Count adds the number of requested keys that exist. In RESP it is a number. A line requests one key, so its reply
// is ok or NOKEY.
func (e *Encoder) Count(n int) {
	switch {
	case e.framing == RESP:
		e.Int(int64(n))
	case n == 0:
		e.NoKey()
	default:
		e.OK()
	}
}

// Keys adds a list of keys: ok a|b|c in a line, or BINARY if a line cannot carry one of them.
func (e *Encoder) Keys(n int, key func(i int) []byte) {
	if e.framing == RESP {
		e.header('*', n)
		for i := range n {
			e.bulk(key(i))
		}
		return
	}
	mark := e.openLine()
	for i := range n {
		k := key(i)
		if !LineSafeKey(k) {
			e.Truncate(mark)
			e.Error(Binary,
				"key contains space, |, CR, LF or NUL, which a line cannot carry; send the command in RESP framing")
			return
		}
		if i > 0 {
			e.buf = append(e.buf, '|')
		}
		e.buf = append(e.buf, k...)
	}
	e.crlf()
}

// Map adds keys and values. In RESP it is a map. In a line it is PHP's serialize() format, or BINARY if that contains
// CR, LF or NUL.
func (e *Encoder) Map(n int, pair func(i int) (key, value []byte)) {
	if e.framing == RESP {
		e.header('%', n)
		for i := range n {
			k, v := pair(i)
			e.bulk(k)
			e.bulk(v)
		}
		return
	}
	for i := range n {
		if k, v := pair(i); !LineSafe(k) || !LineSafe(v) {
			e.Error(Binary,
				"key or value contains CR, LF or NUL, which a line cannot carry; send the command in RESP framing")
			return
		}
	}
	e.openLine()
	e.buf = appendPHPHead(e.buf, n)
	for i := range n {
		k, v := pair(i)
		e.phpString(k)
		e.phpString(v)
	}
	e.buf = append(e.buf, '}')
	e.crlf()
}

func (e *Encoder) phpString(s []byte) {
	e.buf = appendPHPLength(e.buf, len(s))
	e.data(s)
	e.buf = append(e.buf, phpStringEnd...)
}

// Field is one named number of a Record.
type Field struct {
	Name  string
	Value int64
}

// Record adds named numbers: a map in RESP, name=value pairs in a line.
func (e *Encoder) Record(fields []Field) {
	if e.framing == RESP {
		e.header('%', len(fields))
		for _, f := range fields {
			e.bulkString(f.Name)
			e.Int(f.Value)
		}
		return
	}
	e.buf = append(e.buf, "ok"...)
	for _, f := range fields {
		e.buf = append(e.buf, ' ')
		e.buf = append(e.buf, f.Name...)
		e.buf = append(e.buf, '=')
		e.buf = strconv.AppendInt(e.buf, f.Value, 10)
	}
	e.crlf()
}

// Error adds a refusal. Its message must include what to do. CR and LF in the message are replaced, since they would
// end the reply.
func (e *Encoder) Error(code Code, message string) {
	e.outcome = code
	if e.framing == RESP {
		e.buf = append(e.buf, '-')
	} else {
		e.buf = append(e.buf, "err "...)
	}
	e.buf = append(e.buf, code...)
	e.buf = append(e.buf, ' ')
	for i := range len(message) {
		c := message[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		e.buf = append(e.buf, c)
	}
	e.crlf()
}

// Array begins a RESP array of n elements, each of which the caller adds with one more call. It is for the handshake
// commands of Redis libraries, whose replies nest. Line framing has no such replies.
func (e *Encoder) Array(n int) { e.header('*', n) }

// OpenMap begins a RESP map of n pairs, as Array does an array.
func (e *Encoder) OpenMap(n int) { e.header('%', n) }
