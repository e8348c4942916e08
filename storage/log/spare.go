package log

import (
	"context"
	"fmt"
	"time"
)

// spare is a file with room for a segment, which has no name of a segment yet. There are two: the next segment, and
// the reserve of the cleaner. The reserve is larger than every segment, so that the oldest one can be copied on a
// full disk. Without such a reserve, no further segment begins.
type spare struct {
	name string
	file file
	size int
}

const spareSuffix = ".spare"

// margin returns by how much the reserve is at least larger than the largest segment. It makes up for what the ends of
// pages and segments waste when records move to others. Where the disk has room, the reserve has one page more, which
// becomes the next segment when the disk is full: for deletions, after a start as well.
func (l *log) margin() int { return l.opts.layout.page }

// prepareSpares keeps both spares ready.
func (e *engine) prepareSpares(ctx context.Context) {
	l := &e.log
	for ctx.Err() == nil {
		err := l.prepare()
		l.mu.Lock()
		if err != nil && l.noSpare == nil {
			e.opts.Logger.Error("storage: no room for further records; free some of the disk", "err", err)
		}
		if err != nil || l.noSpare != nil {
			l.noSpare = err
			l.change()
		}
		again := l.noSpare != nil || l.tooLarge > 0
		l.mu.Unlock()
		var retry <-chan time.Time
		if again {
			signal(l.wakeSeal) // cleaning may make room
			retry = time.After(l.opts.layout.spare)
		}
		select {
		case <-ctx.Done():
		case <-l.wakeSpare:
		case <-retry:
			l.mu.Lock()
			l.tooLarge = 0
			l.mu.Unlock()
		}
	}
}

// prepare makes the spares that are missing or too small.
func (l *log) prepare() error {
	l.mu.Lock()
	margin := l.margin()
	least := l.largest() + margin
	wanted := l.wanted // more may be wanted meanwhile, which has woken the caller again
	size := max(least, wanted+margin) + l.opts.layout.page
	reserve := l.reserve
	right := size <= reserve.size && (reserve.size == size || reserve.size <= 2*size && l.noSpare == nil)
	if !right {
		l.reserve = spare{} // until its size is right
	}
	l.mu.Unlock()
	if !right {
		err := l.resize(&reserve, size, least)
		l.mu.Lock()
		unused := l.addSpare(reserve)
		var small spare
		shared := l.reserve.size < least && l.next.file != nil
		if shared { // what the next one takes may be enough
			small, l.next = l.next, spare{}
		}
		l.change()
		l.mu.Unlock()
		l.removeSpare(unused)
		l.removeSpare(small)
		switch {
		case shared || reserve.size < least && l.removeKeys():
			return l.prepare()
		case reserve.size < least:
			return err
		}
		signal(l.wakeSeal)
	}
	l.mu.Lock()
	size = min(max(l.segmentSize(), wanted), l.reserve.size-margin)
	l.refuse(wanted, size)
	next := l.next
	enough := next.size >= size
	if !enough {
		l.next = spare{}
	}
	l.mu.Unlock()
	if enough {
		return nil
	}
	err := l.resize(&next, size, size)
	if err != nil && next.file == nil && l.splitReserve(least) {
		_ = l.resize(&next, l.opts.layout.page, l.opts.layout.page)
	}
	l.mu.Lock()
	unused := l.addSpare(next) // the cleaner may have added one meanwhile
	l.refuse(wanted, l.next.size)
	l.change()
	l.mu.Unlock()
	l.removeSpare(unused)
	return err
}

// splitReserve gives a page of the reserve back to the disk if the reserve is then still large enough.
func (l *log) splitReserve(least int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.reserve.size - l.opts.layout.page
	if size < least || l.reserve.file.Truncate(int64(size)) != nil {
		return false
	}
	l.reserve.size = size
	return true
}

// refuse ends the wait for a segment of the wanted size if the disk has room for a smaller one only.
func (l *log) refuse(wanted, size int) {
	if wanted > size {
		l.tooLarge, l.wanted = wanted, 0
		l.change()
	}
}

// removeKeys removes the tables of keys to make room, and reports whether there were any. They only make the next start
// faster, and are written again when there is a reserve.
func (l *log) removeKeys() (removed bool) {
	for _, s := range *l.segments.Load() {
		if s.keyed.Swap(false) {
			removed = l.files.Remove(keysName(s.number)) == nil || removed
		}
	}
	return removed
}

// resize gives a spare size bytes, or least bytes on a disk without room for more. Where even these are too many, the
// spare gets as many as there are, and resize returns the error of the disk. A spare without a file gets one, and loses
// it again if it has no room.
func (l *log) resize(sp *spare, size, least int) error {
	if sp.file == nil {
		sp.name = fmt.Sprintf("%d%s", time.Now().UnixNano(), spareSuffix)
		f, err := l.files.Create(sp.name)
		if err != nil {
			return err
		}
		sp.file = f
	}
	var err error
	if sp.size > size {
		if err = sp.file.Truncate(int64(size)); err == nil {
			sp.size = size
		}
		return err
	}
	unit := l.opts.layout.page
	goal := size
	for step := goal - sp.size; step > 0 && sp.size < goal; {
		if err = sp.file.Allocate(int64(sp.size + step)); err == nil {
			sp.size += step
			continue
		}
		if !isFull(err) {
			break
		}
		if goal > least {
			goal = least
			step = goal - sp.size
		} else {
			step = step / 2 / unit * unit
		}
	}
	if sp.size >= least {
		err = nil
	}
	if sp.size == 0 {
		l.removeSpare(*sp)
		*sp = spare{}
	}
	return err
}

// addSpare makes a spare the reserve or the next one, whichever is missing, and returns the one that is left over. The
// reserve is the larger of the two. The caller holds mu.
func (l *log) addSpare(sp spare) (unused spare) {
	if sp.size > l.reserve.size {
		sp, l.reserve = l.reserve, sp
	}
	if sp.file != nil && l.next.file == nil {
		sp, l.next = spare{}, sp
	}
	return sp
}

// openSpare opens the file of a spare. A file without room is removed.
func (l *log) openSpare(name string) (spare, error) {
	f, err := l.files.Open(name)
	if err != nil {
		return spare{}, err
	}
	size, err := f.Size()
	unit := int64(l.opts.layout.page)
	if err != nil || size < unit {
		_ = f.Close() // nothing is in it
		return spare{}, l.files.Remove(name)
	}
	size = size / unit * unit
	_ = f.Truncate(size) // without it a part of a page stays unused
	return spare{name, f, int(size)}, nil
}

// removeSpare removes the file of a spare that has one.
func (l *log) removeSpare(sp spare) {
	if sp.file == nil {
		return
	}
	_ = sp.file.Close() // nothing is in it
	_ = l.files.Remove(sp.name)
}

// reserved reports whether the reserve is large enough for every segment.
func (l *log) reserved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reserve.size >= l.largest()+l.margin()
}

// segmentSize returns the size of the next segment, which grows with the store. The caller holds mu.
func (l *log) segmentSize() int {
	size := l.opts.layout.segmentMin
	for size < l.opts.layout.segmentMax && int64(size)*8 < l.total {
		size *= 2
	}
	return min(size, l.opts.layout.segmentMax)
}

// largest returns the size of the largest segment, which a next one may have. The caller holds mu.
func (l *log) largest() int { return max(l.segmentSize(), l.largestSegment) }
