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

// Both people and commands edit the files of tenants. An edit changes only its own lines and keeps the order, the
// comments and the empty lines of all others. The result is parsed again and compared with the intended meaning. So
// YAML that this code does not expect is refused, not damaged.

// NewTenant returns the text of a new tenant's file, without apps. A lifetime of 0 is the server's. Clients of a
// lenient tenant may choose the ids of sessions.
func NewTenant(allow []Prefix, lifetime time.Duration, lenient bool) []byte {
	var b strings.Builder
	b.WriteString(`# Addresses that the apps of this tenant may connect from; required; everybody is 0.0.0.0/0 and ::/0.
allow:
`)
	for _, p := range allow {
		fmt.Fprintf(&b, "  - %s\n", p)
	}
	b.WriteString(`
# Further settings: deny, hosts, session, quotas and rates. The defaults are those of the server's configuration.
# policy has settings of your own, which policies read at data.tenants.NAME.settings.
`)
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

// lenientSession is the setting of a tenant whose clients may choose ids, with a warning.
const lenientSession = `  # CAUTION: open without u creates a session under any id that a client sends. If an
  # application opens the id of a cookie like that, a visitor can fix the session of another user, and use it after the
  # log-in. This setting is for clients that create ids themselves, such as PHP code of 2004. Remove it if you have none.
  strict: false
`

// AddApp adds an app to the text of a tenant, with a comment after its secrets.
func AddApp(text []byte, name string, app App, comment string) ([]byte, error) {
	return edit(text, adds, func(e *editor) { e.set(appNode(app, comment), "apps", name) }, func(t *Tenant) error {
		if _, found := t.Apps[name]; found {
			return fmt.Errorf("configs: app %s already exists: choose another name, or remove the app first", name)
		}
		if t.Apps == nil {
			t.Apps = make(map[string]App)
		}
		t.Apps[name] = app
		return nil
	})
}

// RemoveApp removes an app from the text of a tenant, with the comment right above it. The app may have problems; the
// rest of the text may not.
func RemoveApp(text []byte, name string) ([]byte, error) {
	return edit(text, removes, func(e *editor) { e.set(nil, "apps", name) }, func(t *Tenant) error {
		if _, found := t.Apps[name]; !found {
			return fmt.Errorf("configs: unknown app %s: use the name of an app in the file", name)
		}
		delete(t.Apps, name)
		return nil
	})
}

// AddSecret appends the hash of a secret to those of an app, with a comment.
func AddSecret(text []byte, app, hash, comment string) ([]byte, error) {
	return editSecrets(text, adds, app, func(hashes []string) []string {
		return append(slices.Clone(hashes), hash)
	}, func(list *yaml.Node) {
		list.Content = append(list.Content, scalar(hash, comment))
	})
}

// RemoveSecret removes the hash of a secret from an app.
func RemoveSecret(text []byte, app, hash string) ([]byte, error) {
	return editSecrets(text, removes, app, func(hashes []string) []string {
		return slices.DeleteFunc(slices.Clone(hashes), func(h string) bool { return h == hash })
	}, func(list *yaml.Node) {
		list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return n.Value == hash })
	})
}

func editSecrets(
	text []byte, purpose purpose, app string, change func([]string) []string, changeNode func(list *yaml.Node),
) ([]byte, error) {
	return edit(text, purpose, func(e *editor) {
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
			return fmt.Errorf("configs: unknown app %s: use the name of an app in the file", app)
		}
		before := len(a.Secrets)
		if a.Secrets = change(a.Secrets); len(a.Secrets) == before {
			return fmt.Errorf("configs: unknown secret of app %s: use one of the secrets in the file", app)
		}
		if len(a.Secrets) == 0 {
			a.Secrets = nil
		}
		t.Apps[app] = a
		return nil
	})
}

// purpose is the purpose of an edit.
type purpose bool

const (
	adds    purpose = false
	removes purpose = true // invalid parts included
)

var errUnusual = errors.New("configs: the file has YAML that this command cannot edit; edit it by hand")

// edit returns the text after change. Its meaning must be that of the old text after means, and it must be valid.
func edit(text []byte, purpose purpose, change func(*editor), means func(*Tenant) error) ([]byte, error) {
	want, problems := meaning(text)
	if len(problems) > 0 && purpose == adds {
		return nil, problems
	}
	if err := means(want); err != nil {
		return nil, err
	}
	// YAML has line ends other than line feeds.
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

// meaning returns the tenant in a text, valid or not, and the problems that prevented parts from being read.
func meaning(text []byte) (*Tenant, Problems) {
	t := new(Tenant)
	problems := parse("", text, &t.document, t, t.decoded, nil)
	t.document = document{}
	if len(t.Apps) == 0 {
		t.Apps = map[string]App{}
	}
	return t, problems
}

// editor changes the lines of a text by means of its nodes.
type editor struct {
	root  *yaml.Node
	lines []string // with their ends
}

// set replaces the value at a path of keys, or removes the key if value is nil. It rewrites no more than the innermost
// settings that are on lines of their own.
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

// replace rewrites, appends or removes the lines of one key of a mapping.
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
		end++ // or two empty lines would be adjacent
	}
	e.lines = slices.Delete(e.lines, begin, end)
}

// extent returns the range of lines of a key and its value, without the comments after them.
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

// comments returns the end of the comments that follow line end and have at least that indentation.
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

// find returns the value of a key of a mapping, or nil.
func find(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	if i := keyAt(n, key); i >= 0 {
		return n.Content[i+1]
	}
	return nil
}

// keyAt returns the index of a key in a mapping, or -1.
func keyAt(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// change changes nodes as set changes lines.
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

// block returns a copy of a collection in block style. It leaves out the comments after its end, whose lines are not
// rewritten.
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
		if values != nil && len(values) == 0 { // no key, which differs from no list
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

// entry returns the lines of a key and its value.
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
		return nil // edit detects that
	}
	lines := strings.SplitAfter(string(out), "\n")
	return lines[:len(lines)-1] // after the last line end there is an empty string
}
