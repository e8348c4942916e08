package wire

import (
	"math/bits"
	"sync"
)

// buffers are the larger buffers that readers have given back, by size class. Large requests that follow each other
// would otherwise have each of their buffers cleared and collected, at the cost of all who share the processors.
//
// The classes are four to each power of two, so that no more than a fifth of a buffer is not asked for.
var buffers [(maxShift - minShift) * 4]sync.Pool

const (
	minShift = 12 // the ordinary buffer, which has a pool of its own
	maxShift = 24 // larger ones are not kept
)

// class is the smallest class whose buffers have size bytes, and how many these have. It is -1 for sizes that have
// none.
func class(size int) (i, bytes int) {
	if size <= 1<<minShift || size > 1<<maxShift {
		return -1, size
	}
	shift := bits.Len(uint(size-1)) - 1 // 1<<shift < size <= 2<<shift
	quarter := 1 << (shift - 2)
	steps := (size - 1<<shift + quarter - 1) / quarter
	return (shift-minShift)*4 + steps - 1, 1<<shift + steps*quarter
}

// getBuffer returns a buffer of size bytes with whatever was in it. Its capacity may be larger.
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

// putBuffer takes a buffer back of which nobody has a view any more.
func putBuffer(b []byte) {
	if cap(b) == bufferSize {
		pool.Put((*[bufferSize]byte)(b[:bufferSize]))
		return
	}
	if i, bytes := class(cap(b)); i >= 0 && bytes == cap(b) {
		buffers[i].Put(&b)
	}
}
