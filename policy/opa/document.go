package opa

import (
	"context"
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"sessionserver/policy"
)

// document is the parsed and immutable data of a policy. OPA reads a tenant from it with a few lookups, without a
// lock or a copy.
type document struct {
	storage.WritesNotSupported
	storage.PolicyNotSupported
	storage.TriggersNotSupported
	root ast.Object
}

var _ storage.Store = (*document)(nil)

// transaction is the transaction of every read, since the data never changes.
type transaction struct{}

func (transaction) ID() uint64 { return 1 }

func (*document) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return transaction{}, nil
}

func (*document) Commit(context.Context, storage.Transaction) error { return nil }
func (*document) Abort(context.Context, storage.Transaction)        {}

func (*document) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return storage.WritesNotSupported{}.Write(context.Background(), nil, 0, nil, nil)
}

// Read returns the value at path.
func (d *document) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	var at ast.Value = d.root
	for _, step := range path {
		var next *ast.Term
		switch v := at.(type) {
		case ast.Object:
			next = v.Get(ast.StringTerm(step))
		case *ast.Array:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < v.Len() {
				next = v.Elem(i)
			}
		}
		if next == nil {
			return nil, &storage.Error{Code: storage.NotFoundErr, Message: path.String() + ": document not found"}
		}
		at = next.Value
	}
	return at, nil
}

// newDocument returns the data of files and tenants. data.tenants of the files is replaced.
func newDocument(files ast.Object, tenants ast.Object) *document {
	root := ast.NewObject([2]*ast.Term{nameTenants, ast.NewTerm(tenants)})
	files.Foreach(func(k, v *ast.Term) {
		if !k.Equal(nameTenants) {
			root.Insert(k, v)
		}
	})
	return &document{root: root}
}

// tenantTerms converts each tenant to the form that the schema describes.
func tenantTerms(tenants []policy.Tenant) (map[string]*ast.Term, error) {
	terms := make(map[string]*ast.Term, len(tenants))
	for _, t := range tenants {
		apps := ast.NewObjectWithCapacity(len(t.Apps))
		for _, a := range t.Apps {
			apps.Insert(ast.StringTerm(a.Name), ast.ObjectTerm(
				[2]*ast.Term{nameRole, ast.StringTerm(a.Role)},
				[2]*ast.Term{nameRead, patterns(a.Read)},
				[2]*ast.Term{nameWrite, patterns(a.Write)},
			))
		}
		settings, err := objectOf(t.Settings)
		if err != nil {
			return nil, fmt.Errorf("policy: settings of tenant %s: %w", t.Name, err)
		}
		terms[t.Name] = ast.ObjectTerm([2]*ast.Term{nameApps, ast.NewTerm(apps)},
			[2]*ast.Term{nameSettings, ast.NewTerm(settings)})
	}
	return terms, nil
}

func patterns(list []string) *ast.Term {
	if list == nil {
		return everyKey
	}
	return stringsTerm(list)
}

var everyKey = stringsTerm([]string{"*"})

// objectOf converts a value decoded from JSON or YAML.
func objectOf(m map[string]any) (ast.Object, error) {
	if m == nil {
		m = noMap
	}
	v, err := ast.InterfaceToValue(m)
	if err != nil {
		return nil, err
	}
	return v.(ast.Object), nil
}
