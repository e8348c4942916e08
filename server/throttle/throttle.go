// Package throttle keeps the log readable whatever peers do. A peer that can be refused, or can hang up, can cause a
// line of the log as often as it likes. Of the lines of one kind ten are logged at once and then one per second, with
// the number of lines left out before it.
//
// The package knows nothing of servers. Code that must know whether its line is logged uses [Throttle]; code that only
// has a logger gets one with a [Handler].
package throttle

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	perSecond = 1
	burst     = 10
)

// Skipped is the attribute that says how many lines of the kind were left out since the one before.
const Skipped = "not_logged_before"

// Throttle is for lines of one kind. All may use it at once.
type Throttle struct {
	limiter *rate.Limiter
	skipped atomic.Int64
}

// New makes a Throttle.
func New() *Throttle { return &Throttle{limiter: rate.NewLimiter(perSecond, burst)} }

// Take reports whether a line is to be logged, and how many were not since the last one that was.
func (t *Throttle) Take() (skipped int64, ok bool) {
	if !t.limiter.Allow() {
		t.skipped.Add(1)
		return 0, false
	}
	return t.skipped.Swap(0), true
}

// Handler throttles lines above the debug level by the place in the program that logs them.
type Handler struct {
	slog.Handler
	kinds *sync.Map // of *Throttle by program counter
}

// NewHandler returns a Handler that passes lines on to h.
func NewHandler(h slog.Handler) *Handler { return &Handler{h, new(sync.Map)} }

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level <= slog.LevelDebug {
		return h.Handler.Handle(ctx, r)
	}
	kind, known := h.kinds.Load(r.PC)
	if !known {
		kind, _ = h.kinds.LoadOrStore(r.PC, New())
	}
	skipped, ok := kind.(*Throttle).Take()
	if !ok {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int64(Skipped, skipped))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.Handler.WithAttrs(attrs), h.kinds}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.Handler.WithGroup(name), h.kinds}
}
