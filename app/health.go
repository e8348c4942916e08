package app

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
	audit   func() error // the same for an audit log without which nothing is done
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

// watch says whom to ask about the storage and the audit log.
func (h *health) watch(storage, audit func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.storage, h.audit = storage, audit
}

// parts tells why the storage and the audit log fail, or nil.
func (h *health) parts() (stored, audited error) {
	h.mu.Lock()
	storage, audit := h.storage, h.audit
	h.mu.Unlock()
	if storage == nil {
		return nil, nil
	}
	return storage(), audit()
}

// failure is why the process cannot go on, or nil.
func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

// ready answers nil if clients should come. What it says is for everybody, so that the truth about a failure is for the log and /status alone.
func (h *health) ready() error {
	stored, audited := h.parts()
	switch {
	case h.failure() != nil:
		return errors.New("failed: the log tells why")
	case h.draining.Load():
		return errDraining
	case !h.serving.Load():
		return errStarting
	case stored != nil:
		return errors.New("the storage is failing: the log tells why")
	case audited != nil:
		return errors.New("the audit log cannot be written, and nothing is done without it: the log tells why")
	}
	return nil
}
