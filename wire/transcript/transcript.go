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
	conn   string // the connection's name; "" is the one without a name
	what   string // what is said, or the protocol of a connect
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
	spoken    = regexp.MustCompile(`^([CS])(?: ([a-z][a-z0-9]*))?:(?: (.*))?$`)
	connected = regexp.MustCompile(`^connect ([a-z][a-z0-9]*) (resp2|resp3)$`)
	hungUp    = regexp.MustCompile(`^hangup ([a-z][a-z0-9]*)$`)
)

// Parse reads a transcript. name is for errors, which say name:line.
func Parse(name string, r io.Reader) (*Transcript, error) {
	t := &Transcript{name: name}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for number := 1; scanner.Scan(); number++ {
		l := line{number: number, text: scanner.Text()}
		switch trimmed := strings.TrimSpace(l.text); {
		case trimmed == "" || trimmed[0] == '#':
		case spoken.MatchString(l.text):
			m := spoken.FindStringSubmatch(l.text)
			l.kind, l.conn, l.what = client, m[2], m[3]
			if m[1] == "S" {
				l.kind = server
			}
		case connected.MatchString(l.text):
			m := connected.FindStringSubmatch(l.text)
			l.kind, l.conn, l.what = connect, m[1], m[2]
		case hungUp.MatchString(l.text):
			l.kind, l.conn = hangup, hungUp.FindStringSubmatch(l.text)[1]
		default:
			return nil, fmt.Errorf("%s:%d: not a line of a transcript (allowed: C: …, S: …, C name: …, S name: …, "+
				"connect name resp2|resp3, hangup name, # …)", name, number)
		}
		t.lines = append(t.lines, l)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// names are what {name} stands for, by name.
type names map[string]string

var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9]*|\.\.\.)\}`)

// fill puts in what is known.
func (n names) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		if value, known := n[p[1:len(p)-1]]; known {
			return value
		}
		return p
	})
}

// match reports whether got is what was expected, and remembers the words that it names for the first time. What is known stands for
// itself in it: a value that looks like a name is not one.
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
