package wire

import (
	"strconv"
)

// Encoder turns answers into bytes in the framing of the request that they answer, and collects them until they are taken. An answer
// is exactly one call of one method.
type Encoder struct {
	buf     []byte
	framing Framing
	proto   int  // RESP version: 2, or 3 after HELLO 3
	outcome Code // of the answer under way
	owed    int  // elements that the answer under way lacks

	most int            // see SetSink
	sink func(p []byte) // nil: all is collected
	sunk bool           // some of the answer under way has been taken
}

// SetSink has sink take what is collected, and large values without a copy, as soon as there are more than most
// bytes. What was taken cannot be taken back: see Sunk.
func (e *Encoder) SetSink(most int, sink func(p []byte)) { e.most, e.sink = most, sink }

// Sunk reports whether a part of the answer under way has been taken, so that Truncate cannot take it back.
func (e *Encoder) Sunk() bool { return e.sunk }

// data adds bytes that belong to a user to the answer.
func (e *Encoder) data(b []byte) {
	if e.sink != nil && len(e.buf)+len(b) > e.most {
		e.sunk = true
		e.sink(e.buf)
		e.Reset()
		if len(b) > e.most {
			e.sink(b)
			return
		}
	}
	e.buf = append(e.buf, b...)
}

// Begin starts an answer in this framing.
func (e *Encoder) Begin(f Framing) { e.framing, e.outcome, e.owed, e.sunk = f, "", 1, false }

// Complete reports whether exactly one answer has been given since Begin, with all the elements that it announced.
func (e *Encoder) Complete() bool { return e.owed == 0 }

// Outcome is the code of the error that has been answered since Begin, or "".
func (e *Encoder) Outcome() Code { return e.outcome }

// Framing is the framing of the answer under way.
func (e *Encoder) Framing() Framing { return e.framing }

// SetProto chooses the RESP version, 2 or 3, for the rest of the connection.
func (e *Encoder) SetProto(version int) { e.proto = version }

// Proto is the RESP version of the connection.
func (e *Encoder) Proto() int { return max(e.proto, 2) }

// Bytes are the answers collected since Reset; they are valid until the next call of any method.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len is how many bytes wait to be taken.
func (e *Encoder) Len() int { return len(e.buf) }

// Held is how many bytes the encoder holds beyond the ordinary buffer of a connection.
func (e *Encoder) Held() int {
	if cap(e.buf) <= bufferSize {
		return 0
	}
	return cap(e.buf)
}

// Reset forgets what was taken. A buffer that one large answer has grown is let go.
func (e *Encoder) Reset() {
	if cap(e.buf) > keepMax {
		e.buf = nil
	}
	e.buf = e.buf[:0]
}

// Release gives up the buffer of a connection that goes idle.
func (e *Encoder) Release() {
	if len(e.buf) == 0 {
		e.buf = nil
	}
}

// Truncate takes back all but the first n bytes: an answer that turned out to be an error. A buffer that it alone has
// grown is let go.
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
	e.owed--
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

// header opens an aggregate of n elements, or of n pairs if kind is %, which RESP2 does not have.
func (e *Encoder) header(kind byte, n int) {
	e.owed += n - 1
	if kind == '%' {
		e.owed += n
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

// OK answers that it is done.
func (e *Encoder) OK() {
	if e.framing == RESP {
		e.line("+OK")
	} else {
		e.line("ok")
	}
}

// Status answers with a short text of the server's own: a simple string in RESP.
func (e *Encoder) Status(text string) {
	if e.framing == RESP {
		e.line("+", text)
	} else {
		e.line("ok ", text)
	}
}

// Text answers with a text of the server's own: a bulk string in RESP, in line framing BINARY if it is more than one line.
func (e *Encoder) Text(text string) {
	if e.framing == RESP {
		e.bulkString(text)
		return
	}
	mark := e.openLine()
	e.buf = append(e.buf, text...)
	e.closeLine(mark, "the answer has several lines; ask in RESP framing")
}

// openLine begins an answer in line framing that closeLine ends, or takes back for BINARY if it holds CR, LF or NUL.
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

// Value answers with bytes that belong to a user, or with BINARY where a line cannot carry them.
func (e *Encoder) Value(value []byte) {
	if e.framing == RESP {
		e.bulk(value)
		return
	}
	if !LineSafe(value) {
		e.Error(Binary, "the value holds CR, LF or NUL, which a line cannot carry; read it in RESP framing")
		return
	}
	e.openLine()
	e.data(value)
	e.crlf()
}

// NoKey answers that there is no such key: null in RESP.
func (e *Encoder) NoKey() {
	if e.framing == RESP {
		e.null()
	} else {
		e.Error(NoKey, "no such key")
	}
}

// Values answers a RESP request with one value for each key it named, null where value is nil.
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

// Int answers with a number.
func (e *Encoder) Int(n int64) {
	if e.framing == RESP {
		e.buf = append(e.buf, ':')
	} else {
		e.buf = append(e.buf, "ok "...)
	}
	e.buf = strconv.AppendInt(e.buf, n, 10)
	e.crlf()
}

// Count answers how many of the keys that a request named were there: a number in RESP; a line names one key, and learns ok or NOKEY.
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

// Keys answers with a list of keys: ok a|b|c in a line, or BINARY if a key holds what a line cannot carry.
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
			e.Error(Binary, "a key holds space, |, CR, LF or NUL, which a line cannot carry; ask in RESP framing")
			return
		}
		if i > 0 {
			e.buf = append(e.buf, '|')
		}
		e.buf = append(e.buf, k...)
	}
	e.crlf()
}

// Map answers with keys and values: a map in RESP, PHP's serialize() format in a line, or BINARY if that holds CR, LF or NUL.
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
			e.Error(Binary, "a key or value holds CR, LF or NUL, which a line cannot carry; ask in RESP framing")
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

// Record answers with named numbers: a map in RESP, name=value pairs in a line.
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

// Error answers with a refusal. A message must say what to do; CR and LF in it are replaced, since they would end the answer.
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

// Array opens a RESP array of n elements, each of which the caller adds with one more call. It is for the handshake commands of Redis
// libraries, whose answers nest; a line has no such answers.
func (e *Encoder) Array(n int) { e.header('*', n) }

// OpenMap opens a RESP map of n pairs like Array.
func (e *Encoder) OpenMap(n int) { e.header('%', n) }
