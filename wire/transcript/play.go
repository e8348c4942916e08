package transcript

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sessionserver/wire"
)

// Play plays the conversation over connections that dial opens. It returns an error that shows the conversation if a
// reply differs from the transcript. It also returns the transcript with the actual replies.
func (t *Transcript) Play(
	ctx context.Context, dial func(context.Context) (net.Conn, error),
) (actual string, err error) {
	p := player{dial: dial, known: names{}, conns: map[string]*conversation{}}
	defer p.close()
	var shown strings.Builder
	var mismatch error
	for _, l := range t.lines {
		played, err := p.step(ctx, l)
		if err != nil {
			if ctx.Err() != nil { // then err is only a consequence
				err = context.Cause(ctx)
			}
			return "", fmt.Errorf("%s:%d: %w\nthe conversation so far:\n%s%s", t.name, l.number, err,
				strings.TrimLeft(shown.String(), "\n"), l.text)
		}
		if played != l.text && mismatch == nil {
			mismatch = fmt.Errorf("%s:%d: unexpected reply:\n%sexpected: %s\nreceived: %s",
				t.name, l.number, strings.TrimLeft(shown.String(), "\n"), p.known.fill(l.text), played)
		}
		shown.WriteString(played + "\n")
	}
	return shown.String(), mismatch
}

type player struct {
	dial  func(context.Context) (net.Conn, error)
	known names
	conns map[string]*conversation
}

// conversation is one connection.
type conversation struct {
	net.Conn
	resp       bool
	stopCancel func() bool
	lines      *bufio.Reader
	replies    *wire.ReplyReader
}

// step plays one line and returns the line with the actual reply.
func (p *player) step(ctx context.Context, l line) (string, error) {
	if l.kind == remark {
		return l.text, nil
	}
	c, err := p.conn(ctx, l.conn)
	if err != nil {
		return "", err
	}
	switch l.kind {
	case connect:
		return l.text, c.useRESP(l.arg)
	case hangup:
		delete(p.conns, l.conn)
		return l.text, c.hangUp()
	case client:
		return l.text, c.send(p.known.fill(l.arg))
	}
	received, err := c.receive()
	if err != nil {
		return "", err
	}
	if p.known.match(l.arg, received) {
		return l.text, nil
	}
	prefix := "S: "
	if l.conn != "" {
		prefix = "S " + l.conn + ": "
	}
	return prefix + p.known.conceal(received), nil
}

// conceal replaces values with their names, if a value is too long to occur by chance. Of two names with the same
// value the first in alphabetical order is used. A value comes before another one that is part of it.
func (n names) conceal(text string) string {
	sorted := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(len(n[b])-len(n[a]), strings.Compare(a, b))
	})
	for _, name := range sorted {
		if len(n[name]) >= 16 {
			text = strings.ReplaceAll(text, n[name], "{"+name+"}")
		}
	}
	return text
}

func (p *player) conn(ctx context.Context, name string) (*conversation, error) {
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	nc, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conversation{Conn: nc, lines: bufio.NewReader(nc)}
	c.stopCancel = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // interrupts a read or write
	p.conns[name] = c
	return c, nil
}

func (p *player) close() {
	for _, c := range p.conns {
		_ = c.hangUp()
	}
}

func (c *conversation) hangUp() error {
	c.stopCancel()
	return c.Close()
}

// useRESP makes the connection use words and RESP replies.
func (c *conversation) useRESP(version string) error {
	c.resp, c.replies = true, wire.NewReplyReader(c.lines)
	if version != "resp3" {
		return nil
	}
	if _, err := c.Write(wire.AppendRequest(nil, "HELLO", "3")); err != nil {
		return err
	}
	reply, err := c.replies.Next()
	if err == nil && reply.Err != nil {
		err = reply.Err
	}
	return err
}

func (c *conversation) send(text string) error {
	if !c.resp {
		_, err := io.WriteString(c, text+"\r\n")
		return err
	}
	words, err := split(text)
	if err != nil {
		return err
	}
	_, err = c.Write(wire.AppendRequest(nil, words...))
	return err
}

const closed = "(closed)"

func (c *conversation) receive() (string, error) {
	if c.resp {
		reply, err := c.replies.Next()
		if errors.Is(err, io.EOF) {
			return closed, nil
		}
		return render(reply), err
	}
	text, err := c.lines.ReadString('\n')
	switch {
	case errors.Is(err, io.EOF) && text == "":
		return closed, nil
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("the server closed the connection in the middle of a line: %.200q", text)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), err
}

// split splits a line into words, which are quoted as in Go where necessary.
func split(text string) ([]string, error) {
	var words []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			words, text = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return nil, fmt.Errorf("quoted word has no end: %s", text)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("malformed quoted word: %s", quoted)
		}
		words, text = append(words, word), text[len(quoted):]
		if text != "" && text[0] != ' ' {
			return nil, fmt.Errorf("quoted word continues after its end: %s%s", quoted, text)
		}
	}
	if len(words) == 0 {
		return nil, errors.New("empty request; a request is at least one word")
	}
	return words, nil
}

// render formats a RESP reply as in a transcript.
func render(r wire.Reply) string {
	switch r.Kind {
	case '+':
		return string(r.Bytes)
	case '$':
		return strconv.Quote(string(r.Bytes))
	case ':':
		return fmt.Sprintf("(integer) %d", r.Int)
	case '-':
		return "(error) " + r.Err.Error()
	case '_':
		return "(null)"
	case '%':
		pairs := make([]string, len(r.Items)/2)
		for i := range pairs {
			pairs[i] = render(r.Items[2*i]) + ": " + render(r.Items[2*i+1])
		}
		slices.Sort(pairs)
		return "{" + strings.Join(pairs, ", ") + "}"
	}
	items := make([]string, len(r.Items))
	for i, item := range r.Items {
		items[i] = render(item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
