package opa

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// Source is where policies come from: FS, Folder or Bundle.
type Source interface {
	fmt.Stringer

	// load reads everything. It answers errSame if nothing has changed since the last time that keep was called.
	load(context.Context) (*contents, error)
	// keep is called when what was loaded last decides from now on.
	keep() error
	// kept reads what was kept in an earlier life, for a start at which load fails. It answers errNothing for a source that keeps nothing.
	kept() (*contents, error)
	// follow calls changed whenever there may be something new, until ctx ends.
	follow(ctx context.Context, changed func())
}

var (
	errSame    = errors.New("it has not changed")
	errNothing = errors.New("nothing is kept")
)

// fileMax is how large one file of a policy may be.
const fileMax = 16 << 20

// files are policies in a file system that nobody changes.
type files struct {
	name string
	fsys fs.FS
	path string // what stands before the names of files in errors; "" for nothing
}

// FS is a source of files that never change, such as those that the program has in it. A file *.rego is a module, *_test.rego a test; data.json and
// data.yaml are data, at the place that their folder says. What lies in tenants/NAME is the policy of that tenant. Names that begin with a dot are
// passed over.
func FS(name string, fsys fs.FS) Source { return &files{name: name, fsys: fsys} }

func (f *files) String() string { return f.name }

func (f *files) load(context.Context) (*contents, error) {
	b, err := bundle.NewCustomReader(bundle.NewFSLoaderWithRoot(f.fsys, ".").WithFollowSymlinks(true).WithFilter(passOver)).
		WithBaseDir(f.path).WithRegoVersion(ast.RegoV1).WithProcessAnnotations(true).WithSkipBundleVerification(true).WithSizeLimitBytes(fileMax).Read()
	if err != nil {
		return nil, faults(err)
	}
	return sort(&b)
}

// passOver is for files that are no part of a policy.
func passOver(file string, info os.FileInfo, _ int) bool {
	name := path.Base(file)
	switch {
	case file == ".":
		return false
	case name == bundle.ManifestExt:
		return false
	case strings.HasPrefix(name, "."):
		return true
	}
	return !info.IsDir() && path.Ext(name) != ".rego" && name != "data.json" && name != "data.yaml" && name != "data.yml"
}

func (f *files) keep() error                          { return nil }
func (f *files) kept() (*contents, error)             { return nil, errNothing }
func (f *files) follow(ctx context.Context, _ func()) { <-ctx.Done() }

// folder is policies in a folder that is watched.
type folder struct {
	files
	watch                   bool          // whether to have the system tell of changes
	settle, unsettled, poll time.Duration // see follow; tests have less patience
}

// Folder is a source of files as FS tells, which are read again when they change.
func Folder(path string) Source {
	return &folder{
		files:  files{name: path, fsys: os.DirFS(path), path: path},
		watch:  true,
		settle: 100 * time.Millisecond, unsettled: time.Second, poll: 5 * time.Second,
	}
}

// load reads the files until they stay as they are meanwhile: half of what was there and half of what came would be a policy that nobody wrote.
func (f *folder) load(ctx context.Context) (*contents, error) {
	for range 5 {
		before := f.fingerprint(nil)
		all, err := f.files.load(ctx)
		if f.fingerprint(nil) == before {
			return all, err
		}
	}
	return nil, errors.New("the files change all the time while they are read")
}
