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

// Source provides policies: FS, Folder or Bundle.
type Source interface {
	fmt.Stringer

	// load reads everything. It returns errSame if nothing has changed since the last call of keep.
	load(context.Context) (*contents, error)
	// keep is called when the contents that were loaded last are in force.
	keep() error
	// kept reads the contents that an earlier run kept, for a start at which load fails. It returns errNothing for a
	// source that keeps none.
	kept() (*contents, error)
	// follow calls changed whenever the source may have changed, until ctx ends.
	follow(ctx context.Context, changed func())
}

var (
	errSame    = errors.New("policies are unchanged")
	errNothing = errors.New("no policies are kept")
)

// fileMax is the maximum size of one file of a policy.
const fileMax = 16 << 20

// files is a source of policies in an immutable file system.
type files struct {
	name string
	fsys fs.FS
	path string // prefix of file names in errors
}

// FS returns a source of files that never change, such as files embedded in the program. A file *.rego is a module,
// and *_test.rego a test. data.json and data.yaml are data, at the path of their folder. The files in tenants/NAME
// are the policy of that tenant. Names that begin with a dot are ignored.
func FS(name string, fsys fs.FS) Source { return &files{name: name, fsys: fsys} }

func (f *files) String() string { return f.name }

func (f *files) load(context.Context) (*contents, error) {
	loader := bundle.NewFSLoaderWithRoot(f.fsys, ".").WithFollowSymlinks(true).WithFilter(ignored)
	b, err := bundle.NewCustomReader(loader).WithBaseDir(f.path).WithRegoVersion(ast.RegoV1).
		WithProcessAnnotations(true).WithSkipBundleVerification(true).WithSizeLimitBytes(fileMax).Read()
	if err != nil {
		return nil, faults(err)
	}
	return sort(&b)
}

// ignored reports whether a file is not part of a policy.
func ignored(file string, info os.FileInfo, _ int) bool {
	name := path.Base(file)
	switch {
	case file == ".":
		return false
	case name == bundle.ManifestExt:
		return false
	case strings.HasPrefix(name, "."):
		return true
	}
	return !info.IsDir() && path.Ext(name) != ".rego" && name != "data.json" && name != "data.yaml" &&
		name != "data.yml"
}

func (f *files) keep() error                          { return nil }
func (f *files) kept() (*contents, error)             { return nil, errNothing }
func (f *files) follow(ctx context.Context, _ func()) { <-ctx.Done() }

// folder is a source of policies in a watched folder.
type folder struct {
	files
	watch                   bool          // whether the system reports changes
	settle, unsettled, poll time.Duration // see follow; tests set shorter ones
}

// Folder returns a source of files as for FS, which are read again when they change.
func Folder(path string) Source {
	return &folder{
		files:  files{name: path, fsys: os.DirFS(path), path: path},
		watch:  true,
		settle: 100 * time.Millisecond, unsettled: time.Second, poll: 5 * time.Second,
	}
}

// load reads the files until they are unchanged during the read. Half of the old and half of the new files would be a
// policy that was never written.
func (f *folder) load(ctx context.Context) (*contents, error) {
	for range 5 {
		before := f.fingerprint()
		all, err := f.files.load(ctx)
		if f.fingerprint() == before {
			return all, err
		}
	}
	return nil, errors.New("policy files kept changing while they were read: to change several at once, " +
		"use a link as the folder and point it to another one")
}
