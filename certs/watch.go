package certs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sessionserver/watch"
)

const (
	// settle is the quiet time until files are read: a certificate and its key are written one after the other.
	settle = 200 * time.Millisecond
	// unsettled is the delay of a read in a folder where files are written all the time.
	unsettled = 2 * time.Second
	// pollEvery is the period after which changes are detected that the system does not report, such as on NFS.
	pollEvery     = 10 * time.Second
	maintainEvery = 10 * time.Minute // of what is neither a change of a file nor a warning
	warnEvery     = 24 * time.Hour
)

// watch reads files again when they change, and does what is due periodically, until ctx ends.
func (c *Certs) watch(ctx context.Context) {
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		watch.Run(ctx, watch.Options{
			Folders: c.folders, Fingerprint: c.fingerprint, Now: c.poke,
			Settle: settle, Unsettled: unsettled, Poll: pollEvery, What: "certificates", Logger: c.log,
		}, func() { _ = c.Reload() }) // the observer has its outcome
	})
	maintain, warn := time.NewTicker(maintainEvery), time.NewTicker(warnEvery)
	defer maintain.Stop()
	defer warn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-maintain.C:
			c.maintain()
		case <-warn.C:
			c.files.warnExpiring(time.Now())
		}
	}
}

// watched returns the paths of all files that are read again.
func (c *Certs) watched() []string {
	paths := c.files.paths()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ca := range c.clients {
		paths = append(paths, ca.file)
	}
	return paths
}

// fingerprint returns a text that changes with the files, as far as the system reports without reading them.
func (c *Certs) fingerprint() string {
	var b strings.Builder
	for _, path := range c.watched() {
		at, _ := filepath.EvalSymlinks(path)
		if info, err := os.Stat(path); err != nil {
			fmt.Fprintln(&b, at, err)
		} else {
			fmt.Fprintln(&b, at, info.Size(), info.ModTime().UnixNano(), info.Mode())
		}
	}
	return b.String()
}

// folders returns the folders of all files as they are now, which change with the links on the way to them.
func (c *Certs) folders() (all []string) {
	for _, path := range c.watched() {
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
