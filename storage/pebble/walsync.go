package pebble

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// walFile is a file of the write-ahead log open for writing, new or recycled.
//
// Pebble's log writer writes what it has buffered and then syncs, and only then are the waiters woken; what the log
// writer takes for a sync is decided here. In SyncAlways it is one. Else it is nothing, as the write has left the
// process already: with SyncInterval, syncEvery makes up for it. In every mode closing syncs: Pebble opens a new log
// only when it has closed the last one, and does not accept one torn log followed by another after a power cut.
//
// For the same reason the store stays below the format in which a log's records claim how much of the log had been
// synced before (tuning.go).
type walFile struct {
	diskFile
	dirty atomic.Bool // something was written since the last sync began

	mu     sync.Mutex // held while syncing and closing
	closed bool       // guarded by mu
}

func (d *disk) newWALFile(name string, f vfs.File) *walFile {
	w := &walFile{diskFile: diskFile{File: f, disk: d, name: name, silent: true}}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wals[w] = struct{}{}
	return w
}

func (w *walFile) Write(p []byte) (int, error) {
	n, err := w.diskFile.Write(p)
	w.dirty.Store(true)
	return n, err
}

func (w *walFile) Sync() error { return w.SyncData() }

func (w *walFile) SyncData() error {
	if w.disk.mode != SyncAlways {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.syncLocked()
}

func (w *walFile) Close() error {
	w.disk.mu.Lock()
	delete(w.disk.wals, w)
	w.disk.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.dirty.Load() {
		_ = w.syncLocked()
	}
	return w.diskFile.Close()
}

func (w *walFile) syncLocked() error {
	w.dirty.Store(false)
	start := time.Now()
	err := w.diskFile.SyncData()
	w.disk.observer.WALSynced(time.Since(start))
	return err
}

// syncEvery syncs the log now and then, until the disk is closed.
func (d *disk) syncEvery(interval time.Duration) {
	defer close(d.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-tick.C:
			d.syncWALs()
		}
	}
}

func (d *disk) syncWALs() {
	d.mu.Lock()
	open := make([]*walFile, 0, len(d.wals))
	for w := range d.wals {
		open = append(open, w)
	}
	d.mu.Unlock()
	for _, w := range open {
		w.mu.Lock()
		// Pebble may be writing meanwhile. A vfs.File need not allow that, but those of vfs.Default and vfs.MemFS do.
		if !w.closed && w.dirty.Load() {
			_ = w.syncLocked() // a failure has been noted
		}
		w.mu.Unlock()
	}
}
