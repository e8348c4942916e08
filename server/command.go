package server

import (
	"context"
	"fmt"
	"math"

	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// Command is a row of the command table. Each rule about a command is a column here and is kept by the server, so that a handler is
// only about what the command does: decode, call, reply.
type Command struct {
	Name  string // lower case; clients may write it in any case
	Usage string // its arguments, as help shows them: "key [value]"
	Help  string // one line: what it does

	Line Arity // how many arguments a line is split into; the last one is taken verbatim
	RESP Arity // how many arguments a RESP request may have

	Needs  Needs
	Access Access
	// AccessOf returns the access where it depends on the arguments or on the mode of the session; Access is the highest
	// that it returns.
	AccessOf func(args [][]byte, mode session.Mode) Access
	Mode     func(args [][]byte) session.Mode // mode in which the command opens a session; nil for any other command
	Keys     Keys
	Cost     int     // what it takes from a rate limit; 1 is a plain look-up in memory
	Releases bool    // it lets go of the open session: while there is one it is charged for, but never refused for its rate
	Waits    bool    // it waits for the disk or for somebody elsewhere: meanwhile others have their turn; see turns
	TakesID  bool    // its first argument is the id of a session
	Payload  Payload // how long the last argument of a line may be

	Run func(*Call) error // answers with exactly one call of Call.Reply, or returns an error
}

// Arity is how many arguments a command takes, its name not counted.
type Arity struct{ Min, Max int }

// Many stands for as many arguments as a request may have.
const Many = math.MaxInt

// Exactly is the arity of a command that takes n arguments.
func Exactly(n int) Arity { return Arity{n, n} }

// Needs is what must be true of the connection before a command runs.
type Needs uint8

const (
	needsUnset  Needs = iota
	Nothing           // not even an identity
	Identity          // that it has authenticated
	NoSession         // and that no session is open on it
	OpenSession       // and that a session is open on it, in whatever mode
)

func (n Needs) String() string {
	return [...]string{"", "nothing", "an identity", "no open session", "an open session"}[n]
}

// Access is what a command does to a session, as policies see it.
type Access uint8

const (
	accessUnset Access = iota
	None               // nothing: it is about the connection
	Read
	Write
)

func (a Access) String() string { return [...]string{"", "none", "read", "write"}[a] }

// Keys says which arguments are keys, each of which the policy is asked about.
type Keys uint8

const (
	NoKeys        Keys = iota // none
	FirstKey                  // the first one
	EveryKey                  // each
	KeysAndValues             // the first, third and so on
	SessionKeys               // none that a gate could find: the handler asks about those of the session and those that it is given
)

// Payload is how much longer than wire.Limits.Line a line may be for its last argument.
type Payload uint8

const (
	NoPayload      Payload = iota
	ValuePayload           // by one value
	SessionPayload         // by all the values of a session
)

// Call is one request on its way through the gates to its handler. It is valid until the handler returns, like all that it hands out.
type Call struct {
	Command *Command
	Args    [][]byte      // views of the connection's buffer: copy what is kept
	Reply   *wire.Encoder // where the answer goes

	conn *conn
	fact fact // what it has done, if the audit log is to have that
}

// Context ends when the server has no more time for the request.
func (c *Call) Context() context.Context { return c.conn.server.ctx }

// Identity is who asks.
func (c *Call) Identity() auth.Identity { return c.conn.caller.info.Identity }

// Session is the session that is open on the connection: never nil for a command that needs one.
func (c *Call) Session() *session.Session { return c.conn.session }

// mode returns the mode of the open session, or the one that the command opens a session in.
func (c *Call) mode() session.Mode {
	if s := c.conn.session; s != nil {
		return s.Mode()
	}
	if c.Command.Mode != nil {
		return c.Command.Mode(c.Args)
	}
	return session.ReadWrite
}

// access returns what the command does to a session with these arguments.
func (c *Call) access() Access { return c.Command.access(c.Args, c.mode()) }

func (cmd *Command) access(args [][]byte, mode session.Mode) Access {
	if cmd.AccessOf != nil {
		return cmd.AccessOf(args, mode)
	}
	return cmd.Access
}

// usage is how the command is written.
func (cmd *Command) usage() string {
	if cmd.Usage == "" {
		return cmd.Name
	}
	return cmd.Name + " " + cmd.Usage
}

// arity is how many arguments the command takes in this framing.
func (cmd *Command) arity(f wire.Framing) Arity {
	if f == wire.RESP {
		return cmd.RESP
	}
	return cmd.Line
}

// check answers what is missing from the row.
func (cmd *Command) check() error {
	switch {
	case cmd.Name == "" || len(cmd.Name) > nameMax || !lowerCase(cmd.Name):
		return fmt.Errorf("a name is 1 to %d of a-z, 0-9 and _", nameMax)
	case cmd.Help == "":
		return fmt.Errorf("column Help is missing")
	case cmd.Line.Min > cmd.Line.Max || cmd.RESP.Min > cmd.RESP.Max || cmd.Line.Min < 0 || cmd.RESP.Min < 0:
		return fmt.Errorf("columns Line and RESP must have Min between 0 and Max")
	case (cmd.Usage == "") != (cmd.Line.Max == 0 && cmd.RESP.Max == 0):
		return fmt.Errorf("column Usage must name the arguments that Line and RESP allow")
	case cmd.Needs > OpenSession || cmd.Access > Write || cmd.Payload > SessionPayload || cmd.Keys > SessionKeys:
		return fmt.Errorf("Needs, Access, Payload or Keys is none of those that there are")
	case cmd.Keys == FirstKey && (cmd.Line.Min < 1 || cmd.RESP.Min < 1):
		return fmt.Errorf("column Keys is FirstKey, and there may be no argument")
	case cmd.Needs == needsUnset:
		return fmt.Errorf("column Needs is missing")
	case cmd.Access == accessUnset:
		return fmt.Errorf("column Access is missing")
	case cmd.Cost < 1 || cmd.Cost > BurstMin:
		return fmt.Errorf("column Cost must be 1 to %d", BurstMin)
	case cmd.Payload != NoPayload && cmd.Line.Max == 0:
		return fmt.Errorf("column Payload is for a command with arguments")
	case cmd.Run == nil:
		return fmt.Errorf("column Run is missing")
	}
	return nil
}

const nameMax = 32

func lowerCase(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// table finds rows by name.
type table struct {
	rows   []*Command // in the order of declaration, which help keeps
	byName map[string]*Command
}

// builtin is the table of the commands that every server has.
func builtin() *table {
	t := &table{byName: make(map[string]*Command)}
	for _, family := range [][]Command{sessionCommands, valueCommands, connectionCommands, redisCommands} {
		t.with(family)
	}
	return t
}

// with adds rows. It panics on one that is half filled or doubles a name: a fault of whoever wrote it, to be seen at the first start.
func (t *table) with(rows []Command) *table {
	for _, row := range rows {
		if err := row.check(); err != nil {
			panic(fmt.Sprintf("server: command %q: %v", row.Name, err))
		}
		if t.byName[row.Name] != nil {
			panic(fmt.Sprintf("server: command %q: declared twice", row.Name))
		}
		t.byName[row.Name] = &row
		t.rows = append(t.rows, &row)
	}
	return t
}

// lookup finds the row for a name as a client wrote it, or nil.
func (t *table) lookup(name []byte) *Command {
	var lower [nameMax]byte
	if len(name) > nameMax {
		return nil
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return t.byName[string(lower[:len(name)])]
}

// payload is how long the last argument of a line with this name may be beyond a line's ordinary limit.
func (t *table) payload(limits wire.Limits) func(name []byte) int {
	return func(name []byte) int {
		cmd := t.lookup(name)
		if cmd == nil {
			return 0
		}
		return [...]int{NoPayload: 0, ValuePayload: limits.Value, SessionPayload: limits.Request}[cmd.Payload]
	}
}
