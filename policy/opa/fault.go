package opa

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// fault is something wrong at a place in a file, told in a line.
type fault struct {
	place string // file:line, or the file
	what  string
}

func (f *fault) Error() string { return f.place + ": " + f.what }

// faultAt tells what is wrong with what stands at l.
func faultAt(l *ast.Location, format string, args ...any) error {
	return &fault{fmt.Sprintf("%s:%d", l.File, l.Row), fmt.Sprintf(format, args...)}
}

// faults takes errors of OPA apart, each of which is several lines: a drawing of the place, what was found, and what could stand there.
func faults(err error) error {
	if err == nil {
		return nil
	}
	if rest, ok := strings.CutPrefix(err.Error(), "bundle load failed on "); ok { // which has the name of a file of data and no type
		if place, what, ok := strings.Cut(rest, ": "); ok && filepath.Ext(place) != "" {
			return &fault{place, oneLine(what)}
		}
	}
	var errs ast.Errors
	if single := (*ast.Error)(nil); errors.As(err, &single) {
		errs = ast.Errors{single}
	} else if !errors.As(err, &errs) {
		return err
	}
	told := make([]error, len(errs))
	for i, e := range errs {
		what := e.Code + ": " + e.Message
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
			what += " (" + strings.Join(details, "; ") + ")"
		}
		what = oneLine(what)
		if told[i] = errors.New(what); e.Location != nil && e.Location.File != "" {
			told[i] = faultAt(e.Location, "%s", what)
		}
	}
	return errors.Join(told...)
}

// of says where something is wrong, line by line, unless the place of a fault says it itself. "" is nowhere.
func of(where string, err error) error {
	if err == nil || where == "" {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range several.Unwrap() {
			errs = append(errs, of(where, e))
		}
		return errors.Join(errs...)
	}
	f, ok := err.(*fault)
	if !ok {
		return fmt.Errorf("%s: %w", where, err)
	}
	if folder := filepath.Clean(where); folder == "." || strings.Contains("/"+f.place, "/"+strings.TrimPrefix(folder, "/")+"/") {
		return f
	}
	return &fault{where + ": " + strings.TrimPrefix(f.place, "/"), f.what}
}

// oneLine has ; for the ends of lines.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
