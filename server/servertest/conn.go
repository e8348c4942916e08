package servertest

import (
	"bufio"
	"crypto/tls"
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

// Send sends text as it is.
func (c *Conn) Send(text string) {
	c.t.Helper()
	c.note("C:", text)
	if _, err := io.WriteString(c, text); err != nil {
		c.Fail("sending: %v", err)
	}
}

// Line returns the next line that the server sends, without its end.
func (c *Conn) Line() string {
	c.t.Helper()
	text, err := c.In.ReadString('\n')
	c.note("S:", text)
	if err != nil {
		c.Fail("reading a reply: %v", err)
	}
	return strings.TrimSuffix(text, "\r\n")
}

// Want reads a line that must begin with a text, and returns what follows.
func (c *Conn) Want(beginning string) string {
	c.t.Helper()
	line := c.Line()
	rest, found := strings.CutPrefix(line, beginning)
	if !found {
		c.Fail("got %q, want %q…", line, beginning)
	}
	return rest
}

// Ask sends a line, and returns what follows the given beginning of the reply.
func (c *Conn) Ask(line, beginning string) string {
	c.t.Helper()
	c.Send(line + "\r\n")
	return c.Want(beginning)
}

// Replies sends lines one after the other, whatever the replies are, and returns the last reply.
func (c *Conn) Replies(lines ...string) (reply string) {
	c.t.Helper()
	for _, line := range lines {
		c.Send(line + "\r\n")
		reply = c.Line()
	}
	return reply
}

// Closed ends the test unless the server has closed the connection and sent nothing more.
func (c *Conn) Closed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.In); err != nil || len(rest) > 0 {
		c.Fail("the connection is not closed: %q, %v", rest, err)
	}
}

// Rest returns everything that the server sends until the connection ends in any way, as it must.
func (c *Conn) Rest() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(require.Patience)) // an error of a closed connection
	var b strings.Builder
	_, err := io.Copy(&b, c.In)
	c.note("S:", b.String())
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.Fail("the connection is still open after %v", require.Patience)
	}
	return b.String()
}

// TLS returns the same client after a TLS handshake.
func (c *Conn) TLS(cfg *tls.Config) *Conn {
	c.t.Helper()
	secured := tls.Client(c.Conn, cfg)
	require.NoError(c.t, secured.Handshake())
	c.t.Cleanup(func() { _ = secured.NetConn().Close() })
	return NewConn(c.t, secured)
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
