package opa

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// content is the files of a policy: the operator's, or those of one tenant.
type content struct {
	place   string                 // below the root of the source: "" for the operator's, tenants/NAME
	modules map[string]*ast.Module // by file name, without tests
	tests   map[string]*ast.Module // *_test.rego
	data    map[string]any
	hash    hash.Hash // of all of them
}

// contents are all files of a source.
type contents struct {
	revision string // for people
	sum      string // changes with all of them
	operator *content
	tenants  map[string]*content
}

// tenantsFolder is where the folders of tenants are, each named after its tenant.
const tenantsFolder = "tenants/"

// sort tells whose the files of a bundle are.
func sort(b *bundle.Bundle) (*contents, error) {
	if len(b.WasmModules)+len(b.PlanModules) > 0 {
		return nil, fmt.Errorf("there are compiled modules: only Rego is understood")
	}
	all := &contents{revision: b.Manifest.Revision, operator: newContent(""), tenants: make(map[string]*content)}
	owner := func(tenant string) *content {
		if tenant == "" {
			return all.operator
		}
		if all.tenants[tenant] == nil {
			all.tenants[tenant] = newContent(tenantsFolder + tenant)
		}
		return all.tenants[tenant]
	}
	for _, m := range b.Modules {
		if v := m.Parsed.RegoVersionSpan(); v.Min() != ast.RegoV1 {
			return nil, faultAt(m.Parsed.Package.Location, "it is written in Rego %v (allowed: v1)", v)
		}
		name := strings.TrimPrefix(m.RelativePath, "/")
		tenant := ""
		if below, ok := strings.CutPrefix(name, tenantsFolder); ok {
			if tenant, _, ok = strings.Cut(below, "/"); !ok || tenant == "" {
				return nil, faultAt(m.Parsed.Package.Location, "the policy of a tenant belongs into a folder: %sNAME/", tenantsFolder)
			}
		}
		c := owner(tenant)
		c.add(name, m)
	}
	for key, value := range b.Data {
		if key != "tenants" {
			all.operator.data[key] = value
			continue
		}
		byTenant, _ := value.(map[string]any)
		for tenant, value := range byTenant {
			data, ok := value.(map[string]any)
			if !ok || all.tenants[tenant] == nil {
				return nil, fmt.Errorf("%s%s: there is data without a policy that could read it; what tenants have comes from their own files", tenantsFolder, tenant)
			}
			all.tenants[tenant].data = data
		}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", all.revision)
	for _, name := range append([]string{""}, sortedKeys(all.tenants)...) {
		c := owner(name)
		data, err := json.Marshal(c.data)
		if err != nil {
			return nil, err
		}
		c.hash.Write(data)
		fmt.Fprintf(sum, "%q %x\n", name, c.sum())
	}
	all.sum = hex.EncodeToString(sum.Sum(nil))
	if all.revision == "" {
		all.revision = all.sum[:12]
	}
	return all, nil
}

func newContent(place string) *content {
	return &content{place: place, modules: make(map[string]*ast.Module), tests: make(map[string]*ast.Module), data: make(map[string]any), hash: sha256.New()}
}

func (c *content) add(name string, m bundle.ModuleFile) {
	fmt.Fprintf(c.hash, "%q %d\n%s", name, len(m.Raw), m.Raw)
	if strings.HasSuffix(name, "_test.rego") {
		c.tests[name] = m.Parsed
	} else {
		c.modules[name] = m.Parsed
	}
}

// sum tells contents apart.
func (c *content) sum() string { return string(c.hash.Sum(nil)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
