package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Problem is one thing that is wrong with a configuration, as file:line: key: problem.
type Problem struct {
	File string
	Line int    // 0 if the key is not in the file
	Key  string // such as session.lifetime or listen[0].address; "" if it is the file as a whole
	Text string // what is wrong and what is allowed
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String() + ": " + p.Text
}

// Problems are all that is wrong, one a line.
type Problems []Problem

func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// SizeMax is the most bytes that a configuration, or the file of a tenant, has: room for some ten thousand address ranges.
const SizeMax = 1 << 20

// problemsMax is how many problems are told at once.
const problemsMax = 100

// Load reads the configuration in a file. An error is Problems, or that the file could not be read. See Parse.
func Load(file string, also ...func(*Config) Problems) (*Config, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data, also...)
}

// read reads a file, up to one byte more than it may have.
func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, SizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	return data, nil
}

// Parse reads the configuration in data, strictly: a key that is not known, or is there twice, is a problem, as is everything that only
// makes YAML harder to read (aliases, tags, several documents). Each of also is asked for what is wrong beyond what this package can know,
// so that all of it is told at once; it is asked although other keys have problems, and these have their defaults then. file is for messages.
func Parse(file string, data []byte, also ...func(*Config) Problems) (*Config, error) {
	cfg, problems := parseConfig(file, data, also)
	if len(problems) > 0 {
		return nil, problems
	}
	return cfg, nil
}

// LoadAnyhow reads what can be read of a configuration with which something is wrong, which problems tell; the rest has its defaults. It is for
// what must not wait until all is right, such as to take a tenant's secret away, and never to serve by.
func LoadAnyhow(file string, also ...func(*Config) Problems) (cfg *Config, problems Problems, err error) {
	data, err := read(file)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems = parseConfig(file, data, also)
	return cfg, problems, nil
}

func parseConfig(file string, data []byte, also []func(*Config) Problems) (*Config, Problems) {
	cfg := Default()
	asks := []func() Problems{cfg.Validate}
	for _, ask := range also {
		asks = append(asks, func() Problems { return ask(&cfg) })
	}
	decoded := func() {
		for i := range cfg.Listen {
			cfg.Listen[i].setDefaults()
		}
	}
	return &cfg, parse(file, data, &cfg.document, &cfg, decoded, asks)
}

// document is where the settings of a file stand in it.
type document struct {
	file  string
	lines map[string]int
}

// parse reads data into a struct whose document is doc. When all was decoded it calls decoded, and then asks what is wrong.
func parse(file string, data []byte, doc *document, into any, decoded func(), asks []func() Problems) Problems {
	*doc = document{file, make(map[string]int)}
	if len(data) > SizeMax {
		return Problems{{File: file, Text: fmt.Sprintf("the file is too large (allowed: %v)", Size(SizeMax))}}
	}
	var documents []yaml.Node
	if err := yaml.Load(data, &documents, yaml.WithAllDocuments()); err != nil {
		return concealed(undecodable(file, err))
	}
	if len(documents) == 0 || len(documents[0].Content) == 0 || documents[0].Content[0].Tag == "!!null" {
		return Problems{{File: file, Text: "the file is empty"}}
	}
	d := decoder{doc: doc, unread: make(map[string]bool)}
	d.value("", documents[0].Content[0], reflect.ValueOf(into).Elem())
	if len(documents) > 1 {
		d.add(documents[1].Line, "", "another document begins here (allowed: one)")
	}
	decoded()
	problems := d.problems
	for _, ask := range asks {
		for _, p := range ask() {
			if d.reached(p.Key) {
				problems = append(problems, p)
			}
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	if more := len(problems) - problemsMax; more > 0 {
		problems = append(problems[:problemsMax], Problem{File: file, Text: fmt.Sprintf("and %d more", more)})
	}
	return concealed(problems)
}

// Conceal hides the secrets of apps in a text, whole or cut off: what an operator has written into the wrong place is not to turn up in a log.
func Conceal(text string) string { return secrets.ReplaceAllString(text, "hss_…") }

var secrets = regexp.MustCompile(`hss_[0-9A-Za-z]+`)

func concealed(problems Problems) Problems {
	for i := range problems {
		problems[i].Key, problems[i].Text = Conceal(problems[i].Key), Conceal(problems[i].Text)
	}
	return problems
}

// undecodable turns an error of the YAML library, which says that this is no YAML, into Problems.
func undecodable(file string, err error) Problems {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	var e *yaml.LoadError
	if errors.As(err, &e) {
		text, line = e.Message, e.Mark.Line
		if e.ContextMsg != "" {
			text = e.ContextMsg + ": " + text
		}
	}
	text = strings.Map(func(r rune) rune { // it may show what stands in the file
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	return Problems{{File: file, Line: line, Text: fmt.Sprintf("this is not YAML: %.200s", text)}}
}

// Problem makes a problem with a key of this file.
func (d *document) Problem(key, format string, args ...any) Problem {
	return Problem{File: d.file, Line: d.line(key), Key: key, Text: fmt.Sprintf(format, args...)}
}

// line finds where a key stands, or else the innermost key around it that is there.
func (d *document) line(key string) int {
	for ; key != ""; key = outer(key) {
		if n, found := d.lines[key]; found {
			return n
		}
	}
	return 0
}

// outer is the key that another one lies in, or "".
func outer(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }
