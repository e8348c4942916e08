package wire

// Limits bound what a Reader accepts. They hold where the bytes arrive: memory grows with what has come, never with what a peer declares.
type Limits struct {
	Line    int // bytes of a line without its payload argument
	Value   int // bytes of one argument
	Request int // bytes of all arguments of one request together
	Args    int // arguments of one request, the command's name counted
}

// DefaultLimits are those of the specification: 64 KiB a line's command part, 1 MiB a value, and requests with room for put_all of
// a whole session: 1,024 keys, 4 MiB.
func DefaultLimits() Limits {
	return Limits{Line: 64 << 10, Value: 1 << 20, Request: 4<<20 + 512<<10, Args: 2050}
}

// UnauthenticatedLimits are for a peer of whom nobody knows who it is: room for a handshake, so that many of them cost little.
func UnauthenticatedLimits() Limits {
	return Limits{Line: 4 << 10, Value: 4 << 10, Request: 8 << 10, Args: 64}
}

const (
	// headerMax bounds the number in "*<count>" and "$<length>" together with its CR, with room for any 64-bit number.
	headerMax = 24

	// skipMax is how much of a request that is refused for its size is read and thrown away so that the connection can
	// go on. Past it the connection is closed: nobody sends 64 MiB by mistake twice.
	skipMax = 64 << 20

	// bufferSize is what a connection holds while requests of normal size are read.
	bufferSize = 4 << 10

	// keepMax is the largest buffer kept for the next request.
	keepMax = 64 << 10

	// keepArgs is for how many arguments an idle connection keeps room.
	keepArgs = 16
)

// memory is the most that a request takes: its arguments, each with kind, number, LF and the CRLF behind it. A Reader's buffer is larger by
// at most bufferSize.
func (l Limits) memory() int {
	resp := l.Request + (l.Args+1)*(1+headerMax+1+2)
	line := l.Line + l.Request + 2
	return max(resp, line, bufferSize)
}
