package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// group is frames that become durable together. One of those who wait for it writes it: the leader, of which there is
// one at a time for all groups.
type group struct {
	spans  []span   // guarded by log.mu until the group is closed
	bytes  int      // in them
	to     position // behind its last frame
	closed bool     // takes no further frames; guarded by log.mu
	copies sync.WaitGroup

	over atomic.Bool
	done chan struct{} // closed when it is over
	lead chan struct{} // makes one of those who wait the leader
	err  error         // of a group that is over
}

// span is a part of a page that belongs to a group.
type span struct {
	page     *page
	from, to int
}

func (g *group) finish(err error) {
	g.err = err
	g.over.Store(true)
	close(g.done)
}

// open returns the group for the next frame. The caller holds mu.
func (l *log) open() *group {
	if n := len(l.groups); n > 0 && !l.groups[n-1].closed {
		if g := l.groups[n-1]; g.bytes < l.opts.layout.group {
			return g
		}
		l.groups[n-1].closed = true
	}
	g := &group{done: make(chan struct{}), lead: make(chan struct{}, 1)}
	l.groups = append(l.groups, g)
	return g
}

// commit returns when the group is durable. A caller that has appended to it calls commit, with no way to leave early:
// the lead may be handed to any of them.
func (l *log) commit(g *group) error {
	runtime.Gosched() // others that are about to append join the group
	return l.wait(context.Background(), g)
}

// settled returns when all frames up to and including the one at p are durable.
func (l *log) settled(ctx context.Context, p position) error {
	if uint64(p) < l.committed.Load() {
		return nil
	}
	l.mu.Lock()
	if uint64(p) < l.committed.Load() {
		l.mu.Unlock()
		return nil
	}
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	var g *group
	for _, g = range l.groups {
		if p < g.to {
			break
		}
	}
	l.mu.Unlock()
	if g == nil {
		return fmt.Errorf("log: no group has the position %d", p) // cannot be
	}
	return l.wait(ctx, g)
}

// wait returns when the group is over. It may make the caller the leader.
func (l *log) wait(ctx context.Context, g *group) error {
	for !g.over.Load() {
		if l.leading.CompareAndSwap(false, true) {
			l.leadTo(g)
			continue
		}
		select {
		case <-g.done:
		case <-g.lead:
			l.leadTo(g)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.err
}

// leadTo writes groups until g is over, and hands the lead on.
func (l *log) leadTo(g *group) {
	for !g.over.Load() {
		l.writeGroup()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.groups) == 0 {
		l.leading.Store(false)
		return
	}
	signal(l.groups[0].lead) // of those who have appended to it, all wait or will
}

// writeGroup makes the oldest group durable.
func (l *log) writeGroup() {
	l.mu.Lock()
	if l.failed != nil || len(l.groups) == 0 {
		l.mu.Unlock()
		return
	}
	g := l.groups[0]
	g.closed = true
	l.mu.Unlock()
	g.copies.Wait()
	l.writing.Lock()
	err := l.failure() // the folder may have been opened again meanwhile
	if err == nil {
		err = l.writeSpans(g)
	}
	l.writing.Unlock()
	if err != nil {
		l.fail(err)
		return
	}
	l.mu.Lock()
	if l.failed != nil { // by the sync of another goroutine
		l.mu.Unlock()
		return
	}
	l.groups = append(l.groups[:0], l.groups[1:]...)
	l.unwritten -= g.bytes
	for _, s := range g.spans {
		s.page.written = s.to
	}
	l.committed.Store(uint64(g.to))
	l.mu.Unlock()
	g.finish(nil)
}

func (l *log) writeSpans(g *group) error {
	for _, s := range g.spans {
		if err := l.enter(s.page.segment); err != nil {
			return err
		}
		if err := l.writeAll(s.page.segment.file, s.page.buf[s.from:s.to], s.page.offset+s.from); err != nil {
			return err
		}
		s.page.segment.written.Store(int64(s.page.offset + s.to))
	}
	if l.opts.Sync == SyncAlways {
		return l.sync(l.entered)
	}
	return nil
}

// enter makes s the segment that is written to. Its name is durable before its first frame is, and so is the whole of
// the segment before.
func (l *log) enter(s *segment) error {
	if s == l.entered {
		return nil
	}
	if l.entered != nil {
		if err := l.sync(l.entered); err != nil {
			return err
		}
		l.mu.Lock()
		l.entered.shrink()
		l.mu.Unlock()
	}
	if err := l.files.Rename(s.spare, segmentName(s.number)); err != nil {
		return err
	}
	if err := l.files.Sync(); err != nil {
		return err
	}
	l.entered = s
	return nil
}

// sync makes what is written of the segment durable. An error of the disk is reported to one caller only, so no two may
// sync at once, and none after a failure.
func (l *log) sync(s *segment) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.failure(); err != nil {
		return err
	}
	written := s.written.Load()
	if written == s.synced.Load() {
		return nil
	}
	start := time.Now()
	err := s.file.Sync()
	if errors.Is(err, fs.ErrClosed) {
		return nil // it was cleaned meanwhile, which has synced everything
	}
	l.opts.Synced(time.Since(start))
	if err != nil {
		l.fail(err)
		return err
	}
	for synced := s.synced.Load(); synced < written &&
		!s.synced.CompareAndSwap(synced, written); synced = s.synced.Load() {
	}
	return nil
}
