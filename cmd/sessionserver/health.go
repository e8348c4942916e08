package main

import (
	"errors"
	"sync"
	"sync/atomic"
)

// health is whether clients should come, and if not, why. It may be asked from the first moment on.
type health struct {
	serving  atomic.Bool // everything is open and the listeners accept
	draining atomic.Bool // for good

	mu      sync.Mutex
	broken  error        // why the process cannot go on; guarded by mu
	storage func() error // why the storage fails now; nil while it is not open; guarded by mu
}

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// breaks says that the process cannot go on. The first reason counts.
func (h *health) breaks(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken == nil {
		h.broken = err
	}
}

// watch says whom to ask about the storage.
func (h *health) watch(storage func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.storage = storage
}

// stored is why the storage fails, or nil.
func (h *health) stored() error {
	h.mu.Lock()
	storage := h.storage
	h.mu.Unlock()
	if storage == nil {
		return nil
	}
	return storage()
}

// failure is why the process cannot go on, or nil.
func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

// ready answers nil if clients should come. What it says is for everybody, so that the truth about a failure is for the log and /status alone.
func (h *health) ready() error {
	switch {
	case h.failure() != nil:
		return errors.New("failed: the log tells why")
	case h.draining.Load():
		return errDraining
	case !h.serving.Load():
		return errStarting
	case h.stored() != nil:
		return errors.New("the storage is failing: the log tells why")
	}
	return nil
}
