package certs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files must be left alone before they are read: a certificate and its key are written one after the other.
	settle = 200 * time.Millisecond
	// unsettled is how long that may take, in a folder where something is written all the time.
	unsettled = 2 * time.Second
	// lookEvery is for file systems that tell of no change, such as NFS, and for folders that were away for a moment.
	lookEvery = 10 * time.Minute
	warnEvery = 24 * time.Hour
)

// watch reads files again when they change, and does what is due now and then, until ctx ends.
func (c *Certs) watch(ctx context.Context) {
	look, warn := time.NewTicker(lookEvery), time.NewTicker(warnEvery)
	defer look.Stop()
	defer warn.Stop()
	settled := time.NewTimer(0) // a change between New and now was not seen
	defer settled.Stop()

	var since time.Time // of the first change that was not read yet
	changed := func() {
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < unsettled {
			settled.Reset(settle)
		}
	}

	var events chan fsnotify.Event
	var faults chan error
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.log.Warn("certificate files cannot be watched, they are read every while", "error", err, "every", lookEvery)
	} else {
		defer watcher.Close()
		events, faults = watcher.Events, watcher.Errors
		c.watchFolders(watcher)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if e.Op != fsnotify.Chmod {
				changed()
			}
		case err, ok := <-faults:
			if !ok {
				faults = nil
				continue
			}
			c.log.Debug("watching certificate files", "error", err) // too many events at once, perhaps
			changed()
		case <-c.poke:
			settled.Reset(0)
		case <-settled.C:
			since = time.Time{}
			c.watchFolders(watcher) // first, so that what changes while the files are read is seen
			_ = c.Reload()          // the observer has it
		case <-look.C:
			c.watchFolders(watcher)
			c.maintain()
		case <-warn.C:
			c.files.warnExpiring(time.Now())
		}
	}
}

// watchFolders has watcher watch the folders of all files as they are now, which changes with the symbolic links on the way to them.
func (c *Certs) watchFolders(watcher *fsnotify.Watcher) {
	if watcher == nil {
		return
	}
	paths := c.files.paths()
	c.mu.Lock()
	for _, ca := range c.clients {
		paths = append(paths, ca.file)
	}
	c.mu.Unlock()
	var wanted []string
	for _, path := range paths {
		wanted = append(wanted, folders(path)...)
	}
	watched := watcher.WatchList()
	for _, folder := range watched {
		if !slices.Contains(wanted, folder) {
			watcher.Remove(folder) // gone already, if it fails
		}
	}
	for _, folder := range wanted {
		if err := watcher.Add(folder); err != nil {
			c.log.Debug("folder of certificate files cannot be watched", "folder", folder, "error", err)
		}
	}
}

// folders are those in which something changes when another file comes to be at path: the one that it lies in, and those of all symbolic
// links on the way to it. Kubernetes replaces a link in the middle, certbot the last one.
func folders(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var all []string
	at, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, step)
		target, err := os.Readlink(next)
		if err != nil { // it is no link, or not there
			if len(rest) == 0 {
				all = append(all, at)
			}
			at = next
			continue
		}
		if links++; links > 40 { // as in Linux
			break
		}
		all = append(all, at)
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
