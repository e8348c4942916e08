package app

import (
	"errors"
	"sync"
	"sync/atomic"
)

// health is the state that decides whether the server is ready for clients. All methods may be called from the start.
type health struct {
	serving  atomic.Bool // everything is open and the listeners accept
	draining atomic.Bool // from then on

	mu      sync.Mutex
	broken  error        // reason to end the process; guarded by mu
	storage func() error // returns the failure of the storage; nil until it is open; guarded by mu
	audit   func() error // the same of a required audit log
}

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// breaks records the reason to end the process. The first one counts.
func (h *health) breaks(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken == nil {
		h.broken = err
	}
}

// watch sets the functions that return the failures of storage and audit log.
func (h *health) watch(storage, audit func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.storage, h.audit = storage, audit
}

// parts returns the failures of storage and audit log, or nil.
func (h *health) parts() (stored, audited error) {
	h.mu.Lock()
	storage, audit := h.storage, h.audit
	h.mu.Unlock()
	if storage == nil {
		return nil, nil
	}
	return storage(), audit()
}

// failure returns the reason to end the process, or nil.
func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

// ready returns nil if the server is ready for clients. The error is public: details of a failure are only in the log
// and /status.
func (h *health) ready() error {
	stored, audited := h.parts()
	switch {
	case h.failure() != nil:
		return errors.New("failed: see the log")
	case h.draining.Load():
		return errDraining
	case !h.serving.Load():
		return errStarting
	case stored != nil:
		return errors.New("the storage is failing: see the log")
	case audited != nil:
		return errors.New("the audit log cannot be written, and nothing is done without it: see the log")
	}
	return nil
}
