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

// content holds the files of one policy: the operator's, or that of a tenant.
type content struct {
	folder  string                 // in the source: "" for the operator's, or tenants/NAME
	modules map[string]*ast.Module // by file name, without tests
	tests   map[string]*ast.Module // *_test.rego
	data    map[string]any
	hash    hash.Hash // of all files
}

// contents holds all files of a source.
type contents struct {
	revision string // for people
	sum      string // changes with any file
	operator *content
	tenants  map[string]*content
}

// tenantsFolder contains a folder for each tenant, with the name of the tenant.
const tenantsFolder = "tenants/"

// sort assigns the files of a bundle to their owners.
func sort(b *bundle.Bundle) (*contents, error) {
	if len(b.WasmModules)+len(b.PlanModules) > 0 {
		return nil, fmt.Errorf("compiled modules are not supported (allowed: Rego): " +
			"build the bundle with opa build --target rego")
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
			return nil, faultAt(m.Parsed.Package.Location, "unsupported Rego version %v (allowed: v1)", v)
		}
		name := strings.TrimPrefix(m.RelativePath, "/")
		tenant := ""
		if below, ok := strings.CutPrefix(name, tenantsFolder); ok {
			if tenant, _, ok = strings.Cut(below, "/"); !ok || tenant == "" {
				return nil, faultAt(m.Parsed.Package.Location,
					"tenant policy outside a folder; move it to %sNAME/", tenantsFolder)
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
				return nil, fmt.Errorf("%s%s: data without a policy that reads it; "+
					"facts about tenants come from the tenants' files", tenantsFolder, tenant)
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

func newContent(folder string) *content {
	return &content{folder: folder, modules: make(map[string]*ast.Module), tests: make(map[string]*ast.Module),
		data: make(map[string]any), hash: sha256.New()}
}

func (c *content) add(name string, m bundle.ModuleFile) {
	fmt.Fprintf(c.hash, "%q %d\n%s", name, len(m.Raw), m.Raw)
	if strings.HasSuffix(name, "_test.rego") {
		c.tests[name] = m.Parsed
	} else {
		c.modules[name] = m.Parsed
	}
}

// sum returns a hash of the files.
func (c *content) sum() string { return string(c.hash.Sum(nil)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
