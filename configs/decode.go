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

// decoder fills a struct from the nodes of a YAML document. The YAML library could do that too, but it stops at the first kind of mistake,
// tells of Go's types instead of settings, and follows aliases, with which a small file becomes a large one.
type decoder struct {
	doc      *document
	problems Problems
	unread   map[string]bool // keys whose value could not be read
}

// add notes a problem with a setting whose name stands in line.
func (d *decoder) add(line int, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.doc.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// fail notes that the value at n could not be read.
func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	line := d.doc.lines[key]
	if line == 0 {
		line = n.Line
	}
	d.add(line, key, format, args...)
	d.unread[key] = true
}

// refuse notes that something else stands at n than is allowed.
func (d *decoder) refuse(n *yaml.Node, key, allowed string) {
	d.fail(n, key, "%s (allowed: %s)", describe(n), allowed)
}

// reached reports whether key, and all that it lies in, could be read. What is said about one that could not is about its default.
func (d *decoder) reached(key string) bool {
	for ; key != ""; key = outer(key) {
		if d.unread[key] {
			return false
		}
	}
	return true
}

// describe is what stands at n, as messages show it.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "settings stand here"
	case n.Kind == yaml.SequenceNode:
		return "a list stands here"
	case n.Tag == "!!null":
		return "nothing stands here"
	}
	return fmt.Sprintf("%.80q", n.Value)
}

// value reads what stands at n, and is the setting key, into into. Where there is a problem into keeps what it had.
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
			d.refuse(n, key, `a text; "" is none`)
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

// plain refuses what YAML has and nobody needs here.
func (d *decoder) plain(key string, n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, key, "the alias %.80q (allowed: what it stands for)", n.Value)
		return false
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, key, "the tag %.80q (allowed: a value without one)", n.Tag)
		return false
	}
	return true
}

func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag != "!!null" }

// duration reads a time as Go writes it; a number without a unit is 0 or a mistake.
func (d *decoder) duration(key string, n *yaml.Node, into reflect.Value) {
	t, err := time.ParseDuration(n.Value)
	if err != nil {
		d.refuse(n, key, "a time such as 24m, 1h30m or 250ms")
		return
	}
	into.SetInt(int64(t))
}

// settings reads a mapping into a struct. One without anything in it, as is left when all its lines are comments, changes nothing.
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
		return "there is no such setting (allowed: " + strings.Join(allowed, ", ") + ")"
	})
}

// fieldsOf finds the settings of a struct by their names, those of embedded structs too, and answers the names in order.
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

// byName reads a mapping whose keys are names that the writer has given, as may be all that stands there.
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
		return "this is no name (allowed: one word)"
	})
	into.Set(all)
}

// pairs goes through a mapping. refuse says why a name cannot stand there, or ""; with the others, each seen once, use is called.
func (d *decoder) pairs(key string, n *yaml.Node, use func(at string, name, value *yaml.Node), refuse func(name *yaml.Node) string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		at := join(key, name)
		if why := refuse(name); why != "" {
			d.add(name.Line, at, "%s", why)
			continue
		}
		if first := seen[name.Value]; first > 0 {
			d.add(name.Line, at, "it is there twice, first in line %d", first)
			continue
		}
		seen[name.Value] = name.Line
		d.doc.lines[at] = name.Line
		use(at, name, n.Content[i+1])
	}
}

// join is the key of the setting called name inside another. What could not be one is quoted, so that it is seen where it ends.
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

// quoted is a name as it stands in keys.
func quoted(name string) string {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return fmt.Sprintf("%.40q", name)
	}
	return name
}

// freeDepth is how deep lists and settings may lie in each other in what is free.
const freeDepth = 16

// jsonNumber is a number as JSON writes it. An exponent of more digits would be a number that costs whoever calculates with it all memory.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)

// free reads what stands at n as whoever writes it likes, as long as JSON knows it too.
func (d *decoder) free(key string, n *yaml.Node, depth int) any {
	if !d.plain(key, n) {
		return nil
	}
	if depth > freeDepth {
		d.fail(n, key, "it lies too deep (allowed: %d lists and settings in each other)", freeDepth)
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
			return `this is no text (allowed: text; a number or the like as a name is written in quotes: "1")`
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
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil && len(n.Value) <= 64 && jsonNumber.MatchString(n.Value) {
			return json.Number(n.Value)
		}
	}
	d.refuse(n, key, `what JSON knows: text, a number such as -10 or 0.5, true, false, null; in quotes it is text`)
	return nil
}

// list reads a sequence into a slice. All its places are kept, also those with problems, so that keys say which one is meant.
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
