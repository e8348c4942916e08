package configs

import (
	"errors"
	"fmt"
	"os"
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

// Load reads the configuration in a file. An error is Problems, or that the file could not be read.
func Load(file string) (*Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("configs: %w", err)
	}
	return Parse(file, data)
}

// Parse reads the configuration in data, strictly: a key that is not known, or is there twice, is a problem. file is for messages.
func Parse(file string, data []byte) (*Config, error) {
	cfg := Default()
	cfg.file, cfg.lines = file, make(map[string]int)
	if strings.TrimSpace(string(data)) == "" {
		return nil, Problems{{File: file, Text: "the file is empty"}}
	}
	var root yaml.Node
	if err := yaml.Load(data, &root); err != nil {
		return nil, undecodable(file, err)
	}
	note(cfg.lines, "", &root)
	if err := yaml.Load(data, &cfg, yaml.WithKnownFields()); err != nil {
		return nil, undecodable(file, err)
	}
	for i := range cfg.Listen {
		cfg.Listen[i].setDefaults()
	}
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, problems
	}
	return &cfg, nil
}

// note writes down where each key stands.
func note(lines map[string]int, path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			note(lines, path, c)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if path != "" {
				key = path + "." + key
			}
			lines[key] = n.Content[i].Line
			note(lines, key, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			key := fmt.Sprintf("%s[%d]", path, i)
			lines[key] = c.Line
			note(lines, key, c)
		}
	}
}

// undecodable turns the errors of the YAML library into Problems.
func undecodable(file string, err error) Problems {
	var many *yaml.LoadErrors
	if !errors.As(err, &many) {
		var one *yaml.LoadError
		if !errors.As(err, &one) {
			return Problems{{File: file, Text: strings.TrimPrefix(err.Error(), "yaml: ")}}
		}
		return Problems{problem(file, one)}
	}
	problems := make(Problems, len(many.Errors))
	for i, e := range many.Errors {
		problems[i] = problem(file, e)
	}
	return problems
}

func problem(file string, e *yaml.LoadError) Problem {
	text := e.Message
	if name, _, found := strings.Cut(strings.TrimPrefix(text, "field "), " not found in type"); found {
		text = fmt.Sprintf("there is no setting %q here; see the reference file", name)
	}
	return Problem{File: file, Line: e.Mark.Line, Text: text}
}

// Problem makes a problem with a key of this configuration.
func (c *Config) Problem(key, format string, args ...any) Problem {
	return Problem{File: c.file, Line: c.line(key), Key: key, Text: fmt.Sprintf(format, args...)}
}

// line finds where a key stands, or else the innermost key around it that is there.
func (c *Config) line(key string) int {
	for key != "" {
		if n, found := c.lines[key]; found {
			return n
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 0
}
