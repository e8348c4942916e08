package servertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest/require"
)

// Conn is a client that sends lines and reads replies. Its methods end the test when a reply is not as expected, and
// print the conversation. [Conn.Do] alone returns errors, for goroutines.
type Conn struct {
	net.Conn
	In *bufio.Reader // what the server has sent

	t            testing.TB
	conversation []string // the last lines of both sides
}

// NewConn returns a client on a connection. Without a test only Do may be used.
func NewConn(t testing.TB, nc net.Conn) *Conn {
	return &Conn{Conn: nc, In: bufio.NewReader(nc), t: t}
}

// Dial connects to a server, for callers that must not end the test.
func Dial(addr string) (*Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewConn(nil, nc), nc.SetDeadline(time.Now().Add(require.Patience))
}

// Connect connects to a server until the end of the test.
func Connect(t testing.TB, addr string) *Conn {
	t.Helper()
	c, err := Dial(addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	c.t = t
	return c
}

// Do sends a line and returns the rest of the reply after ok. Any other reply is an error.
func (c *Conn) Do(line string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(require.Patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
		return "", err
	}
	c.note("C:", line)
	reply, err := c.In.ReadString('\n')
	if err != nil {
		return "", err
	}
	c.note("S:", reply)
	reply = strings.TrimSuffix(reply, "\r\n")
	rest, found := strings.CutPrefix(reply, "ok")
	if !found {
		return "", fmt.Errorf("%s: %s", line, reply)
	}
	return strings.TrimPrefix(rest, " "), nil
}

// OK sends a line and returns the rest of the reply, which must be ok.
func (c *Conn) OK(line string) string {
	c.t.Helper()
	rest, err := c.Do(line)
	if err != nil {
		c.Fail("%v", err)
	}
	return rest
}

// Refused sends a line that must be refused with a code, and returns the error.
func (c *Conn) Refused(line, code string) string {
	c.t.Helper()
	rest, err := c.Do(line)
	if err == nil {
		c.t.Errorf("%.60q: the reply is ok %q, want %s", line, rest, code)
		return ""
	}
	if !strings.Contains(err.Error(), ": err "+code+" ") {
		c.t.Errorf("%.60q: %v, want %s", line, err, code)
	}
	return err.Error()
}

// Rest returns everything that the server sends until it closes the connection, which it must.
func (c *Conn) Rest() string {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(require.Patience)))
	var b strings.Builder
	if _, err := io.Copy(&b, c.In); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			c.t.Errorf("the connection is still open after %v", require.Patience)
		}
	}
	return b.String()
}

// Fail ends the test and prints the conversation.
func (c *Conn) Fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf(format+"\n%s", append(args, strings.Join(c.conversation, "\n"))...)
}

// note keeps the last lines of the conversation.
func (c *Conn) note(side, text string) {
	if len(text) > 200 {
		text = fmt.Sprintf("%.200s… (%d bytes)", text, len(text))
	}
	if c.conversation = append(c.conversation, fmt.Sprintf("%s %q", side, text)); len(c.conversation) > 50 {
		c.conversation = c.conversation[1:]
	}
}
