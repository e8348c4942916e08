package configs

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// People write the files of tenants, and commands change them too: what follows changes the lines that it is about and leaves all others as they
// are, with their order, their comments and their empty lines. What was changed is read again and compared with what was meant, so that a way
// of writing that was not thought of here is refused instead of spoilt.

// NewTenant returns the text of the file of a new tenant without apps. lifetime is that of its sessions, 0 the server's.
// If it is lenient, its clients may choose the ids of sessions.
func NewTenant(allow []Prefix, lifetime time.Duration, lenient bool) []byte {
	var b strings.Builder
	b.WriteString("# From where the apps of this tenant may come, never left out; everybody is 0.0.0.0/0 and ::/0.\nallow:\n")
	for _, p := range allow {
		fmt.Fprintf(&b, "  - %s\n", p)
	}
	b.WriteString("\n# deny, hosts, session, quotas and rates may stand here too. What is left out is as in the configuration of the server.\n# policy may too: settings of your own, which policies find under data.tenants.NAME.settings.\n")
	if lifetime != 0 || lenient {
		b.WriteString("session:\n")
	}
	if lifetime != 0 {
		fmt.Fprintf(&b, "  lifetime: %v\n", lifetime)
	}
	if lenient {
		b.WriteString(lenientSession)
	}
	b.WriteString("\napps:\n")
	return []byte(b.String())
}

// lenientSession is the setting of a tenant whose clients may choose ids, and what that means.
const lenientSession = `  # CAUTION: open without u begins a session under whatever id a client sends. An application that opens the id of a
  # cookie so lets a visitor fix the session of somebody else, and have it after the log-in. For clients that make ids
  # themselves, such as PHP code of 2004. Without them take this line out.
  strict: false
`

// AddApp adds an app to the text of a tenant. comment is put behind its secrets.
func AddApp(text []byte, name string, app App, comment string) ([]byte, error) {
	return edit(text, adds, func(e *editor) { e.set(appNode(app, comment), "apps", name) }, func(t *Tenant) error {
		if _, found := t.Apps[name]; found {
			return fmt.Errorf("configs: there is an app %s already", name)
		}
		if t.Apps == nil {
			t.Apps = make(map[string]App)
		}
		t.Apps[name] = app
		return nil
	})
}

// RemoveApp takes an app out of the text of a tenant, with the comment that stands right above it. Something may be wrong with the app, but with
// nothing else.
func RemoveApp(text []byte, name string) ([]byte, error) {
	return edit(text, removes, func(e *editor) { e.set(nil, "apps", name) }, func(t *Tenant) error {
		if _, found := t.Apps[name]; !found {
			return fmt.Errorf("configs: there is no app %s", name)
		}
		delete(t.Apps, name)
		return nil
	})
}

// AddSecret adds the hash of a secret to those of an app, behind them, with a comment.
func AddSecret(text []byte, app, hash, comment string) ([]byte, error) {
	return editSecrets(text, adds, app, func(hashes []string) []string { return append(slices.Clone(hashes), hash) }, func(list *yaml.Node) {
		list.Content = append(list.Content, scalar(hash, comment))
	})
}

// RemoveSecret takes the hash of a secret away from an app.
func RemoveSecret(text []byte, app, hash string) ([]byte, error) {
	return editSecrets(text, removes, app, func(hashes []string) []string {
		return slices.DeleteFunc(slices.Clone(hashes), func(h string) bool { return h == hash })
	}, func(list *yaml.Node) {
		list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return n.Value == hash })
	})
}

func editSecrets(text []byte, how purpose, app string, change func([]string) []string, changeNode func(list *yaml.Node)) ([]byte, error) {
	return edit(text, how, func(e *editor) {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		if old := find(find(find(e.root, "apps"), app), "secrets"); old != nil && old.Kind == yaml.SequenceNode {
			list = block(old)
		}
		changeNode(list)
		if len(list.Content) == 0 {
			list = nil
		}
		e.set(list, "apps", app, "secrets")
	}, func(t *Tenant) error {
		a, found := t.Apps[app]
		if !found {
			return fmt.Errorf("configs: there is no app %s", app)
		}
		before := len(a.Secrets)
		if a.Secrets = change(a.Secrets); len(a.Secrets) == before {
			return fmt.Errorf("configs: app %s has no such secret", app)
		}
		if len(a.Secrets) == 0 {
			a.Secrets = nil
		}
		t.Apps[app] = a
		return nil
	})
}

// purpose is what an edit is for.
type purpose bool

const (
	adds    purpose = false
	removes purpose = true // also what could not be read
)

var errUnusual = errors.New("configs: the file is written in a way that cannot be changed here; change it by hand")

// edit changes a text, which must say afterwards what means makes of what it said before, and nothing that cannot be read.
func edit(text []byte, how purpose, change func(*editor), means func(*Tenant) error) ([]byte, error) {
	want, problems := meaning(text)
	if len(problems) > 0 && how == adds {
		return nil, problems
	}
	if err := means(want); err != nil {
		return nil, err
	}
	// YAML counts lines by more than line feeds.
	if strings.ContainsAny(strings.ReplaceAll(string(text), "\r\n", "\n"), "\r\u0085\u2028\u2029") {
		return nil, errUnusual
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc); err != nil {
		return nil, undecodable("", err)
	}
	e := &editor{root: doc.Content[0], lines: strings.SplitAfter(string(text), "\n")}
	if last := len(e.lines) - 1; e.lines[last] == "" {
		e.lines = e.lines[:last]
	} else {
		e.lines[last] += "\n"
	}
	change(e)
	out := strings.Join(e.lines, "")
	if bytes.Contains(text, []byte("\r\n")) {
		out = strings.ReplaceAll(strings.ReplaceAll(out, "\r\n", "\n"), "\n", "\r\n")
	}
	got, problems := meaning([]byte(out))
	if len(problems) > 0 || !reflect.DeepEqual(got, want) {
		return nil, errUnusual
	}
	return []byte(out), nil
}

// meaning is what the text of a tenant says, whether or not that is right, and what cannot be read in it.
func meaning(text []byte) (*Tenant, Problems) {
	t := new(Tenant)
	problems := parse("", text, &t.document, t, t.decoded, nil)
	t.document = document{}
	if len(t.Apps) == 0 {
		t.Apps = map[string]App{}
	}
	return t, problems
}

// editor changes the lines of a text whose nodes are known.
type editor struct {
	root  *yaml.Node
	lines []string // with their ends
}

// set makes value what stands under a path of keys, or takes away what stands there if value is nil. It writes anew no more than the innermost
// settings that are written in lines of their own.
func (e *editor) set(value *yaml.Node, path ...string) {
	parent := e.root
	if !isBlock(parent) {
		whole := block(parent)
		change(whole, value, path)
		e.lines = dump(whole)
		return
	}
	for len(path) > 1 {
		child := find(parent, path[0])
		if isBlock(child) {
			parent, path = child, path[1:]
			continue
		}
		within := &yaml.Node{Kind: yaml.MappingNode}
		if child != nil && child.Kind == yaml.MappingNode {
			within = block(child)
		}
		change(within, value, path[1:])
		value, path = within, path[:1]
	}
	e.replace(parent, path[0], value)
}

// replace writes the lines of one key of a mapping anew, adds them behind all others, or takes them away.
func (e *editor) replace(parent *yaml.Node, key string, value *yaml.Node) {
	indent := parent.Column - 1
	i := keyAt(parent, key)
	if i < 0 {
		last := len(parent.Content) - 2
		_, end := e.extent(parent.Content[last], parent.Content[last+1], indent)
		end = e.comments(end, indent)
		e.lines = slices.Insert(e.lines, end, entry(scalar(key, ""), value, indent)...)
		return
	}
	name := parent.Content[i]
	begin, end := e.extent(name, parent.Content[i+1], indent)
	if value != nil {
		kept := *name
		kept.HeadComment, kept.FootComment = "", ""
		e.lines = slices.Replace(e.lines, begin, end, entry(&kept, value, indent)...)
		return
	}
	end = e.comments(end, indent+1)
	for begin > 0 && isComment(e.lines[begin-1]) && indentOf(e.lines[begin-1]) == indent {
		begin--
	}
	if end < len(e.lines) && isEmpty(e.lines[end]) && (begin == 0 || isEmpty(e.lines[begin-1])) {
		end++ // or two empty lines would meet
	}
	e.lines = slices.Delete(e.lines, begin, end)
}

// extent is where the lines of a key and its value begin and end, comments behind them left out.
func (e *editor) extent(name, value *yaml.Node, indent int) (begin, end int) {
	begin = name.Line - 1
	end = begin + 1
	for i := end; i < len(e.lines); i++ {
		line := e.lines[i]
		if isEmpty(line) || isComment(line) {
			continue
		}
		deeper := indentOf(line) > indent
		item := indentOf(line) == indent && value.Kind == yaml.SequenceNode && strings.HasPrefix(line[indent:], "-")
		if !deeper && !item {
			break
		}
		end = i + 1
	}
	return begin, end
}

// comments is the end of the comments that follow line end and are indented at least that deep.
func (e *editor) comments(end, indent int) int {
	for i := end; i < len(e.lines); i++ {
		line := e.lines[i]
		if isEmpty(line) {
			continue
		}
		if !isComment(line) || indentOf(line) < indent {
			break
		}
		end = i + 1
	}
	return end
}

func isEmpty(line string) bool   { return strings.TrimSpace(line) == "" }
func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }
func indentOf(line string) int   { return len(line) - len(strings.TrimLeft(line, " ")) }

// isBlock reports whether a mapping has each of its keys on a line of its own.
func isBlock(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 && len(n.Content) > 0
}

// find is what stands under a key of a mapping, or nil.
func find(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	if i := keyAt(n, key); i >= 0 {
		return n.Content[i+1]
	}
	return nil
}

// keyAt is the place of a key in a mapping, or -1.
func keyAt(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// change does on nodes what set does on lines.
func change(n, value *yaml.Node, path []string) {
	if len(path) > 1 {
		within := &yaml.Node{Kind: yaml.MappingNode}
		if old := find(n, path[0]); old != nil && old.Kind == yaml.MappingNode {
			within = block(old)
		}
		change(within, value, path[1:])
		value = within
	}
	switch i := keyAt(n, path[0]); {
	case i >= 0 && value == nil:
		n.Content = slices.Delete(n.Content, i, i+2)
	case i >= 0:
		n.Content[i+1] = value
	case value != nil:
		n.Content = append(n.Content, scalar(path[0], ""), value)
	}
}

// block is a collection as it is written in lines of their own. Comments behind its end belong to lines that are not written anew.
func block(n *yaml.Node) *yaml.Node {
	out := *n
	out.Style &^= yaml.FlowStyle
	out.HeadComment, out.LineComment, out.FootComment = "", "", ""
	out.Content = slices.Clone(n.Content)
	if last := len(out.Content) - 1; last >= 0 {
		end := *out.Content[last]
		end.FootComment = ""
		if len(end.Content) > 0 {
			end = *block(&end)
			end.Style = out.Content[last].Style
		}
		out.Content[last] = &end
	}
	return &out
}

func scalar(value, comment string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	if comment != "" {
		n.LineComment = "# " + comment
	}
	return n
}

func appNode(a App, comment string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	n.Content = append(n.Content, scalar("role", ""), scalar(a.Role, ""))
	list := func(key, comment string, values []string) {
		if len(values) == 0 {
			return
		}
		l := &yaml.Node{Kind: yaml.SequenceNode}
		for _, v := range values {
			l.Content = append(l.Content, scalar(v, comment))
		}
		n.Content = append(n.Content, scalar(key, ""), l)
	}
	list("secrets", comment, a.Secrets)
	list("certificates", "", a.Certificates)
	list("allow", "", texts(a.Allow))
	list("deny", "", texts(a.Deny))
	patterns := func(key string, values []string) {
		if values != nil && len(values) == 0 { // no key at all, which is not the same as none written
			n.Content = append(n.Content, scalar(key, ""), &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle})
		}
		list(key, "", values)
	}
	patterns("read", a.Read)
	patterns("write", a.Write)
	return n
}

func texts(ranges []Prefix) []string {
	var all []string
	for _, p := range ranges {
		all = append(all, p.String())
	}
	return all
}

// entry are the lines of a key and its value.
func entry(name, value *yaml.Node, indent int) []string {
	lines := dump(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, value}})
	for i := range lines {
		if !isEmpty(lines[i]) {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return lines
}

func dump(n *yaml.Node) []string {
	out, err := yaml.Dump(n, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err != nil {
		return nil // which edit will notice
	}
	lines := strings.SplitAfter(string(out), "\n")
	return lines[:len(lines)-1] // nothing follows the last line end
}
