package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DropExt is the extension of the file of a deleted tenant whose sessions are still to be dropped. `tenant delete
// --drop-sessions` renames the file.
const DropExt = ".drop"

// Tenants is the content of the files in a folder. It never changes: loading the folder again makes a new Tenants.
type Tenants struct {
	All      []*Tenant // sorted by name
	Problems Problems  // of the files, in their order
	Drops    []string  // names of tenants whose sessions are to be dropped, sorted

	main  *Config
	files map[string]tenantFile // by file name
}

// tenantFile is the current state of a file, and its last valid content.
type tenantFile struct {
	sum      [sha256.Size]byte
	problems Problems
	good     *Tenant // nil if the file was never valid
}

// Tenant returns the tenant of a name, or nil.
func (ts *Tenants) Tenant(name string) *Tenant {
	i, found := slices.BinarySearchFunc(ts.All, name, func(t *Tenant, name string) int {
		return strings.Compare(t.Name, name)
	})
	if !found {
		return nil
	}
	return ts.All[i]
}

// Stale returns the names of tenants with an invalid file: stale if the last valid content is in force, missing if
// there is none.
func (ts *Tenants) Stale() (stale, missing []string) {
	for name, f := range ts.files {
		name = strings.TrimSuffix(name, TenantExt)
		switch {
		case len(f.problems) > 0 && f.good != nil:
			stale = append(stale, name)
		case len(f.problems) > 0:
			missing = append(missing, name)
		}
	}
	slices.Sort(stale)
	slices.Sort(missing)
	return stale, missing
}

// Digests returns the SHA-256 of the valid files in hexadecimal, by file name.
func (ts *Tenants) Digests() map[string]string {
	all := make(map[string]string)
	for name, f := range ts.files {
		if len(f.problems) == 0 {
			all[name] = hex.EncodeToString(f.sum[:])
		}
	}
	return all
}

// LoadTenants loads the files in a folder. old is the previous result, nil at the first time. An invalid file keeps its
// content of old. So a mistake in one file neither takes its tenant out of service nor delays a revocation in another.
// The tenant of a removed file is removed. If the folder cannot be read, the tenants stay unchanged.
//
// Files that begin with a dot, and those that end neither in .yaml nor in .drop, are ignored. A file that ends in .yml
// is a problem, since it looks like a tenant's. Links are followed within the folder, as Kubernetes uses them, and
// never out of it: otherwise a user who may write there could make the server read other files.
func LoadTenants(folder string, main *Config, old *Tenants, also ...func(*Tenant) Problems) *Tenants {
	if old == nil {
		old = new(Tenants)
	}
	entries, err := os.ReadDir(folder)
	var root *os.Root
	if err == nil {
		root, err = os.OpenRoot(folder)
	}
	if err != nil {
		again := *old
		again.Problems = Problems{{
			File: folder, Text: "the folder cannot be read, and its tenants stay unchanged: " + cause(err).Error(),
		}}
		return &again
	}
	defer root.Close()
	ts := &Tenants{main: main, files: make(map[string]tenantFile)}
	for _, entry := range entries { // sorted by ReadDir
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if dropped, found := strings.CutSuffix(name, DropExt); found {
			ts.Drops = append(ts.Drops, dropped)
			continue
		}
		if !strings.HasSuffix(name, TenantExt) {
			ts.Problems = append(ts.Problems, misnamed(folder, name)...)
			continue
		}
		f := loadTenantFile(root, name, filepath.Join(folder, name), main, old, old.files[name], also)
		ts.files[name] = f
		ts.Problems = append(ts.Problems, f.problems...)
		if f.good != nil {
			ts.All = append(ts.All, f.good)
		}
	}
	slices.SortFunc(ts.All, func(a, b *Tenant) int { return strings.Compare(a.Name, b.Name) })
	ts.Problems = append(ts.Problems, ts.hostsTwice()...)
	return ts
}

// misnamed reports a file whose name an operator may take for a tenant's.
func misnamed(folder, name string) Problems {
	ext := filepath.Ext(name)
	if !strings.EqualFold(ext, ".yml") && !strings.EqualFold(ext, TenantExt) {
		return nil
	}
	right := strings.TrimSuffix(name, ext) + TenantExt
	text := fmt.Sprintf("ignored because of its extension %s: rename it to %s", ext, right)
	if _, err := os.Lstat(filepath.Join(folder, right)); err == nil {
		text = fmt.Sprintf("ignored because of its extension %s, and %s exists, too: remove one of them", ext, right)
	}
	return Problems{{File: filepath.Join(folder, name), Text: text}}
}

func loadTenantFile(
	root *os.Root, name, path string, main *Config, old *Tenants, before tenantFile, also []func(*Tenant) Problems,
) tenantFile {
	data, err := readTenant(root, name)
	if err != nil {
		good := before.good
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, or a dangling link: the tenant is removed
			good = nil
		}
		return tenantFile{problems: Problems{unreadable(path, err)}, good: good}
	}
	f := tenantFile{sum: sha256.Sum256(data)}
	if f.sum == before.sum && old.main == main {
		return before // parsing thousands of files would take seconds
	}
	f.good, err = ParseTenant(path, data, main, also...)
	if err != nil {
		f.good = before.good
		if !errors.As(err, &f.problems) {
			f.problems = Problems{{File: path, Text: cause(err).Error()}}
		}
	}
	return f
}

// hostsTwice returns the hosts that several tenants claim. They are harmless: the identity of a client does not depend
// on the host that it connects to.
func (ts *Tenants) hostsTwice() Problems {
	var problems Problems
	claims := make(map[string]*Tenant)
	for _, t := range ts.All {
		for i, host := range t.Hosts {
			if first := claims[host]; first != nil {
				problems = append(problems, t.Problem(fmt.Sprintf("hosts[%d]", i),
					"duplicate: %s is a host of tenant %s, too", host, first.Name))
				continue
			}
			claims[host] = t
		}
	}
	return problems
}

// Same reports whether two results of LoadTenants are equal.
func (ts *Tenants) Same(other *Tenants) bool {
	return ts.main == other.main && slices.Equal(ts.All, other.All) &&
		slices.Equal(ts.Problems, other.Problems) && slices.Equal(ts.Drops, other.Drops)
}
