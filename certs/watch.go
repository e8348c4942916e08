package certs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sessionserver/watch"
)

const (
	// settle is the quiet time until files are read: a certificate and its key are written one after the other.
	settle = 200 * time.Millisecond
	// unsettled is the delay of a read in a folder where files are written all the time.
	unsettled = 2 * time.Second
	// maintainEvery is the period of maintenance, which also reads files whose changes the system does not report.
	maintainEvery = 10 * time.Minute
	warnEvery     = 24 * time.Hour
)

// watch reads files again when they change, and does what is due periodically, until ctx ends.
func (c *Certs) watch(ctx context.Context) {
	maintain, warn := time.NewTicker(maintainEvery), time.NewTicker(warnEvery)
	defer maintain.Stop()
	defer warn.Stop()
	w := watch.Start(ctx, watch.Options{
		Folders: c.folders, Settle: settle, Unsettled: unsettled, Poll: maintainEvery,
		What: "certificates", Logger: c.log,
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.poke:
			w.Now()
		case <-w.C():
			_ = c.Reload() // the observer has its outcome
		case <-maintain.C:
			c.maintain()
		case <-warn.C:
			c.files.warnExpiring(time.Now())
		}
	}
}

// folders returns the folders of all files as they are now, which change with the links on the way to them.
func (c *Certs) folders() (all []string) {
	paths := c.files.paths()
	c.mu.Lock()
	for _, ca := range c.clients {
		paths = append(paths, ca.file)
	}
	c.mu.Unlock()
	for _, path := range paths {
		all = append(all, foldersTo(path)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// foldersTo returns the folders in which a change can make path another file: the one that it lies in, and those of all
// symbolic links on the way to it. Kubernetes replaces a link in the middle, certbot the last one.
func foldersTo(path string) []string {
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
		if err != nil { // not a link, or missing
			if len(rest) == 0 {
				all = append(all, at)
			}
			at = next
			continue
		}
		if links++; links > 40 { // the limit of Linux
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
