package wire

// Limits bound what a Reader accepts. They hold where the bytes arrive: memory grows with what has come, never with what a peer declares.
type Limits struct {
	Line    int // bytes of a line without its payload argument
	Value   int // bytes of one argument
	Request int // bytes of all arguments of one request together
	Args    int // arguments of one request, the command's name counted
}

// DefaultLimits are those of the specification: 64 KiB a line's command part, 1 MiB a value, 1,024 arguments, and requests
// with room for a session of 4 MiB together with its keys.
func DefaultLimits() Limits {
	return Limits{Line: 64 << 10, Value: 1 << 20, Request: 4<<20 + 512<<10, Args: 1024}
}

const (
	// headerMax bounds "*<count>" and "$<length>" with room for any 64-bit number.
	headerMax = 24

	// skipMax is how much of a request that is refused for its size is read and thrown away so that the connection can
	// go on. Past it the connection is closed: nobody sends 64 MiB by mistake twice.
	skipMax = 64 << 20

	// bufferSize is what a connection holds while requests of normal size are read.
	bufferSize = 4 << 10

	// keepMax is the largest buffer kept for the next request.
	keepMax = 64 << 10
)

// memory is the most that a Reader holds for one request: arguments, their headers, and one step of growth.
func (l Limits) memory() int {
	resp := l.Request + (l.Args+1)*(headerMax+2)
	line := l.Line + max(l.Value, l.Request) + 2
	return max(resp, line, bufferSize)
}
