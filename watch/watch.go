package watch

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options configure Start. Folders, Settle, Unsettled and Poll are required.
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

	What   string       // the files, for the log
	Logger *slog.Logger // discards everything by default
}

// Watcher reports changes of files.
type Watcher struct {
	opts    Options
	reports chan struct{}
	now     chan struct{}

	system  *fsnotify.Watcher // nil if the system reports nothing
	folders map[string]fs.FileInfo
	failed  bool // a folder that cannot be watched was logged
}

// Start begins to watch until ctx ends. The first report comes at once, since changes before are unknown.
func Start(ctx context.Context, opts Options) *Watcher {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{
		opts: opts, reports: make(chan struct{}, 1), now: make(chan struct{}, 1), folders: make(map[string]fs.FileInfo),
	}
	if !opts.PollOnly {
		system, err := fsnotify.NewWatcher()
		if err != nil {
			w.warn(err)
		} else {
			w.system = system
		}
	}
	go w.run(ctx)
	return w
}

// C returns the channel of reports. What the reader finds after a report includes every change before it.
func (w *Watcher) C() <-chan struct{} { return w.reports }

// Now requests a report at once, for a user that has other files than before.
func (w *Watcher) Now() {
	select {
	case w.now <- struct{}{}:
	default:
	}
}

func (w *Watcher) run(ctx context.Context) {
	var events chan fsnotify.Event
	var failures chan error
	if w.system != nil {
		defer w.system.Close()
		events, failures = w.system.Events, w.system.Errors
	}
	due := time.NewTimer(0)
	defer due.Stop()
	poll := time.NewTimer(w.opts.Poll)
	defer poll.Stop()
	var first time.Time // time of the first change that is not reported yet
	note := func() {
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(w.opts.Settle, max(time.Until(first.Add(w.opts.Unsettled)), 0)))
	}
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.opts.Ignore == nil || !w.opts.Ignore(e.Name) {
				note()
			}
		case <-failures: // such as more changes than the system can hold
			note()
		case <-w.now:
			due.Reset(0)
		case <-poll.C:
			start := time.Now()
			w.renew()
			if w.opts.Fingerprint != nil && w.opts.Fingerprint() != reported {
				note()
			}
			poll.Reset(max(w.opts.Poll, 20*time.Since(start)))
		case <-due.C:
			first = time.Time{}
			w.renew() // before the report, so that a change while the reader reads is detected
			if w.opts.Fingerprint != nil {
				reported = w.opts.Fingerprint()
			}
			select {
			case w.reports <- struct{}{}:
			default: // the last report was not read yet
			}
		}
	}
}

// renew has the system watch the folders as they are now: a path may lead to another folder than before.
func (w *Watcher) renew() {
	if w.system == nil {
		return
	}
	folders := w.opts.Folders()
	for path := range w.folders {
		if !slices.Contains(folders, path) {
			w.forget(path)
		}
	}
	var failure error
	for _, path := range folders {
		info, err := os.Stat(path)
		if watched := w.folders[path]; watched != nil && (err != nil || !os.SameFile(info, watched)) {
			w.forget(path)
		}
		if err == nil && w.folders[path] == nil {
			if err = w.system.Add(path); err == nil {
				w.folders[path] = info
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
}

func (w *Watcher) forget(path string) {
	_ = w.system.Remove(path) // fails for a folder that is gone
	delete(w.folders, path)
}

func (w *Watcher) warn(err error) {
	w.opts.Logger.Warn("the system does not report changes of files; they are detected by polling",
		"files", w.opts.What, "period", w.opts.Poll, "err", err)
}
