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

// Problem is one mistake in a configuration, shown as file:line: key: problem.
type Problem struct {
	File string
	Line int    // 0 if the key is not in the file
	Key  string // such as session.lifetime or listen[0].address; "" is the whole file
	Text string // the mistake, and the allowed values
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

// Problems are all mistakes of a configuration, one per line.
type Problems []Problem

func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// SizeMax is the maximum size of a configuration or a tenant's file: enough for some ten thousand address ranges.
const SizeMax = 1 << 20

// problemsMax is the maximum number of problems reported at once.
const problemsMax = 100

// Load reads the configuration in a file; see Parse. The error is Problems if the file was readable.
func Load(file string, also ...func(*Config) Problems) (*Config, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data, also...)
}

// read returns the content of a file, up to one byte more than the maximum.
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

// Parse reads the configuration in data, strictly. An unknown or duplicate key is a problem, as are features that only
// make YAML harder to read: aliases, tags, several documents. Each of also reports further problems, which this package
// cannot find, so that all are reported at once. It is called even if other keys have problems; these then have their
// defaults. file is for messages.
func Parse(file string, data []byte, also ...func(*Config) Problems) (*Config, error) {
	cfg, problems := parseConfig(file, data, also)
	if len(problems) > 0 {
		return nil, problems
	}
	return cfg, nil
}

// LoadAnyhow reads the valid parts of a configuration and returns its problems; all other settings have their defaults.
// It is for actions that must not wait for a corrected file, such as revoking a secret, and never for serving.
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
	checks := []func() Problems{cfg.Validate}
	for _, check := range also {
		checks = append(checks, func() Problems { return check(&cfg) })
	}
	decoded := func() {
		for i := range cfg.Listen {
			cfg.Listen[i].setDefaults()
		}
	}
	return &cfg, parse(file, data, &cfg.document, &cfg, decoded, checks)
}

// document holds the positions of settings in a file.
type document struct {
	file  string
	lines map[string]int
}

// parse reads data into a struct whose document is doc. After decoding it calls decoded, and then all checks.
func parse(file string, data []byte, doc *document, into any, decoded func(), checks []func() Problems) Problems {
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
		d.add(documents[1].Line, "", "second document (allowed: one)")
	}
	decoded()
	problems := d.problems
	for _, check := range checks {
		for _, p := range check() {
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

// Conceal hides the secrets of apps in a text, complete or truncated. A secret that an operator wrote in the wrong
// place must not appear in a log.
func Conceal(text string) string { return secrets.ReplaceAllString(text, "hss_…") }

var secrets = regexp.MustCompile(`hss_[0-9A-Za-z]+`)

func concealed(problems Problems) Problems {
	for i := range problems {
		problems[i].Key, problems[i].Text = Conceal(problems[i].Key), Conceal(problems[i].Text)
	}
	return problems
}

// undecodable returns the syntax error of the YAML library as Problems.
func undecodable(file string, err error) Problems {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	var e *yaml.LoadError
	if errors.As(err, &e) {
		text, line = e.Message, e.Mark.Line
		if e.ContextMsg != "" {
			text = e.ContextMsg + ": " + text
		}
	}
	text = strings.Map(func(r rune) rune { // the text may quote the file
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	return Problems{{File: file, Line: line, Text: fmt.Sprintf("invalid YAML: %.200s", text)}}
}

// Problem returns a problem with a key of this file.
func (d *document) Problem(key, format string, args ...any) Problem {
	return Problem{File: d.file, Line: d.line(key), Key: key, Text: fmt.Sprintf(format, args...)}
}

// line returns the line of a key, or of the innermost key around it that is in the file.
func (d *document) line(key string) int {
	for ; key != ""; key = outer(key) {
		if n, found := d.lines[key]; found {
			return n
		}
	}
	return 0
}

// outer returns the key around another, or "".
func outer(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }
