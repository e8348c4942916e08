//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package log

func allocateSlots(n int) ([]slot, error) { return make([]slot, n), nil }

func releaseSlots([]slot) {}
