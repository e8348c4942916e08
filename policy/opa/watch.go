package opa

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sessionserver/watch"
)

// follow calls changed when the files have settled after a change.
func (f *folder) follow(ctx context.Context, changed func()) {
	watch.Run(ctx, watch.Options{
		Folders: f.folders, Fingerprint: f.fingerprint, PollOnly: !f.watch,
		Settle: f.settle, Unsettled: f.unsettled, Poll: f.poll, What: "policies in " + f.path,
	}, changed)
}

// folders returns the folder and all folders in it.
func (f *folder) folders() (all []string) {
	f.walk(func(name string, d fs.DirEntry, err error) {
		if err == nil && d.IsDir() {
			all = append(all, name)
		}
	})
	return all
}

// walk visits all files and folders but hidden folders. A link to the folder itself is followed.
func (f *folder) walk(visit func(name string, d fs.DirEntry, err error)) {
	root := f.path + string(filepath.Separator) // the separator makes WalkDir follow a link
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && name != root && strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			return fs.SkipDir
		}
		visit(name, d, err)
		return nil
	})
}

// fingerprint returns a text that changes with the files, as far as the system reports without reading them.
func (f *folder) fingerprint() string {
	var b strings.Builder
	link := func(name string) { // the link itself too: it may have led elsewhere between two reads
		to, _ := filepath.EvalSymlinks(name)
		if info, err := os.Lstat(name); err == nil {
			fmt.Fprintln(&b, to, info.ModTime().UnixNano())
		}
	}
	link(f.path)
	f.walk(func(name string, d fs.DirEntry, err error) {
		if err != nil {
			fmt.Fprintln(&b, name, err)
			return
		}
		if d.Type()&fs.ModeSymlink != 0 {
			link(name)
		}
		if info, err := os.Stat(name); err != nil {
			fmt.Fprintln(&b, name, err)
		} else if !info.IsDir() {
			fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		}
	})
	return b.String()
}
