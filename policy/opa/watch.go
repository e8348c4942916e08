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

// follow calls changed when files were left alone for settle after a change, or for unsettled if they never are. The system tells of changes; those
// that it does not tell of, as on network file systems or behind links, are found by looking at the files each poll.
func (f *folder) follow(ctx context.Context, changed func()) {
	var watcher *fsnotify.Watcher // nil if the system has none to give; looking each poll has to do then
	var events chan fsnotify.Event
	var faults chan error
	if f.watch {
		if w, err := fsnotify.NewWatcher(); err == nil {
			defer w.Close()
			watcher, events, faults = w, w.Events, w.Errors
		}
	}
	poll := time.NewTicker(f.poll)
	defer poll.Stop()
	due := time.NewTimer(0) // a change before now was not seen
	defer due.Stop()
	var first time.Time // when a change was noticed that was not read yet
	noticed := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(f.settle, max(time.Until(first.Add(f.unsettled)), 0)))
	}
	seen := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if e.Op != fsnotify.Chmod {
				noticed()
			}
		case <-faults: // such as that there were too many changes to tell of them
			noticed()
		case <-poll.C:
			if f.fingerprint(nil) != seen {
				noticed()
			}
		case <-due.C:
			first = time.Time{}
			seen = f.fingerprint(watcher) // first, so that what changes while the files are read is seen
			changed()
		}
	}
}

// fingerprint changes with the files, as far as the system tells without reading them. It has watcher, which may be nil, watch all folders.
func (f *folder) fingerprint(watcher *fsnotify.Watcher) string {
	var b strings.Builder
	link := func(name string) { // itself too: another one that leads to the same place may have led elsewhere between
		to, _ := filepath.EvalSymlinks(name)
		if info, err := os.Lstat(name); err == nil {
			fmt.Fprintln(&b, to, info.ModTime().UnixNano())
		}
	}
	link(f.path)
	root := f.path + string(filepath.Separator) // or a link would not be followed
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(&b, name, err)
			return nil
		}
		if name != root && strings.HasPrefix(d.Name(), ".") && d.IsDir() {
			return fs.SkipDir
		}
		if d.IsDir() && watcher != nil {
			_ = watcher.Add(name) // looking each poll does instead
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
