package log

import (
	"sync"
	"sync/atomic"
)

// page is a part of the log in memory: the frames of one or more units of a segment. A reader holds it, so
// that its memory is not used again meanwhile.
type page struct {
	segment *segment
	offset  int // in the segment
	buf     []byte
	used    int // guarded by log.mu; the rest of buf has room for an end frame
	written int // guarded by log.mu
	holders atomic.Int32
	buffers *buffers
}

// hold keeps the page's memory until release is called. It reports false if the memory is already used again.
func (p *page) hold() bool {
	for {
		n := p.holders.Load()
		if n == 0 {
			return false
		}
		if p.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *page) release() {
	if p.holders.Add(-1) == 0 {
		p.buffers.put(p.buf)
	}
}

// buffers are buffers of one unit that wait for another page.
type buffers struct {
	unit int
	mu   sync.Mutex
	free [][]byte
}

func (b *buffers) get(size int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); size == b.unit && n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return make([]byte, size)
}

func (b *buffers) put(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(buf) == b.unit && len(b.free) < 2 {
		b.free = append(b.free, buf)
	}
}
