package transcript

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strings"
)

// Transcript is a conversation that can be played.
type Transcript struct {
	name  string
	lines []line
}

type line struct {
	number int
	text   string // as it stands in the file
	kind   kind
	conn   string // name of the connection; "" is the connection without a name
	arg    string // the request, the reply, or the protocol of a connect
}

type kind uint8

const (
	remark kind = iota
	client
	server
	connect
	hangup
)

var (
	messageLine = regexp.MustCompile(`^([CS])(?: ([a-z][a-z0-9]*))?:(?: (.*))?$`)
	connectLine = regexp.MustCompile(`^connect ([a-z][a-z0-9]*) (resp2|resp3)$`)
	hangupLine  = regexp.MustCompile(`^hangup ([a-z][a-z0-9]*)$`)
)

// Parse reads a transcript. Its errors begin with name:line.
func Parse(name string, r io.Reader) (*Transcript, error) {
	t := &Transcript{name: name}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for number := 1; scanner.Scan(); number++ {
		l := line{number: number, text: scanner.Text()}
		switch trimmed := strings.TrimSpace(l.text); {
		case trimmed == "" || trimmed[0] == '#':
		case messageLine.MatchString(l.text):
			m := messageLine.FindStringSubmatch(l.text)
			l.kind, l.conn, l.arg = client, m[2], m[3]
			if m[1] == "S" {
				l.kind = server
			}
		case connectLine.MatchString(l.text):
			m := connectLine.FindStringSubmatch(l.text)
			l.kind, l.conn, l.arg = connect, m[1], m[2]
		case hangupLine.MatchString(l.text):
			l.kind, l.conn = hangup, hangupLine.FindStringSubmatch(l.text)[1]
		default:
			return nil, fmt.Errorf("%s:%d: not a line of a transcript (allowed: "+
				"C: …, S: …, C name: …, S name: …, connect name resp2|resp3, hangup name, # …)", name, number)
		}
		t.lines = append(t.lines, l)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// names maps each {name} to its value.
type names map[string]string

var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9]*|\.\.\.)\}`)

// fill replaces each known {name} with its value.
func (n names) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		if value, known := n[p[1:len(p)-1]]; known {
			return value
		}
		return p
	})
}

// match reports whether got fits expected, and stores the values of the names that are new. A stored value is literal
// text, even if it looks like a {name}.
func (n names) match(expected, got string) bool {
	var pattern strings.Builder
	var captured []string
	pattern.WriteString(`^(?s)`)
	rest := expected
	for {
		at := placeholder.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		name := rest[at[2]:at[3]]
		switch value, known := n[name]; {
		case name == "...":
			pattern.WriteString(`.*`)
		case known:
			pattern.WriteString(regexp.QuoteMeta(value))
		default:
			captured = append(captured, name)
			pattern.WriteString(`([^\s"]+)`)
		}
		rest = rest[at[1]:]
	}
	pattern.WriteString(regexp.QuoteMeta(rest) + `$`)
	m := regexp.MustCompile(pattern.String()).FindStringSubmatch(got)
	if m == nil {
		return false
	}
	learned := names{}
	for i, name := range captured {
		if value, twice := learned[name]; twice && value != m[i+1] {
			return false
		}
		learned[name] = m[i+1]
	}
	maps.Copy(n, learned)
	return true
}
