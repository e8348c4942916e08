package tenants

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"sessionserver/configs"
)

// Run applies changes in the files until ctx ends. After the last notice of the system it waits for debounce, since an
// editor may be in the middle of several changes, but not for long. The system gives no notice on network file systems
// and behind links. Such a change is found by the files' times, once each poll. With very many files polls are further
// apart: they take a twentieth of the time at most.
func (f *Follower) Run(ctx context.Context) {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { f.dropAll(ctx) })
	if f.folder == "" {
		<-ctx.Done()
		return
	}
	w := &folderWatch{path: f.folder}
	defer w.close()
	w.renew(f.log)
	var first time.Time // of the changes since the last look
	due := time.NewTimer(0)
	defer due.Stop()
	poll := time.NewTimer(f.poll)
	defer poll.Stop()
	noticed := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(f.debounce, max(time.Until(first.Add(4*f.debounce)), 0)))
	}
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events():
			if !strings.HasPrefix(filepath.Base(e.Name), servedPrefix) { // a file of this package
				noticed()
			}
		case <-w.errors(): // such as too many changes for the system's queue
			noticed()
		case <-poll.C:
			start := time.Now()
			w.renew(f.log)
			if fingerprint(f.folder) != last {
				noticed()
			}
			poll.Reset(max(f.poll, 20*time.Since(start)))
		case <-due.C:
			first = time.Time{}
			last = fingerprint(f.folder)
			f.Reload()
		}
	}
}

// folderWatch receives changes in a folder from the system, as long as it is the same folder.
type folderWatch struct {
	path    string
	info    fs.FileInfo // of the folder that is watched
	watcher *fsnotify.Watcher
	failed  bool // that there is no watcher was logged
}

// renew begins to watch the folder if it is not watched, or has been replaced.
func (w *folderWatch) renew(log *slog.Logger) {
	info, err := os.Stat(w.path)
	if err == nil && w.info != nil && os.SameFile(info, w.info) {
		return
	}
	w.close()
	if err == nil {
		w.watcher, err = fsnotify.NewWatcher()
	}
	if err == nil {
		if err = w.watcher.Add(w.path); err != nil {
			w.close()
		}
	}
	if err != nil {
		if !w.failed {
			log.Warn("the system gives no notice of changes to the tenants; the files are read twice a second",
				"folder", w.path, "err", err)
		}
		w.failed = true
		return
	}
	w.info, w.failed = info, false
}

func (w *folderWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
	w.watcher, w.info = nil, nil
}

func (w *folderWatch) events() chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *folderWatch) errors() chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

// fingerprint returns the metadata of the files in a folder as a text. The content is not read.
func fingerprint(folder string) string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		name := e.Name()
		ext := strings.ToLower(filepath.Ext(name))
		// A file that ends with .yml is a problem as long as it is there.
		if strings.HasPrefix(name, ".") || ext != configs.TenantExt && ext != configs.DropExt && ext != ".yml" {
			continue
		}
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			fmt.Fprintln(&b, name, err)
			continue
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), info.Mode(), inode(info))
	}
	return b.String()
}
