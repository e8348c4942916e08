package flood

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"sessionserver/wire"
)

// Kinds are the names of all kinds of floods.
var Kinds = []string{
	"connections", "cycles", "values", "half", "unread", "pump", "locks", "session_creation", "unauthenticated",
	"handshakes",
}

// kinds holds the number of clients of each kind, and the step that each repeats until the flood ends.
var kinds = map[string]struct {
	clients int
	step    func(context.Context, *conn) error
}{
	"connections":      {1600, connections},
	"cycles":           {200, cycles},
	"values":           {48, values},
	"half":             {96, half},
	"unread":           {64, unread},
	"pump":             {32, pump},
	"locks":            {400, locks},
	"session_creation": {64, sessionCreation},
	"unauthenticated":  {64, unauthenticated},
	"handshakes":       {32, handshakes},
}

// Clients returns how many clients a kind of flood has.
func Clients(kind string) int { return kinds[kind].clients }

// conn is a connection of one client.
type conn struct {
	net.Conn
	in      *bufio.Reader
	replies *wire.ReplyReader
	flood   *Flood
	kind    string
	client  int // its number among the clients of its kind
	steps   int // how many were made on this connection
}

// send sends requests, each a list of words, in one piece.
func (c *conn) send(requests ...[]string) error {
	var out []byte
	for _, r := range requests {
		out = wire.AppendRequest(out, r...)
	}
	_, err := c.Write(out)
	return err
}

// receive reads n replies and returns the code of the last, or "" if it is no error.
func (c *conn) receive(n int) (code string, err error) {
	for range n {
		first, err := c.in.Peek(1)
		if err != nil {
			return "", err
		}
		if first[0] == 'e' { // the client has sent nothing yet, and gets the refusal as a line
			line, err := c.in.ReadString('\n')
			if err != nil {
				return "", err
			}
			code = strings.Fields(line + " ? ?")[1]
		} else {
			r, err := c.replies.Next()
			if err != nil {
				return "", err
			}
			if code = ""; r.Err != nil {
				code = string(r.Err.Code)
			}
		}
		result := "ok"
		if code != "" {
			result = code
		}
		c.flood.count(c.kind, result)
	}
	return code, nil
}

// ask sends requests and returns the code of the last reply.
func (c *conn) ask(requests ...[]string) (code string, err error) {
	if err := c.send(requests...); err != nil {
		return "", err
	}
	return c.receive(len(requests))
}

// auth authenticates on a new connection.
func (c *conn) auth() error {
	if c.steps > 0 {
		return nil
	}
	code, err := c.ask([]string{"auth", c.flood.App, c.flood.Secret})
	if err == nil && code != "" {
		return errLeave
	}
	return err
}

// id returns the id of a session that the clients with this number share.
func (c *conn) id(client int) string { return fmt.Sprintf("flood-%s-%08d", c.kind, client) }

// Value is the value of a cycle.
var Value = strings.Repeat("0123456789abcdef", 128)

// mebibyte is the largest value.
var mebibyte = strings.Repeat("0123456789abcdef", 64<<10)

// connections holds a connection for a second, and then opens another.
func connections(ctx context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		pause(ctx, 10*time.Millisecond)
		return err
	}
	if _, err := c.ask([]string{"ping"}); err != nil {
		return err
	}
	pause(ctx, time.Second)
	return errLeave
}

// cycles runs ordinary cycles at full speed.
func cycles(_ context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id(c.client)}, []string{"get_all"}); err != nil {
		return err
	}
	_, err := c.ask([]string{"put", "data", Value}, []string{"close"})
	return err
}

// values saves and reads sessions of the largest allowed size.
func values(_ context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id(c.client)}); err != nil {
		return err
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := c.ask([]string{"put", key, mebibyte[:len(mebibyte)-100]}); err != nil {
			return err
		}
	}
	if _, err := c.ask([]string{"close"}); err != nil {
		return err
	}
	_, err := c.ask([]string{"open", c.id(c.client), "s"}, []string{"get_all"}, []string{"abort"})
	return err
}

// half sends a large request without its end.
func half(ctx context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id(c.client)}); err != nil {
		return err
	}
	var all []byte
	for _, arg := range []string{"put_all", "a", mebibyte, "b", mebibyte, "c", mebibyte, "d", mebibyte[:1000]} {
		all = fmt.Appendf(all, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := c.Write(append([]byte("*9\r\n"), all[:len(all)-10]...)); err != nil {
		return err
	}
	pause(ctx, 200*time.Millisecond)
	return errLeave
}

// unread sends requests with large replies and reads none.
func unread(ctx context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if _, err := c.ask([]string{"open", c.id(c.client)}, []string{"put", "a", mebibyte[:256<<10]}); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	gets := strings.Repeat("*1\r\n$7\r\nget_all\r\n", 1000)
	for {
		if _, err := io.WriteString(c, gets); errors.Is(err, os.ErrDeadlineExceeded) {
			pause(ctx, time.Second)
			return errLeave
		} else if err != nil {
			return err
		}
	}
}

// pump sends pipelines of small requests at full speed.
func pump(_ context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	var failed error
	var reading sync.WaitGroup
	reading.Go(func() {
		for failed == nil {
			_, failed = c.receive(1)
		}
	})
	pings := strings.Repeat("*1\r\n$4\r\nping\r\n", 1000)
	var err error
	for err == nil {
		_, err = io.WriteString(c, pings)
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // for replies that were not read yet
	reading.Wait()
	return err
}

// locks opens the same session as all other clients.
func locks(_ context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if code, err := c.ask([]string{"open", c.id(0), "rw", "60000"}); err != nil || code != "" {
		return err
	}
	_, err := c.ask([]string{"put", "data", Value}, []string{"close"})
	return err
}

// sessionCreation creates sessions.
func sessionCreation(_ context.Context, c *conn) error {
	if err := c.auth(); err != nil {
		return err
	}
	if code, err := c.ask([]string{"new"}); err != nil || code != "" {
		return err
	}
	if code, err := c.ask([]string{"put", "data", "x"}, []string{"close"}); err != nil || code == "" {
		return err
	}
	_, err := c.ask([]string{"abort"})
	return err
}

// unauthenticated sends wrong credentials, and commands that need right ones.
func unauthenticated(_ context.Context, c *conn) error {
	_, err := c.ask([]string{"new"}, []string{"open", c.id(0)}, []string{"ping"}, []string{"nonsense"})
	if err != nil {
		return err
	}
	_, err = c.ask([]string{"auth", c.flood.App, "hss_wrong"}, []string{"auth", "no/body", "hss_wrong"})
	return err
}

// handshakes makes the expensive part of TLS and leaves.
func handshakes(ctx context.Context, c *conn) error {
	secured := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := secured.HandshakeContext(ctx); err != nil {
		return err
	}
	c.flood.count(c.kind, "ok")
	return errLeave
}
