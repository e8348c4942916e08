package wire

// Limits bound what a Reader accepts. They apply to received bytes: memory grows with what has arrived, never with
// what a peer declares.
type Limits struct {
	Line    int // bytes of a line without its payload argument
	Value   int // bytes of one argument
	Request int // bytes of all arguments of one request together
	Args    int // arguments of one request, the command's name counted
}

// DefaultLimits returns the limits of the specification: 64 KiB for the command part of a line, 1 MiB for a value. A
// request has room for put_all of a whole session with 1,024 keys and 4 MiB.
func DefaultLimits() Limits {
	return Limits{Line: 64 << 10, Value: 1 << 20, Request: 4<<20 + 512<<10, Args: 2050}
}

// UnauthenticatedLimits returns the limits for an unauthenticated peer. They have room for a handshake, so many such
// connections cost little.
func UnauthenticatedLimits() Limits {
	return Limits{Line: 4 << 10, Value: 4 << 10, Request: 8 << 10, Args: 64}
}

const (
	// headerMax bounds the number in "*<count>" and "$<length>" together with its CR. It has room for any 64-bit
	// number.
	headerMax = 24

	// skipMax is the part of a refused request that is read and discarded, so that the connection can continue. The
	// connection is closed if the request is larger, since a client does not send 64 MiB by mistake twice.
	skipMax = 64 << 20

	// bufferSize is the size of a connection's buffer while requests of normal size are read.
	bufferSize = 4 << 10

	// keepMax is the size of the largest buffer that is kept for the next request.
	keepMax = 64 << 10

	// keepArgs is the number of arguments for which an idle connection keeps room.
	keepArgs = 16
)

// memory returns the most bytes that a request occupies. Each argument has a kind, a number, LF, and CRLF behind it.
// A Reader's buffer is larger by at most bufferSize.
func (l Limits) memory() int {
	resp := l.Request + (l.Args+1)*(1+headerMax+1+2)
	line := l.Line + l.Request + 2
	return max(resp, line, bufferSize)
}
