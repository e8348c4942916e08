package wire

import (
	"math/bits"
	"sync"
)

// buffers holds the larger buffers that readers have returned, by size class. Without it, a series of large requests
// would allocate, clear and collect a buffer for each of them, at the expense of all other connections.
//
// Each power of two has four classes, so at most a fifth of a buffer is unused.
var buffers [(maxShift - minShift) * 4]sync.Pool

const (
	minShift = 12 // a buffer of bufferSize, which has a pool of its own
	maxShift = 24 // larger buffers are not pooled
)

// class returns the smallest class whose buffers have at least size bytes, and the size of these buffers. The class
// is -1 for a size that is not pooled.
func class(size int) (i, bytes int) {
	if size <= 1<<minShift || size > 1<<maxShift {
		return -1, size
	}
	shift := bits.Len(uint(size-1)) - 1 // 1<<shift < size <= 2<<shift
	quarter := 1 << (shift - 2)
	steps := (size - 1<<shift + quarter - 1) / quarter
	return (shift-minShift)*4 + steps - 1, 1<<shift + steps*quarter
}

// getBuffer returns a buffer of size bytes, which may contain old data. Its capacity may be larger.
func getBuffer(size int) []byte {
	i, bytes := class(size)
	if i < 0 {
		return make([]byte, size)
	}
	if kept, ok := buffers[i].Get().(*[]byte); ok {
		return (*kept)[:size]
	}
	return make([]byte, size, bytes)
}

// putBuffer returns a buffer to its pool. The caller must hold no view of it any more.
func putBuffer(b []byte) {
	if cap(b) == bufferSize {
		pool.Put((*[bufferSize]byte)(b[:bufferSize]))
		return
	}
	if i, bytes := class(cap(b)); i >= 0 && bytes == cap(b) {
		buffers[i].Put(&b)
	}
}
