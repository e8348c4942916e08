package watch

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options configure Run. Folders, Settle, Unsettled and Poll are required.
type Options struct {
	// Folders returns the folders in which the files lie. It is called again before each report and at each poll, for
	// links and folders may be others by then.
	Folders func() []string

	// Fingerprint returns a text that changes with the files. It is compared at each poll. Without it only the system
	// reports changes.
	Fingerprint func() string

	// Ignore reports whether changes of the file at path are of no interest. It may be nil.
	Ignore func(path string) bool

	Settle    time.Duration // quiet time after the last change until it is reported
	Unsettled time.Duration // delay of a report while changes go on
	Poll      time.Duration // period of polls; they are further apart if they take more than a twentieth of it
	PollOnly  bool          // ignores what the system reports

	Now <-chan struct{} // requests a call at once, for a user that has other files than before; may be nil

	What   string       // the files, for the log
	Logger *slog.Logger // discards everything by default
}

// watcher is one call of Run.
type watcher struct {
	opts    Options
	system  *fsnotify.Watcher // nil if the system reports nothing
	folders map[string]fs.FileInfo
	failed  bool // a folder that cannot be watched was logged
}

// Run calls changed when the files have settled after a change, until ctx ends. The first call comes at once, since
// changes before are unknown. After a change during a call there is a further one. Run returns when no call is under
// way.
func Run(ctx context.Context, opts Options, changed func()) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	w := &watcher{opts: opts, folders: make(map[string]fs.FileInfo)}
	var events chan fsnotify.Event
	var failures chan error
	if !opts.PollOnly {
		system, err := fsnotify.NewWatcher()
		if err != nil {
			w.warn(err)
		} else {
			defer system.Close()
			w.system, events, failures = system, system.Events, system.Errors
		}
	}
	due := time.NewTimer(0)
	defer due.Stop()
	poll := time.NewTimer(opts.Poll)
	defer poll.Stop()
	var first time.Time // time of the first change that is not reported yet
	note := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(opts.Settle, max(time.Until(first.Add(opts.Unsettled)), 0)))
	}
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if opts.Ignore == nil || !opts.Ignore(e.Name) {
				note()
			}
		case <-failures: // such as more changes than the system can hold
			note()
		case <-opts.Now:
			due.Reset(0)
		case <-poll.C:
			start := time.Now()
			added := w.renew()
			if added || opts.Fingerprint != nil && opts.Fingerprint() != reported {
				note()
			}
			poll.Reset(max(opts.Poll, 20*time.Since(start)))
		case <-due.C:
			if ctx.Err() != nil {
				return
			}
			first = time.Time{}
			w.renew() // before the call, so that a change during the call is detected
			if opts.Fingerprint != nil {
				reported = opts.Fingerprint()
			}
			changed()
		}
	}
}

// renew has the system watch the folders as they are now: a path may lead to another folder than before. It reports
// whether a folder was added. The changes in such a folder before are unknown.
func (w *watcher) renew() (added bool) {
	if w.system == nil {
		return false
	}
	folders := w.opts.Folders()
	active := w.system.WatchList() // lacks a folder that was moved or removed, even if it is back
	for path := range w.folders {
		if !slices.Contains(folders, path) {
			w.forget(path)
		}
	}
	var failure error
	for _, path := range folders {
		info, err := os.Stat(path)
		if watched := w.folders[path]; watched != nil &&
			(err != nil || !os.SameFile(info, watched) || !w.isActive(active, info)) {
			w.forget(path)
		}
		if err == nil && w.folders[path] == nil {
			if err = w.system.Add(path); err == nil {
				w.folders[path] = info
				added = true
			}
		}
		if err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil && !w.failed {
		w.warn(failure)
	}
	w.failed = failure != nil
	return added
}

// isActive reports whether the system watches the folder. It has one watch for all paths of a folder, and active names
// one of them.
func (w *watcher) isActive(active []string, folder fs.FileInfo) bool {
	for path, info := range w.folders {
		if os.SameFile(info, folder) && slices.Contains(active, filepath.Clean(path)) {
			return true
		}
	}
	return false
}

func (w *watcher) forget(path string) {
	_ = w.system.Remove(path) // fails for a folder that is gone
	delete(w.folders, path)
}

func (w *watcher) warn(err error) {
	w.opts.Logger.Warn("the system does not report changes of files; they are detected by polling",
		"files", w.opts.What, "period", w.opts.Poll, "err", err)
}
