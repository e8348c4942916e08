package server

import (
	"context"
	"fmt"
	"math"

	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// Command is a row of the command table. Each rule about a command is a column, which the server enforces. So a
// handler only decodes the arguments, makes a call and replies.
type Command struct {
	Name  string // in lower case; clients may use any case
	Usage string // arguments, as help shows them: "key [value]"
	Help  string // one line: the effect of the command

	Line Arity // number of arguments of a line; the last one is verbatim
	RESP Arity // number of arguments of a RESP request

	Needs  Needs
	Access Access
	// AccessOf returns the access where it depends on the arguments or on the mode of the session; Access is the
	// highest that it returns.
	AccessOf func(args [][]byte, mode session.Mode) Access
	Mode     func(args [][]byte) session.Mode // mode in which the command opens a session; nil for any other command
	Keys     Keys
	Cost     int     // tokens of the rate limits; 1 is a lookup in memory
	Waits    bool    // waits for the disk or another system, while other connections have their turn; see turns
	TakesID  bool    // the first argument is the id of a session
	Payload  Payload // size of the last argument of a line

	// Releases marks a command that closes the open session. It is charged for then, but never refused for a rate.
	Releases bool

	Run func(*Call) error // calls Call.Reply exactly once, or returns an error
}

// Arity is the number of arguments of a command, without its name.
type Arity struct{ Min, Max int }

// Many is a Max that only the limits of a request bound.
const Many = math.MaxInt

// Exactly returns the arity of a command with n arguments.
func Exactly(n int) Arity { return Arity{n, n} }

// Needs is the state of the connection that a command requires.
type Needs uint8

const (
	needsUnset  Needs = iota
	Nothing           // not even an identity
	Identity          // an authenticated connection
	NoSession         // also no open session
	OpenSession       // also an open session, in any mode
)

func (n Needs) String() string {
	return [...]string{"", "nothing", "an identity", "no open session", "an open session"}[n]
}

// Access is the effect of a command on a session, as policies see it.
type Access uint8

const (
	accessUnset Access = iota
	None               // no access: the command concerns the connection
	Read
	Write
)

func (a Access) String() string { return [...]string{"", "none", "read", "write"}[a] }

// Keys describes which arguments are keys. The policy decides about each key.
type Keys uint8

const (
	NoKeys        Keys = iota // none
	FirstKey                  // the first one
	EveryKey                  // each
	KeysAndValues             // the first, third and so on
	SessionKeys               // the handler asks the policy about the keys of the session and of the request
)

// Payload is the size by which the last argument of a line may exceed wire.Limits.Line.
type Payload uint8

const (
	NoPayload      Payload = iota
	ValuePayload           // the size of one value
	SessionPayload         // the size of all values of a session
)

// Call is one request on its path through the gates to its handler. The call and everything that it returns are valid
// until the handler returns.
type Call struct {
	Command *Command
	Args    [][]byte      // views of the connection's buffer; copy them to keep them
	Reply   *wire.Encoder // receives the reply

	conn *conn
	fact fact // its effect, if the audit log records it
}

// Context returns a context that ends when the server has no more time for the request.
func (c *Call) Context() context.Context { return c.conn.server.ctx }

// Identity returns the identity of the connection.
func (c *Call) Identity() auth.Identity { return c.conn.caller.info.Identity }

// Session returns the open session of the connection. It is not nil for a command that needs one.
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

// access returns the effect of the command on a session with these arguments.
func (c *Call) access() Access { return c.Command.access(c.Args, c.mode()) }

func (cmd *Command) access(args [][]byte, mode session.Mode) Access {
	if cmd.AccessOf != nil {
		return cmd.AccessOf(args, mode)
	}
	return cmd.Access
}

// usage returns the syntax of the command.
func (cmd *Command) usage() string {
	if cmd.Usage == "" {
		return cmd.Name
	}
	return cmd.Name + " " + cmd.Usage
}

// arity returns the number of arguments of the command in this framing.
func (cmd *Command) arity(f wire.Framing) Arity {
	if f == wire.RESP {
		return cmd.RESP
	}
	return cmd.Line
}

// check returns an error if the row is incomplete.
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
		return fmt.Errorf("column Needs, Access, Payload or Keys has an unknown value")
	case cmd.Keys == FirstKey && (cmd.Line.Min < 1 || cmd.RESP.Min < 1):
		return fmt.Errorf("column Keys is FirstKey, but the first argument is optional")
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
	rows   []*Command // in the order of declaration, which is that of help
	byName map[string]*Command
}

// builtin returns the table of the commands that every server has.
func builtin() *table {
	t := &table{byName: make(map[string]*Command)}
	for _, family := range [][]Command{sessionCommands, valueCommands, connectionCommands, redisCommands} {
		t.with(family)
	}
	return t
}

// with adds rows. It panics on an incomplete row or a duplicate name. That is a fault of the program, which is found
// at the first start.
func (t *table) with(rows []Command) *table {
	for _, row := range rows {
		if err := row.check(); err != nil {
			panic(fmt.Sprintf("server: command %q: %v", row.Name, err))
		}
		if t.byName[row.Name] != nil {
			panic(fmt.Sprintf("server: command %q: duplicate name", row.Name))
		}
		t.byName[row.Name] = &row
		t.rows = append(t.rows, &row)
	}
	return t
}

// lookup returns the row for a name in any case, or nil.
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

// payload returns the function by which a wire.Reader finds the payload of a line.
func (t *table) payload(limits wire.Limits) func(name []byte) int {
	return func(name []byte) int {
		cmd := t.lookup(name)
		if cmd == nil {
			return 0
		}
		return [...]int{NoPayload: 0, ValuePayload: limits.Value, SessionPayload: limits.Request}[cmd.Payload]
	}
}
