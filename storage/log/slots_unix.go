//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package log

import (
	"fmt"
	"syscall"
	"unsafe"
)

// allocateSlots returns n free slots outside of the Go heap: the garbage collector neither visits them nor keeps as
// much room again for its work.
func allocateSlots(n int) ([]slot, error) {
	b, err := syscall.Mmap(-1, 0, n*slotBytes, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("memory for the index: %w", err)
	}
	return unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(b))), n), nil
}

func releaseSlots(slots []slot) {
	if len(slots) > 0 {
		b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(slots))), len(slots)*slotBytes)
		_ = syscall.Munmap(b) // cannot fail for what Mmap returned
	}
}

var _ [slotBytes]struct{} = [unsafe.Sizeof(slot{})]struct{}{}
