package opa

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// follow calls changed when the files were left alone for settle after a change, or after unsettled if they keep
// changing. The system reports most changes. Others, as on network file systems or behind links, are detected at each
// poll.
func (f *folder) follow(ctx context.Context, changed func()) {
	var watcher *fsnotify.Watcher // nil if the system has none; then only the poll detects changes
	var events chan fsnotify.Event
	var failures chan error
	if f.watch {
		if w, err := fsnotify.NewWatcher(); err == nil {
			defer w.Close()
			watcher, events, failures = w, w.Events, w.Errors
		}
	}
	poll := time.NewTicker(f.poll)
	defer poll.Stop()
	due := time.NewTimer(0) // a change before now is unknown
	defer due.Stop()
	var first time.Time // time of the first change that is not yet read
	note := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(f.settle, max(time.Until(first.Add(f.unsettled)), 0)))
	}
	current := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Op != fsnotify.Chmod {
				note()
			}
		case <-failures: // such as an overflow of changes
			note()
		case <-poll.C:
			if f.fingerprint(nil) != current {
				note()
			}
		case <-due.C:
			first = time.Time{}
			current = f.fingerprint(watcher) // before the read, so that a change during the read is detected
			changed()
		}
	}
}

// fingerprint returns a text that changes with the files, as far as the system reports without reading them. It adds
// all folders to watcher, which may be nil.
func (f *folder) fingerprint(watcher *fsnotify.Watcher) string {
	var b strings.Builder
	link := func(name string) { // the link itself too: it may have led elsewhere between two reads
		to, _ := filepath.EvalSymlinks(name)
		if info, err := os.Lstat(name); err == nil {
			fmt.Fprintln(&b, to, info.ModTime().UnixNano())
		}
	}
	link(f.path)
	root := f.path + string(filepath.Separator) // the separator makes WalkDir follow a link
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(&b, name, err)
			return nil
		}
		if name != root && strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			return fs.SkipDir
		}
		if d.IsDir() && watcher != nil {
			_ = watcher.Add(name) // the poll detects changes in any case
		}
		if d.Type()&fs.ModeSymlink != 0 {
			link(name)
		}
		if info, err := os.Stat(name); err != nil {
			fmt.Fprintln(&b, name, err)
		} else if !info.IsDir() {
			fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		}
		return nil
	})
	return b.String()
}
