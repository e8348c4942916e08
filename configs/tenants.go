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

// DropExt is how the name of a tenant's file ends that was deleted while its sessions were not yet: `tenant delete --drop-sessions` renames it.
const DropExt = ".drop"

// Tenants are what the files in a folder say. They are never changed: another look at the folder makes other Tenants.
type Tenants struct {
	All      []*Tenant // sorted by name
	Problems Problems  // what is wrong with the files, in their order
	Drops    []string  // the names of tenants whose sessions are to be dropped, sorted

	main  *Config
	files map[string]tenantFile // by the name of the file
}

// tenantFile is what a file says now, and what it said last when nothing was wrong with it.
type tenantFile struct {
	sum      [sha256.Size]byte
	problems Problems
	good     *Tenant // nil if there was something wrong ever since the file is there
}

// Tenant finds a tenant by its name, or nil.
func (ts *Tenants) Tenant(name string) *Tenant {
	i, found := slices.BinarySearchFunc(ts.All, name, func(t *Tenant, name string) int { return strings.Compare(t.Name, name) })
	if !found {
		return nil
	}
	return ts.All[i]
}

// Stale are the names of the tenants that are as they were, because something is wrong with their files, and Missing of those that there would be.
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

// Digests are the SHA-256 of the files in which nothing is wrong, in hexadecimal, by the names of the files.
func (ts *Tenants) Digests() map[string]string {
	all := make(map[string]string)
	for name, f := range ts.files {
		if len(f.problems) == 0 {
			all[name] = hex.EncodeToString(f.sum[:])
		}
	}
	return all
}

// LoadTenants looks at the files in a folder. old is what it held before, nil at the first time: a file with which something is wrong goes on saying
// what it said there, whatever else has changed, so that a mistake in one file neither takes a tenant out of service nor holds up what was
// revoked in another. A file that is gone takes its tenant with it; a folder that cannot be read leaves everything as it was.
//
// Files that begin with a dot, and those that end neither in .yaml nor in .drop, are not looked at; one that ends in .yml, which looks like a
// tenant's and is none, is a problem. Links are followed within the folder, as Kubernetes lays them out, and never out of it: who may write there
// could have the files of others read.
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
		again.Problems = Problems{{File: folder, Text: "the folder cannot be read, and nothing is changed: " + cause(err).Error()}}
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

// misnamed tells of a file that somebody takes for a tenant's.
func misnamed(folder, name string) Problems {
	ext := filepath.Ext(name)
	if !strings.EqualFold(ext, ".yml") && !strings.EqualFold(ext, TenantExt) {
		return nil
	}
	right := strings.TrimSuffix(name, ext) + TenantExt
	text := fmt.Sprintf("it ends in %s, and is not looked at: call it %s", ext, right)
	if _, err := os.Lstat(filepath.Join(folder, right)); err == nil {
		text = fmt.Sprintf("it ends in %s, and is not looked at; %s is there beside it: remove one of them", ext, right)
	}
	return Problems{{File: filepath.Join(folder, name), Text: text}}
}

func loadTenantFile(root *os.Root, name, path string, main *Config, old *Tenants, before tenantFile, also []func(*Tenant) Problems) tenantFile {
	data, err := readTenant(root, name)
	if err != nil {
		good := before.good
		if errors.Is(err, fs.ErrNotExist) { // it was taken away this moment, or is a link to nothing: the tenant is gone
			good = nil
		}
		return tenantFile{problems: Problems{unreadable(path, err)}, good: good}
	}
	f := tenantFile{sum: sha256.Sum256(data)}
	if f.sum == before.sum && old.main == main {
		return before // to parse thousands of files would take seconds
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

// hostsTwice finds the hosts that several tenants claim. It harms nobody: who a client is does not depend on the name that it calls.
func (ts *Tenants) hostsTwice() Problems {
	var problems Problems
	claims := make(map[string]*Tenant)
	for _, t := range ts.All {
		for i, host := range t.Hosts {
			if first := claims[host]; first != nil {
				problems = append(problems, t.Problem(fmt.Sprintf("hosts[%d]", i), "%s is a host of tenant %s already", host, first.Name))
				continue
			}
			claims[host] = t
		}
	}
	return problems
}

// Same reports whether two looks at a folder found the same, so that nobody needs to be told.
func (ts *Tenants) Same(other *Tenants) bool {
	return ts.main == other.main && slices.Equal(ts.All, other.All) && slices.Equal(ts.Problems, other.Problems) && slices.Equal(ts.Drops, other.Drops)
}
