package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
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

// sizeMax is the most bytes that a configuration has: room for some ten thousand address ranges.
const sizeMax = 1 << 20

// problemsMax is how many problems are told at once.
const problemsMax = 100

// Load reads the configuration in a file. An error is Problems, or that the file could not be read. See Parse.
func Load(file string, also ...func(*Config) Problems) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	return Parse(file, data, also...)
}

// Parse reads the configuration in data, strictly: a key that is not known, or is there twice, is a problem, as is everything that only
// makes YAML harder to read (aliases, tags, several documents). Each of also is asked for what is wrong beyond what this package can know,
// so that all of it is told at once; it is asked although other keys have problems, and these have their defaults then. file is for messages.
func Parse(file string, data []byte, also ...func(*Config) Problems) (*Config, error) {
	cfg := Default()
	cfg.file, cfg.lines = file, make(map[string]int)
	if len(data) > sizeMax {
		return nil, Problems{{File: file, Text: fmt.Sprintf("the file is too large (allowed: %v)", Size(sizeMax))}}
	}
	var documents []yaml.Node
	if err := yaml.Load(data, &documents, yaml.WithAllDocuments()); err != nil {
		return nil, undecodable(file, err)
	}
	if len(documents) == 0 || len(documents[0].Content) == 0 || documents[0].Content[0].Tag == "!!null" {
		return nil, Problems{{File: file, Text: "the file is empty"}}
	}
	d := decoder{cfg: &cfg, unread: make(map[string]bool)}
	d.value("", documents[0].Content[0], reflect.ValueOf(&cfg).Elem())
	if len(documents) > 1 {
		d.add(documents[1].Line, "", "another document begins here (allowed: one)")
	}
	for i := range cfg.Listen {
		cfg.Listen[i].setDefaults()
	}
	problems := d.problems
	for _, ask := range append([]func(*Config) Problems{(*Config).Validate}, also...) {
		for _, p := range ask(&cfg) {
			if d.reached(p.Key) {
				problems = append(problems, p)
			}
		}
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
		if more := len(problems) - problemsMax; more > 0 {
			problems = append(problems[:problemsMax], Problem{File: file, Text: fmt.Sprintf("and %d more", more)})
		}
		return nil, problems
	}
	return &cfg, nil
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

// Problem makes a problem with a key of this configuration.
func (c *Config) Problem(key, format string, args ...any) Problem {
	return Problem{File: c.file, Line: c.line(key), Key: key, Text: fmt.Sprintf(format, args...)}
}

// line finds where a key stands, or else the innermost key around it that is there.
func (c *Config) line(key string) int {
	for ; key != ""; key = outer(key) {
		if n, found := c.lines[key]; found {
			return n
		}
	}
	return 0
}

// outer is the key that another one lies in, or "".
func outer(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }
