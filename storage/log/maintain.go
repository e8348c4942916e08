package log

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// newest returns the newest segment, or nil.
func (l *log) newest() *segment {
	all := *l.segments.Load()
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// sealAndClean writes the tables of keys of complete segments, and cleans the oldest ones.
func (e *engine) sealAndClean(ctx context.Context) {
	signal(e.log.wakeSeal) // for what an earlier engine has left
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.log.wakeSeal:
		}
		for _, s := range *e.log.segments.Load() {
			if s.keyed.Load() {
				continue
			}
			if !e.log.reserved() {
				break // the table may need what the reserve lacks
			}
			if err := e.sealSegment(ctx, s); err != nil {
				if ctx.Err() == nil && e.log.failure() == nil {
					e.warnUnsealed(s, err)
				}
				break
			}
		}
		for ctx.Err() == nil {
			s := e.log.toClean()
			if s == nil {
				break
			}
			if err := e.cleanWhole(ctx, s); err != nil {
				if ctx.Err() == nil && e.log.failure() == nil && !errors.Is(err, ErrFull) {
					e.opts.Logger.Warn("storage: a segment cannot be cleaned", "file", segmentName(s.number), "err",
						err)
				}
				break
			}
		}
	}
}

func (e *engine) warnUnsealed(s *segment, err error) {
	e.opts.Logger.Warn("storage: no table of keys; the next start reads the segment instead", "file",
		segmentName(s.number), "err", err)
}

// sealSegment writes the table of keys of a segment, if it is complete: not before all of its frames are durable.
func (e *engine) sealSegment(ctx context.Context, s *segment) error {
	l := &e.log
	l.mu.Lock()
	end := s.end
	l.mu.Unlock()
	if end == 0 {
		return nil
	}
	if err := l.settled(ctx, at(s.number, end-frameHead)); err != nil {
		return err
	}
	if err := l.sync(s); err != nil {
		l.fail(err)
		return err
	}
	k, err := e.collectKeys(s)
	if err != nil {
		return err
	}
	k.records = e.records()
	if err := writeKeys(l.files, k, s.number, l.seal); err != nil {
		return err
	}
	s.keyed.Store(true)
	return nil
}

// collectKeys reads the table of keys of a complete segment from its frames.
func (e *engine) collectKeys(s *segment) (*keys, error) {
	sc := &scanner{segment: s, seal: e.log.seal}
	k, offset, err := scanKeys(sc, func(*frame, []byte, int) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("frames of %s at %d: %w", segmentName(s.number), offset, err)
	}
	return k, nil
}

// records returns the number of slots that are used.
func (e *engine) records() (n uint64) {
	for i := range e.index.shards {
		sh := &e.index.shards[i]
		sh.mu.Lock()
		n += uint64(sh.used)
		sh.mu.Unlock()
	}
	return n
}

// tick syncs the log at intervals, marks what is synced, and notices when the folder is gone.
func (e *engine) tick(ctx context.Context) {
	l := &e.log
	interval := l.opts.layout.mark
	if l.opts.Sync == SyncInterval {
		interval = min(interval, l.opts.SyncInterval)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last position // end of the log at the last look
	next := time.Now().Add(l.opts.layout.mark)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if l.opts.Sync == SyncInterval {
			for _, s := range *l.segments.Load() {
				if err := l.sync(s); err != nil {
					l.fail(err)
					return
				}
			}
		}
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(l.opts.layout.mark)
		if err := l.files.Present(); err != nil {
			l.fail(err)
			return
		}
		l.mu.Lock()
		quiet := l.page != nil && last == at(l.page.segment.number, l.page.offset+l.page.used)
		pending := quiet && l.unmarked()
		if l.page != nil {
			last = at(l.page.segment.number, l.page.offset+l.page.used)
		}
		l.mu.Unlock()
		if pending {
			_ = e.mark() // the next tick tries again
		}
	}
}

// unmarked reports whether a mark would say something new: that all frames are durable, or that the store is swept
// much further. The caller holds mu.
func (l *log) unmarked() bool {
	return l.known < l.content && l.page.segment.synced.Load() >= l.content || l.swept-l.marked > markSwept
}

// markSwept is how far sweeping may be ahead of the newest mark, in milliseconds. After a kill the records that have
// expired in this time are reported by Sweep once more.
const markSwept = 60_000

// mark appends a frame that states how much of the newest segment is durable and how far the store is swept.
func (e *engine) mark() error {
	l := &e.log
	l.mu.Lock()
	r, err := l.claim(frameHead, urgent)
	if err != nil {
		l.mu.Unlock()
		return err
	}
	f := frame{kind: kindMark, dataSum: dataSum(nil), expires: l.swept}
	l.put(&r, &f, "")
	l.marked = l.swept
	l.mu.Unlock()
	return l.commit(r.group)
}

// close completes the newest segment and makes everything durable.
func (e *engine) close() error {
	e.halt()
	defer e.release()
	l := &e.log
	if l.failure() != nil {
		return nil // reported when it happened
	}
	l.mu.Lock()
	empty := l.page == nil && l.swept == l.marked
	l.mu.Unlock()
	if empty {
		return nil
	}
	if err := e.mark(); err != nil { // without a mark, records that were swept are reported again
		if l.failure() != nil {
			return nil // reported when it happened
		}
		if l.page == nil { // nothing was appended
			return nil
		}
	}
	l.mu.Lock()
	g := l.open()
	s := l.page.segment
	l.endSegment(l.page)
	l.mu.Unlock()
	if err := l.commit(g); err != nil {
		return err
	}
	if err := l.sync(s); err != nil {
		return err
	}
	s.shrink()
	if !l.reserved() {
		return nil
	}
	if err := e.sealSegment(context.Background(), s); err != nil {
		e.warnUnsealed(s, err) // everything is durable
	}
	return nil
}
