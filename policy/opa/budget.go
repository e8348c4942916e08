package opa

import (
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

// budget ends an evaluation that has used up its limit. What counts is the time for which the thread of the
// evaluation had a processor: an evaluation in a stopped process, or one whose processor others use, spends nothing.
// So how busy the machine is decides nothing.
//
// The evaluation polls Cancelled on its own thread, to which it is locked. The clock of the thread is read only after
// limit has passed on the ordinary clock, which is never less.
type budget struct {
	limit time.Duration
	spent func() time.Duration // by this thread
	began time.Duration        // spent, when the evaluation began
	state atomic.Int32         // one of those below
	timer *time.Timer
}

const (
	running  int32 = iota
	due            // limit may be used up: the next poll reads the clock of the thread
	exceeded       // the evaluation is over
)

var _ topdown.Cancel = (*budget)(nil)

// newBudget begins to count. The caller has locked its goroutine to its thread, and calls stop.
func newBudget(limit time.Duration, spent func() time.Duration) *budget {
	b := &budget{limit: limit, spent: spent, began: spent()}
	b.timer = time.AfterFunc(limit, func() { b.state.CompareAndSwap(running, due) })
	return b
}

func (b *budget) stop() { b.timer.Stop() }

// Cancel ends the evaluation whatever it has used.
func (b *budget) Cancel() { b.state.Store(exceeded) }

// Cancelled reports whether the evaluation is over.
func (b *budget) Cancelled() bool {
	switch b.state.Load() {
	case running:
		return false
	case exceeded:
		return true
	}
	left := b.limit - (b.spent() - b.began)
	if left <= 0 {
		b.Cancel()
		return true
	}
	if !b.state.CompareAndSwap(due, running) {
		return true
	}
	b.timer.Reset(left)
	return false
}

var processStart = time.Now()

func sinceStart() time.Duration { return time.Since(processStart) }
