package opa

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reads is what the answer to a question can depend on, besides data.
type reads struct {
	fields fieldSet
	never  string // why the answer must not be cached: the name of a builtin; "" if it may
}

func (r reads) String() string {
	if r.never != "" {
		return "not cached, for it calls " + r.never
	}
	return "cached by " + r.fields.String()
}

// impure are builtins whose answer depends on more than their arguments, or that do more than answer, although OPA does not flag them. No policy may
// call most of them anyway, see capabilities.
var impure = map[string]bool{
	"crypto.x509.parse_and_verify_certificates":              true, // reads the clock
	"crypto.x509.parse_and_verify_certificates_with_options": true,
	"io.jwt.decode_verify":                                   true,
	"json.match_schema":                                      true, // may fetch what a schema refers to
	"json.verify_schema":                                     true,
	"internal.print":                                         true,
	"print":                                                  true,
	"trace":                                                  true,
}

// readsOf finds what any rule that can have a part in the answer for entry may read. It errs on the side of more: it does not follow values through
// variables, but an input that is given to one is written there as a whole, and counts as a whole; rules are reached by the longest constant part of a
// reference, and what comes after it may be anything. A value that `with` puts in place of an input does not hide that input.
func readsOf(c *ast.Compiler, entry ast.Ref) reads {
	w := &walker{compiler: c, seen: make(map[*ast.Rule]bool)}
	w.ref(entry)
	return w.reads
}

type walker struct {
	reads
	compiler *ast.Compiler
	seen     map[*ast.Rule]bool
}

// walk looks at every reference in x, which is some part of a rule.
func (w *walker) walk(x any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Ref:
			w.ref(x)
			return true
		case ast.Var: // the compiler makes references of these; if it ever does not, they are the same
			w.ref(ast.Ref{ast.NewTerm(x)})
		}
		return false
	}).Walk(x)
}

// ref takes note of what a reference reads, and of what is read in it: p[input.x].
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
		w.walk(r[0]) // something made on the spot: {"a": input.x}[y]
	default:
		if b := ast.BuiltinMap[r.String()]; b != nil && b.Nondeterministic || impure[r.String()] || custom(w.compiler, r) {
			w.never = r.String()
		}
	}
}

// custom reports whether r names a builtin that is not OPA's own: nothing is known of it.
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

// constants are the parts up to the first that is not known before evaluation.
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

// data walks the rules that a reference to data can reach: those on the way to the end of its constant part, and all that lie below it.
func (w *walker) data(r ast.Ref) {
	node := w.compiler.RuleTree
	for i := 0; i < len(r) && (i == 0 || ast.IsConstant(r[i].Value)); i++ {
		if node = node.Child(r[i].Value); node == nil {
			return // what was on the way is noted; beyond it there are no rules
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
		for ; rule != nil && !w.seen[rule]; rule = rule.Else {
			w.seen[rule] = true
			w.walk(rule.Head)
			for _, part := range rule.Head.Reference[min(1, len(rule.Head.Reference)):] { // p[x].q: the visitor leaves them out
				w.walk(part)
			}
			w.walk(rule.Body)
		}
	}
}
