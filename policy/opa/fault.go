package opa

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// fault is a problem at a position in a file. Its message is one line.
type fault struct {
	position string // file:line, or the file
	problem  string
}

func (f *fault) Error() string { return f.position + ": " + f.problem }

// faultAt returns a fault at l.
func faultAt(l *ast.Location, format string, args ...any) error {
	return &fault{fmt.Sprintf("%s:%d", l.File, l.Row), fmt.Sprintf(format, args...)}
}

// faults splits errors of OPA into faults. Such an error is several lines: a picture of the position, the value
// found, and the values expected.
func faults(err error) error {
	if err == nil {
		return nil
	}
	// An untyped error begins with the name of a data file.
	if rest, ok := strings.CutPrefix(err.Error(), "bundle load failed on "); ok {
		if position, problem, ok := strings.Cut(rest, ": "); ok && filepath.Ext(position) != "" {
			return &fault{position, oneLine(problem)}
		}
	}
	var errs ast.Errors
	if single := (*ast.Error)(nil); errors.As(err, &single) {
		errs = ast.Errors{single}
	} else if !errors.As(err, &errs) {
		return err
	}
	result := make([]error, len(errs))
	for i, e := range errs {
		problem := e.Code + ": " + e.Message
		var details []string
		if e.Details != nil {
			for _, line := range e.Details.Lines() {
				words := strings.Fields(line)
				if len(words) > 0 && strings.Contains("have: want: left right", words[0]) {
					details = append(details, strings.Replace(strings.Join(words, " "), " :", ":", 1))
				}
			}
		}
		if len(details) > 0 {
			problem += " (" + strings.Join(details, "; ") + ")"
		}
		problem = oneLine(problem)
		if result[i] = errors.New(problem); e.Location != nil && e.Location.File != "" {
			result[i] = faultAt(e.Location, "%s", problem)
		}
	}
	return errors.Join(result...)
}

// locate adds the name of a source to each error, unless the position of a fault contains it. An empty name adds
// nothing.
func locate(source string, err error) error {
	if err == nil || source == "" {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range several.Unwrap() {
			errs = append(errs, locate(source, e))
		}
		return errors.Join(errs...)
	}
	f, ok := err.(*fault)
	if !ok {
		return fmt.Errorf("%s: %w", source, err)
	}
	if folder := filepath.Clean(source); folder == "." || strings.Contains("/"+f.position,
		"/"+strings.TrimPrefix(folder, "/")+"/") {
		return f
	}
	return &fault{source + ": " + strings.TrimPrefix(f.position, "/"), f.problem}
}

// oneLine replaces line ends with semicolons.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
