package log

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// segment is one file of the log.
type segment struct {
	number uint64
	file   file
	size   int
	unit   int
	pages  []atomic.Pointer[page] // by unit of the segment; nil where it is not in memory

	spare   string       // name of the file until its first frame is written; see log.enter
	written atomic.Int64 // offset up to which the file is written,
	synced  atomic.Int64 // and up to which it is durable
	end     int          // offset behind the end frame, 0 in the newest segment. Guarded by log.mu
	content int64        // bytes of all its frames. Guarded by log.mu
	live    int64        // bytes of its frames to which the index points. Guarded by log.mu
	keyed   atomic.Bool  // has a table of keys
}

func newSegment(number uint64, f file, size, unit int) *segment {
	return &segment{number: number, file: f, size: size, unit: unit, pages: make([]atomic.Pointer[page], size/unit)}
}

// copyBytes returns how much room the cleaner needs for the frames to which the index points, with what the ends of
// pages waste. The caller holds log.mu.
func (s *segment) copyBytes() int {
	if s.live == 0 {
		return 0
	}
	return s.end - int(s.content-s.live)
}

// shrink gives what lies behind the end frame back to the disk, which may be full.
func (s *segment) shrink() {
	_ = s.file.Truncate(int64(s.end)) // without it the room stays unused
}

func segmentName(number uint64) string { return fmt.Sprintf("%012d.seg", number) }

func keysName(number uint64) string { return fmt.Sprintf("%012d.keys", number) }

// parseName returns the number in the name of a segment or of a table of keys.
func parseName(name, suffix string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64-offsetBits)
	return number, err == nil && name == fmt.Sprintf("%012d%s", number, suffix)
}

// held returns the page with the frame at offset, which the caller releases, or nil if it is not in memory.
func (s *segment) held(offset int) *page {
	if p := s.pages[offset/s.unit].Load(); p != nil && p.hold() {
		return p
	}
	return nil
}

// show makes the page available to readers, and hide ends that.
func (s *segment) show(p *page) {
	for i := p.offset / s.unit; i < (p.offset+len(p.buf))/s.unit; i++ {
		s.pages[i].Store(p)
	}
}

func (s *segment) hide(p *page) {
	for i := p.offset / s.unit; i < (p.offset+len(p.buf))/s.unit; i++ {
		s.pages[i].Store(nil)
	}
	p.release()
}

// segments are the segments of a log, of which the numbers are consecutive.
type segments []*segment

// find returns the segment with the number, or nil if it was removed.
func (ss segments) find(number uint64) *segment {
	if len(ss) == 0 || number < ss[0].number || number > ss[len(ss)-1].number {
		return nil
	}
	if i := number - ss[0].number; i < uint64(len(ss)) && ss[i].number == number {
		return ss[i]
	}
	// with AcceptLoss, segments may be missing
	i, ok := slices.BinarySearchFunc(ss, number, func(s *segment, n uint64) int { return cmp.Compare(s.number, n) })
	if !ok {
		return nil
	}
	return ss[i]
}

// setSegments changes the segments of the log. The caller holds mu, except while the log is opened.
func (l *log) setSegments(all segments) {
	l.largestSegment = 0
	for _, s := range all {
		l.largestSegment = max(l.largestSegment, s.size)
	}
	l.segments.Store(&all)
}
