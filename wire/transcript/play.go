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

// Play holds the conversation over connections that dial opens, and answers an error that shows it if the server says anything but what is
// written. It also returns the transcript as it really went: a line that was wrong stands there as the server said it.
func (t *Transcript) Play(ctx context.Context, dial func(context.Context) (net.Conn, error)) (actual string, err error) {
	p := player{dial: dial, known: names{}, conns: map[string]*talk{}}
	defer p.close()
	var shown strings.Builder
	var wrong error
	for _, l := range t.lines {
		said, err := p.step(ctx, l)
		if err != nil {
			if ctx.Err() != nil { // then err is only how that was noticed
				err = context.Cause(ctx)
			}
			return "", fmt.Errorf("%s:%d: %w\nthe conversation so far:\n%s%s", t.name, l.number, err, strings.TrimLeft(shown.String(), "\n"), l.text)
		}
		if said != l.text && wrong == nil {
			wrong = fmt.Errorf("%s:%d: the server said something else:\n%swritten: %s\nheard:   %s",
				t.name, l.number, strings.TrimLeft(shown.String(), "\n"), p.known.fill(l.text), said)
		}
		shown.WriteString(said + "\n")
	}
	return shown.String(), wrong
}

type player struct {
	dial  func(context.Context) (net.Conn, error)
	known names
	conns map[string]*talk
}

// talk is one connection.
type talk struct {
	net.Conn
	resp    bool
	unwatch func() bool
	lines   *bufio.Reader
	replies *wire.ReplyReader
}

// step plays one line and returns it as it went.
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
		return l.text, c.speakRESP(l.what)
	case hangup:
		delete(p.conns, l.conn)
		return l.text, c.hangUp()
	case client:
		return l.text, c.say(p.known.fill(l.what))
	}
	heard, err := c.hear()
	if err != nil {
		return "", err
	}
	if p.known.match(l.what, heard) {
		return l.text, nil
	}
	speaker := "S: "
	if l.conn != "" {
		speaker = "S " + l.conn + ": "
	}
	return speaker + p.known.conceal(heard), nil
}

// conceal puts the names back for what they stand for, if that is long enough to stand for nothing else. Of two names for the same the
// first in the alphabet is taken, and a value before one that is part of it.
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

func (p *player) conn(ctx context.Context, name string) (*talk, error) {
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	nc, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &talk{Conn: nc, lines: bufio.NewReader(nc)}
	c.unwatch = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) }) // wakes whoever reads or writes
	p.conns[name] = c
	return c, nil
}

func (p *player) close() {
	for _, c := range p.conns {
		_ = c.hangUp()
	}
}

func (c *talk) hangUp() error {
	c.unwatch()
	return c.Close()
}

// speakRESP makes the connection one of words and replies.
func (c *talk) speakRESP(version string) error {
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

func (c *talk) say(text string) error {
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

func (c *talk) hear() (string, error) {
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
		return "", fmt.Errorf("the server has closed the connection within a line: %.200q", text)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), err
}

// split takes a line apart into words, which are quoted as in Go where they need it.
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
			return nil, fmt.Errorf("a quoted word does not end: %s", text)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("a quoted word is malformed: %s", quoted)
		}
		words, text = append(words, word), text[len(quoted):]
		if text != "" && text[0] != ' ' {
			return nil, fmt.Errorf("a quoted word goes on behind its end: %s%s", quoted, text)
		}
	}
	if len(words) == 0 {
		return nil, errors.New("a request needs a word at least")
	}
	return words, nil
}

// render writes a RESP reply as a transcript shows it.
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
