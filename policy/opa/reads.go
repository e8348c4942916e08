package opa

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reads is everything that the result of a question can depend on, except data.
type reads struct {
	fields fieldSet
	impure string // builtin for which the result must not be cached; "" if it may be cached
}

func (r reads) String() string {
	if r.impure != "" {
		return "not cached, because it calls " + r.impure
	}
	return "cached by " + r.fields.String()
}

// impureBuiltins are builtins that depend on more than their arguments or have side effects, although OPA does not
// flag them. Most of them are also excluded by capabilities.
var impureBuiltins = map[string]bool{
	"crypto.x509.parse_and_verify_certificates":              true, // reads the clock
	"crypto.x509.parse_and_verify_certificates_with_options": true,
	"io.jwt.decode_verify":                                   true,
	"json.match_schema":                                      true, // may fetch the references of a schema
	"json.verify_schema":                                     true,
	"internal.print":                                         true,
	"print":                                                  true,
	"trace":                                                  true,
}

// readsOf returns everything that any rule with a part in the result of entry may read. It errs on the side of more.
// It does not follow values through variables; an input that is assigned to a variable counts as a whole. Rules are
// found by the longest constant part of a reference, and the rest may be anything. A value that replaces an input by
// `with` does not hide that input.
func readsOf(c *ast.Compiler, entry ast.Ref) reads {
	w := &walker{compiler: c, visited: make(map[*ast.Rule]bool)}
	w.ref(entry)
	return w.reads
}

type walker struct {
	reads
	compiler *ast.Compiler
	visited  map[*ast.Rule]bool
}

// walk visits every reference in x, which is a part of a rule.
func (w *walker) walk(x any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Ref:
			w.ref(x)
			return true
		case ast.Var: // the compiler converts these to references; if it ever does not, they count the same
			w.ref(ast.Ref{ast.NewTerm(x)})
		}
		return false
	}).Walk(x)
}

// ref records the reads of a reference and of the references inside it: p[input.x].
func (w *walker) ref(r ast.Ref) {
	for _, part := range r[1:] {
		w.walk(part)
	}
	switch head, _ := r[0].Value.(ast.Var); head {
	case ast.InputRootDocument.Value:
		w.fields |= under(strings.Join(constants(r[1:]), "."))
	case ast.DefaultRootDocument.Value:
		w.data(r)
	case "":
		w.walk(r[0]) // a composite value: {"a": input.x}[y]
	default:
		if b := ast.BuiltinMap[r.String()]; b != nil && b.Nondeterministic || impureBuiltins[r.String()] ||
			custom(w.compiler, r) {
			w.impure = r.String()
		}
	}
}

// custom reports whether r names a builtin that is not part of OPA, so that its properties are unknown.
func custom(c *ast.Compiler, r ast.Ref) bool {
	if ast.BuiltinMap[r.String()] != nil {
		return false
	}
	for _, b := range c.Capabilities().Builtins {
		if b.Name == r.String() {
			return true
		}
	}
	return false
}

// constants returns the parts before the first one that is not a constant.
func constants(parts []*ast.Term) []string {
	var known []string
	for _, part := range parts {
		s, ok := part.Value.(ast.String)
		if !ok {
			break
		}
		known = append(known, string(s))
	}
	return known
}

// data visits the rules that a reference to data can reach: those along its constant part, and all below it.
func (w *walker) data(r ast.Ref) {
	node := w.compiler.RuleTree
	for i := 0; i < len(r) && (i == 0 || ast.IsConstant(r[i].Value)); i++ {
		if node = node.Child(r[i].Value); node == nil {
			return // rules along the path are recorded; there are none beyond it
		}
		w.rules(node.Values)
	}
	node.DepthFirst(func(n *ast.TreeNode) bool {
		w.rules(n.Values)
		return false
	})
}

func (w *walker) rules(rules []*ast.Rule) {
	for _, rule := range rules {
		for ; rule != nil && !w.visited[rule]; rule = rule.Else {
			w.visited[rule] = true
			w.walk(rule.Head)
			// In p[x].q the visitor omits x and q.
			for _, part := range rule.Head.Reference[min(1, len(rule.Head.Reference)):] {
				w.walk(part)
			}
			w.walk(rule.Body)
		}
	}
}
