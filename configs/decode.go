package configs

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decoder fills a struct from the nodes of a YAML document. The YAML library could do that, too. But it stops at the
// first kind of mistake, its errors name Go types instead of settings, and it expands aliases, so a small file becomes
// a large one.
type decoder struct {
	doc      *document
	problems Problems
	unread   map[string]bool // keys whose value could not be read
}

// add records a problem with the setting on a line.
func (d *decoder) add(line int, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.doc.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// fail records that the value at n is unreadable.
func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	line := d.doc.lines[key]
	if line == 0 {
		line = n.Line
	}
	d.add(line, key, format, args...)
	d.unread[key] = true
}

// refuse records that the value at n is not an allowed one.
func (d *decoder) refuse(n *yaml.Node, key, allowed string) {
	d.fail(n, key, "%s (allowed: %s)", describe(n), allowed)
}

// reached reports whether key and all keys around it were readable. A problem with any other key would concern its
// default.
func (d *decoder) reached(key string) bool {
	for ; key != ""; key = outer(key) {
		if d.unread[key] {
			return false
		}
	}
	return true
}

// describe returns the value at n as messages show it.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a group of settings"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "no value"
	}
	return fmt.Sprintf("%.80q", n.Value)
}

// value reads the value at n, of the setting key, into into. After a problem into is unchanged.
func (d *decoder) value(key string, n *yaml.Node, into reflect.Value) {
	if !d.plain(key, n) {
		return
	}
	if into.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(key, n, into)
		return
	}
	if text, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if !isText(n) {
			d.refuse(n, key, "one value")
		} else if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			d.fail(n, key, "%v", err)
		}
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.settings(key, n, into)
	case reflect.Slice:
		d.list(key, n, into)
	case reflect.Map:
		d.byName(key, n, into)
	case reflect.String:
		if !isText(n) {
			d.refuse(n, key, `text; "" for none`)
			return
		}
		into.SetString(n.Value)
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			d.refuse(n, key, "true, false")
			return
		}
		into.SetBool(n.Value == "true")
	case reflect.Int:
		number, err := strconv.Atoi(n.Value)
		if err != nil {
			d.refuse(n, key, "a whole number")
			return
		}
		into.SetInt(int64(number))
	case reflect.Float64:
		number, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || strings.Trim(n.Value, "0123456789.") != "" { // ParseFloat would take 1e3, inf and more
			d.refuse(n, key, "a number such as 100 or 0.5")
			return
		}
		into.SetFloat(number)
	default:
		panic(fmt.Sprintf("configs: %s: no setting can be a %v", key, into.Type()))
	}
}

// plain refuses aliases and tags, which configurations do not need.
func (d *decoder) plain(key string, n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, key, "alias %.80q (allowed: its value, written out)", n.Value)
		return false
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, key, "tag %.80q (allowed: a value without a tag)", n.Tag)
		return false
	}
	return true
}

func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag != "!!null" }

// duration reads a duration in Go's syntax. A number without a unit is invalid, except 0.
func (d *decoder) duration(key string, n *yaml.Node, into reflect.Value) {
	t, err := time.ParseDuration(n.Value)
	if err != nil {
		d.refuse(n, key, "a duration such as 24m, 1h30m or 250ms")
		return
	}
	into.SetInt(int64(t))
}

// settings reads a mapping into a struct. An empty one changes nothing, such as a group whose lines are all comments.
func (d *decoder) settings(key string, n *yaml.Node, into reflect.Value) {
	fields := map[string]reflect.Value{}
	allowed := fieldsOf(into, fields)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuse(n, key, "settings: "+strings.Join(allowed, ", "))
		return
	}
	d.pairs(key, n, func(at string, name, value *yaml.Node) {
		d.value(at, value, fields[name.Value])
	}, func(name *yaml.Node) string {
		if _, known := fields[name.Value]; known && name.Kind == yaml.ScalarNode {
			return ""
		}
		return "unknown setting (allowed: " + strings.Join(allowed, ", ") + ")"
	})
}

// fieldsOf adds the settings of a struct and its embedded structs to into, and returns their names in order.
func fieldsOf(of reflect.Value, into map[string]reflect.Value) (names []string) {
	for i := range of.NumField() {
		f := of.Type().Field(i)
		if f.Anonymous && f.IsExported() {
			names = append(names, fieldsOf(of.Field(i), into)...)
		} else if name := f.Tag.Get("yaml"); name != "" {
			into[name], names = of.Field(i), append(names, name)
		}
	}
	return names
}

// byName reads a mapping whose keys are names chosen by the operator, and whose values may be free as well.
func (d *decoder) byName(key string, n *yaml.Node, into reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuse(n, key, "settings by name")
		return
	}
	if into.Type().Elem().Kind() == reflect.Interface {
		into.Set(reflect.ValueOf(d.free(key, n, 1)))
		return
	}
	all := reflect.MakeMap(into.Type())
	d.pairs(key, n, func(at string, name, value *yaml.Node) {
		one := reflect.New(into.Type().Elem()).Elem()
		d.value(at, value, one)
		all.SetMapIndex(reflect.ValueOf(name.Value), one)
	}, func(name *yaml.Node) string {
		if name.Kind == yaml.ScalarNode {
			return ""
		}
		return "not a name (allowed: one word)"
	})
	into.Set(all)
}

// pairs calls use for each distinct name of a mapping, except those for which refuse returns a problem.
func (d *decoder) pairs(
	key string, n *yaml.Node, use func(at string, name, value *yaml.Node), refuse func(name *yaml.Node) string,
) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		at := join(key, name)
		if problem := refuse(name); problem != "" {
			d.add(name.Line, at, "%s", problem)
			continue
		}
		if first := lines[name.Value]; first > 0 {
			d.add(name.Line, at, "duplicate, first in line %d", first)
			continue
		}
		lines[name.Value] = name.Line
		d.doc.lines[at] = name.Line
		use(at, name, n.Content[i+1])
	}
}

// join returns the key of the setting name inside another. An invalid name is quoted, so that its end is visible.
func join(key string, name *yaml.Node) string {
	at := "?"
	if name.Kind == yaml.ScalarNode {
		at = quoted(name.Value)
	}
	if key != "" {
		return key + "." + at
	}
	return at
}

// quoted returns a name in the form that keys have.
func quoted(name string) string {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return fmt.Sprintf("%.40q", name)
	}
	return name
}

// freeDepth is the maximum depth of lists and settings in a free value.
const freeDepth = 16

// jsonNumber matches a number in JSON. Calculating with a longer exponent could take all memory.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// free reads the value at n, which may be any JSON value.
func (d *decoder) free(key string, n *yaml.Node, depth int) any {
	if !d.plain(key, n) {
		return nil
	}
	if depth > freeDepth {
		d.fail(n, key, "nested too deep (allowed: %d levels of lists and settings)", freeDepth)
		return nil
	}
	switch {
	case n.Kind == yaml.MappingNode:
		all := make(map[string]any)
		d.pairs(key, n, func(at string, name, value *yaml.Node) {
			all[name.Value] = d.free(at, value, depth+1)
		}, func(name *yaml.Node) string {
			if name.Kind == yaml.ScalarNode && name.Tag == "!!str" {
				return ""
			}
			return `not text (allowed: text; write a name such as a number in quotes: "1")`
		})
		return all
	case n.Kind == yaml.SequenceNode:
		all := make([]any, len(n.Content))
		for i, c := range n.Content {
			at := fmt.Sprintf("%s[%d]", key, i)
			d.doc.lines[at] = c.Line
			all[i] = d.free(at, c, depth+1)
		}
		return all
	case n.Tag == "!!null" && (n.Value == "" || n.Value == "null"):
		return nil
	case n.Tag == "!!str":
		return n.Value
	case n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return n.Value == "true"
	case n.Tag == "!!int" || n.Tag == "!!float":
		_, err := strconv.ParseFloat(n.Value, 64)
		if err == nil && len(n.Value) <= 64 && jsonNumber.MatchString(n.Value) {
			return json.Number(n.Value)
		}
	}
	d.refuse(n, key, `a JSON value: text, a number such as -10 or 0.5, true, false, null; in quotes it is text`)
	return nil
}

// list reads a sequence into a slice. Elements with problems stay in it, so that the indexes in keys are right.
func (d *decoder) list(key string, n *yaml.Node, into reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.refuse(n, key, "a list")
		return
	}
	if len(n.Content) == 0 {
		into.SetZero()
		return
	}
	list := reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.doc.lines[at] = c.Line
		d.value(at, c, list.Index(i))
	}
	into.Set(list)
}
