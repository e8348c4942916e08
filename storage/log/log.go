package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrFailed reports that a write to the folder has failed. The store refuses writes until it has opened the
	// folder again, which it tries every few seconds.
	ErrFailed = errors.New("log: the store has failed and will be opened again")

	// ErrFull reports that the disk has no room for further records, or that the index has reached its limit.
	ErrFull = errors.New("log: no room for further records")

	errIndexFull = fmt.Errorf("%w: the index has reached its limit", ErrFull)
)

// log is the end of the log: where frames are appended, and on their way to the disk.
//
// Frames are copied into the newest page under mu. They form groups, and a group is written and acknowledged as a
// whole: see commit.go. The mutex comes after that of a shard.
type log struct {
	opts  *Options
	files files
	seal  seal

	mu        sync.Mutex
	segments  atomic.Pointer[segments] // written under mu
	page      *page                    // the newest; nil before the first frame
	tail      []*page                  // in memory, oldest first
	tailBytes int
	groups    []*group // not yet durable, oldest first
	unwritten int      // bytes of their frames
	next      spare    // file of the next segment; zero while there is none
	reserve   spare    // file for the cleaner, at least as large as any segment where the disk has room
	wanted    int      // least size of the next segment, for a record that needs it
	tooLarge  int      // size from which on the disk has no room for a segment; 0 for none
	noSpare   error    // why a spare is missing or too small: the disk is full
	cleaning  bool     // the oldest segment is being cleaned
	failed    error
	changed   chan struct{} // closed when one of the three above has changed
	broken    chan struct{} // closed when writing has failed
	live      int64         // bytes of the frames to which the index points
	total     int64         // bytes of all segments

	largestSegment int // bytes
	expiries       expiries
	swept          int64 // expiries up to this one, in Unix milliseconds, are swept
	marked         int64 // value of swept in the newest mark
	known          int64 // offset up to which the newest frame states its segment to be durable
	content        int64 // offset behind the newest frame that is not a mark

	leading   atomic.Bool   // a leader writes a group, or is about to
	committed atomic.Uint64 // all frames before this position are
	syncing   sync.Mutex    // held while a segment is synced
	writing   sync.Mutex    // held while a group is written
	entered   *segment      // the segment that is written to; guarded by writing
	buffers   buffers
	wakeSpare chan struct{} // to prepare a spare
	wakeSeal  chan struct{} // to seal and clean segments
	retries   time.Duration // delay between two attempts to write to a full disk
}

// class is the purpose of a frame. It determines which room a full disk has for it.
type class int

const (
	ordinary class = iota // a record
	urgent                // a frame that makes others superfluous, or a touch
	cleaning              // a copy of a record, after which a segment can be reused
)

// room is a place for the frames of one append.
type room struct {
	page  *page
	buf   []byte
	pos   position
	group *group
}

// errCrowded and waiting are why an append has to wait; see await.
var errCrowded = errors.New("too much of the log is not written yet")

type waiting struct{ changed <-chan struct{} }

func (waiting) Error() string { return "no segment is ready" }

// claim returns room for n bytes. The caller holds mu, fills the room before it unlocks it, or counts itself in the
// group's copies, and then commits the group in any case.
func (l *log) claim(n int, c class) (room, error) {
	switch {
	case l.failed != nil:
		return room{}, l.failed
	case l.unwritten > 0 && l.unwritten+n > l.opts.MemoryBytes/2:
		return room{}, errCrowded
	}
	if err := l.turn(n, c); err != nil {
		return room{}, err
	}
	p := l.page
	g := l.open()
	r := room{page: p, buf: p.buf[p.used : p.used+n : p.used+n], pos: at(p.segment.number, p.offset+p.used), group: g}
	l.extend(g, p, n)
	return r, nil
}

// put encodes a frame into its room, with what is known to be durable. The caller holds mu.
func (l *log) put(r *room, f *frame, tenant string) {
	f.synced = int(r.page.segment.synced.Load())
	l.known = int64(f.synced)
	if f.kind != kindMark {
		l.content = int64(r.pos.offset() + len(r.buf))
	}
	r.page.segment.content += int64(len(r.buf))
	l.seal.put(r.buf, r.pos, f, tenant)
}

// extend counts the next n bytes of the page as a part of the group.
func (l *log) extend(g *group, p *page, n int) {
	if last := len(g.spans) - 1; last >= 0 && g.spans[last].page == p {
		g.spans[last].to += n
	} else {
		g.spans = append(g.spans, span{p, p.used, p.used + n})
	}
	p.used += n
	g.bytes += n
	l.unwritten += n
	g.to = at(p.segment.number, p.offset+p.used)
}

// turn makes the newest page one with room for n bytes, in the next segment if necessary.
func (l *log) turn(n int, c class) error {
	unit := l.opts.layout.page
	p := l.page
	size := (n + frameHead + unit - 1) / unit * unit
	if p != nil && p.used+n+frameHead <= len(p.buf) {
		return l.spend(p.segment.size-p.offset-p.used-n, c)
	}
	if p != nil && p.offset+len(p.buf)+size <= p.segment.size {
		next := p.offset + len(p.buf)
		if err := l.spend(p.segment.size-next-n, c); err != nil {
			return err
		}
		l.endPage(p)
		l.newPage(p.segment, next, size)
		return nil
	}
	s, err := l.takeSpare(size, c)
	if err != nil {
		return err
	}
	if p != nil {
		l.endSegment(p)
	}
	l.newPage(s, 0, size)
	return nil
}

// spend decides whether a frame may be appended that leaves this much of the newest segment. The cleaner has a claim to
// as much room as it needs for any segment. On a full disk the last part beyond that is for urgent frames.
func (l *log) spend(left int, c class) error {
	return l.claimed(left+l.spareBytes(), c)
}

// claimed decides whether a frame may be appended that leaves this much room in all.
func (l *log) claimed(room int, c class) error {
	urgent := 0
	if c == ordinary {
		urgent = l.urgentBytes()
	}
	switch {
	case c == cleaning || room >= l.largestSegment+urgent || room >= l.mostCopyBytes()+urgent:
		return nil
	case l.noSpare == nil || l.cleaning && c != ordinary:
		return waiting{l.changed}
	}
	return fmt.Errorf("%w: %w", ErrFull, l.noSpare)
}

// mostCopyBytes returns how much room the cleaner needs for any segment. The newest one will need it as well.
func (l *log) mostCopyBytes() (n int) {
	all := *l.segments.Load()
	for _, s := range all[:len(all)-1] {
		n = max(n, s.copyBytes())
	}
	if p := l.page; p != nil && l.noSpare != nil {
		n = max(n, p.offset+p.used-int(p.segment.content-p.segment.live))
	}
	return n
}

// spareBytes returns the room in the spares. The margin of the reserve does not count.
func (l *log) spareBytes() int { return l.next.size + max(l.reserve.size-l.margin(), 0) }

// urgentBytes returns how much of the last room on a full disk is for urgent frames.
func (l *log) urgentBytes() int { return min(4<<20, l.newest().size/4) }

// takeSpare makes a spare the newest segment. The reserve is for the cleaner alone.
func (l *log) takeSpare(size int, c class) (*segment, error) {
	if size > segmentCap {
		return nil, fmt.Errorf("%w: a segment cannot have %d bytes", ErrFull, size)
	}
	var sp spare
	switch {
	case l.next.size >= size:
		if l.noSpare != nil && l.newest() != nil {
			if err := l.claimed(l.spareBytes()-size, c); err != nil {
				return nil, err
			}
		}
		sp, l.next, l.wanted = l.next, spare{}, 0
	case c == cleaning && l.reserve.size >= size:
		sp, l.reserve = l.reserve, spare{}
		if rest := sp.size - l.margin(); rest >= max(size, (*l.segments.Load())[0].copyBytes()) {
			sp.size = rest
			_ = sp.file.Truncate(int64(rest)) // the margin becomes a part of the next reserve
		}
	case l.tooLarge > 0 && size >= l.tooLarge:
		return nil, fmt.Errorf("%w: %d bytes are too many for the disk", ErrFull, size)
	case l.noSpare != nil && l.next.file == nil:
		return nil, fmt.Errorf("%w: %w", ErrFull, l.noSpare)
	default:
		l.wanted = max(l.wanted, size)
		signal(l.wakeSpare)
		return nil, waiting{l.changed}
	}
	number := l.opts.layout.first
	all := *l.segments.Load()
	if n := len(all); n > 0 {
		number = all[n-1].number + 1
	}
	s := newSegment(number, sp.file, sp.size, l.opts.layout.page)
	s.spare = sp.name
	l.total += int64(s.size)
	l.setSegments(append(all[:len(all):len(all)], s))
	signal(l.wakeSpare)
	signal(l.wakeSeal)
	return s, nil
}

// endPage ends the frames of a page before its end.
func (l *log) endPage(p *page) {
	l.seal.putPageEnd(p.buf[p.used:], at(p.segment.number, p.offset+p.used), p.offset+len(p.buf))
	l.extend(l.open(), p, pageEnd)
}

func (l *log) endSegment(p *page) {
	f := frame{kind: kindEnd, synced: int(p.segment.synced.Load())}
	l.seal.put(p.buf[p.used:p.used+frameHead], at(p.segment.number, p.offset+p.used), &f, "")
	l.extend(l.open(), p, frameHead)
	p.segment.end = p.offset + p.used
}

func (l *log) newPage(s *segment, offset, size int) {
	p := &page{segment: s, offset: offset, buf: l.buffers.get(size), buffers: &l.buffers}
	p.holders.Store(1)
	if offset == 0 {
		l.known, l.content = 0, 0
	}
	l.page = p
	s.show(p)
	l.tail = append(l.tail, p)
	l.tailBytes += size
	l.trim()
}

// trim forgets the oldest pages, which are written, where more than MemoryBytes of the log are in memory.
func (l *log) trim() {
	n := 0
	for _, p := range l.tail[:len(l.tail)-1] {
		if l.tailBytes <= l.opts.MemoryBytes || p.written < p.used {
			break
		}
		l.tailBytes -= len(p.buf)
		p.segment.hide(p)
		n++
	}
	if n > 0 {
		l.tail = append(l.tail[:0], l.tail[n:]...)
	}
}

// await waits until an append that was refused with this error may succeed. It returns errors for which there is
// nothing to wait for.
func (l *log) await(ctx context.Context, reason error) error {
	if reason == errCrowded {
		l.mu.Lock()
		var g *group
		if len(l.groups) > 0 {
			g = l.groups[0]
		}
		l.mu.Unlock()
		if g == nil {
			return nil
		}
		return l.wait(ctx, g)
	}
	if w, ok := reason.(waiting); ok {
		select {
		case <-w.changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return reason
}

// change wakes those who wait in await. The caller holds mu.
func (l *log) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// fail refuses all further writes. Frames that are not durable stay in the index, and no reader is shown them.
func (l *log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		l.change()
		close(l.broken)
	}
	for _, g := range l.groups {
		g.finish(l.failed)
	}
	l.groups = nil
}

// failure returns why writing has failed, or nil.
func (l *log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// signal wakes a goroutine that waits for the channel, now or when it waits again.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// writeAll writes the whole of b. A full disk is given a second to have room again, for the same bytes.
func (l *log) writeAll(f file, b []byte, offset int) error {
	for try := 0; ; try++ {
		n, err := f.WriteAt(b, int64(offset))
		if err == nil {
			return nil
		}
		b, offset = b[n:], offset+n
		if !isFull(err) || try == 10 {
			return err
		}
		time.Sleep(l.retries)
	}
}

// account adjusts the sums for a slot that is added (1) or removed (-1). The caller holds mu.
func (l *log) account(t *tenant, s *slot, sign int64) {
	n := sign * int64(frameLength(len(t.name), int(s.size)))
	l.live += n
	if of := l.segments.Load().find(s.pos.segment()); of != nil {
		of.live += n
	}
	l.expiries.add(s.expires(), sign)
	if s.isMarker() && !t.absent(s) {
		t.markers.add(s.expires(), sign, t.usage.Records)
	}
	if s.counts() && !t.absent(s) {
		t.usage.Records += sign
		t.usage.Bytes += sign * int64(s.size)
	}
}
