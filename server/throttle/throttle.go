// Package throttle limits log lines that peers can cause at any rate. Of the lines of one kind ten are logged at once
// and then one per second, with the number of lines skipped before it.
//
// The package must never depend on the server. Code that needs the decision whether its line is logged uses [Throttle];
// code that only has a logger gets one with a [Handler].
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

// Skipped is the attribute with the number of lines of the kind that were skipped since the previous one.
const Skipped = "not_logged_before"

// Throttle limits lines of one kind. It is safe for concurrent use.
type Throttle struct {
	limiter *rate.Limiter
	skipped atomic.Int64
}

// New returns a Throttle.
func New() *Throttle { return &Throttle{limiter: rate.NewLimiter(perSecond, burst)} }

// Take reports whether to log a line, and returns the number of lines skipped since the last logged one.
func (t *Throttle) Take() (skipped int64, ok bool) {
	if !t.limiter.Allow() {
		t.skipped.Add(1)
		return 0, false
	}
	return t.skipped.Swap(0), true
}

// Handler throttles lines above the debug level, separately for each statement of the program that logs.
type Handler struct {
	slog.Handler
	kinds *sync.Map // of *Throttle by program counter
}

// NewHandler returns a Handler that passes its lines to h.
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
