package log

import (
	"context"
	"fmt"
	"time"
)

// spare is a file with room for a segment, which has no name of a segment yet. There are two: the next segment, and
// the reserve of the cleaner. The reserve is at least as large as every segment, so that the oldest one can be copied
// on a full disk. Where that holds no longer, there is no next spare.
type spare struct {
	name string
	file file
	size int
}

const spareSuffix = ".spare"

// prepareSpares keeps both spares ready.
func (e *engine) prepareSpares(ctx context.Context) {
	l := &e.log
	for ctx.Err() == nil {
		err := l.prepare()
		l.mu.Lock()
		if err != nil && l.noSpare == nil {
			e.opts.Logger.Error("storage: no room for further records; free some of the disk", "err", err)
		}
		if l.next.file != nil {
			err = nil // the reserve is too small for another segment, and tried again
		}
		if err != nil || l.noSpare != nil {
			l.noSpare = err
			l.change()
		}
		again := l.noSpare != nil || l.tooLarge > 0 || l.reserve.size < l.largest()
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
	largest := l.largest()
	size := max(largest, l.wanted)
	reserve := l.reserve
	right := size <= reserve.size && reserve.size <= 2*size
	if !right {
		l.reserve = spare{} // until its size is right
	}
	l.mu.Unlock()
	if !right {
		err := l.resize(&reserve, size, largest)
		l.mu.Lock()
		unused := l.addSpare(reserve)
		shared := l.reserve.size < largest && l.next.file != nil
		if shared { // what the next one takes may be enough
			unused, l.next = l.next, spare{}
		}
		l.change()
		l.mu.Unlock()
		l.removeSpare(unused)
		switch {
		case shared:
			return l.prepare()
		case reserve.size < largest:
			return err
		}
	}
	l.mu.Lock()
	size = min(max(l.segmentSize(), l.wanted), l.reserve.size)
	if l.wanted > size {
		l.tooLarge, l.wanted = l.wanted, 0
		l.change()
	}
	next := l.next
	enough := next.file != nil && next.size >= max(l.wanted, 1)
	if !enough {
		l.next = spare{}
	}
	l.mu.Unlock()
	if enough {
		return nil
	}
	err := l.resize(&next, size, size)
	l.mu.Lock()
	defer l.mu.Unlock()
	if next.file != nil {
		l.next = next
		err = nil
		if l.wanted > next.size {
			l.tooLarge, l.wanted = l.wanted, 0
		}
		l.change()
	}
	return err
}

// resize gives a spare size bytes. Where the disk has no room for more than least bytes, the spare gets as many as
// there are. A spare without a file gets one, and loses it again if it has no room. The error is that of the disk.
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
	for try := size; try > sp.size; {
		if err = sp.file.Allocate(int64(try)); err == nil {
			sp.size = try
			break
		}
		if !isFull(err) {
			break
		}
		if try > least {
			try = least
		} else {
			try = try / 2 / unit * unit
		}
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
	return spare{name, f, int(size / unit * unit)}, nil
}

// removeSpare removes the file of a spare that has one.
func (l *log) removeSpare(sp spare) {
	if sp.file == nil {
		return
	}
	_ = sp.file.Close() // nothing is in it
	_ = l.files.Remove(sp.name)
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
func (l *log) largest() int {
	size := l.segmentSize()
	for _, s := range *l.segments.Load() {
		size = max(size, s.size)
	}
	return size
}
