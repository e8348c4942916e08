package opa

import (
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

// budget ends an evaluation that has exceeded its limit. It counts the time for which the thread of the evaluation
// had a processor. An evaluation in a stopped process, or one whose processor is used by others, consumes no budget.
// So the load of the machine does not affect decisions.
//
// The evaluation polls Cancelled on its own thread, to which it is locked. The clock of the thread is read only after
// the limit has passed on the ordinary clock, which is never behind.
type budget struct {
	limit time.Duration
	used  func() time.Duration // processor time of this thread
	start time.Duration        // used at the start of the evaluation
	state atomic.Int32         // a constant below
	timer *time.Timer
}

const (
	running  int32 = iota
	due            // the limit may be reached: the next poll reads the clock of the thread
	exceeded       // the evaluation is over
)

var _ topdown.Cancel = (*budget)(nil)

// newBudget starts to count. The caller has locked its goroutine to its thread, and must call stop.
func newBudget(limit time.Duration, used func() time.Duration) *budget {
	b := &budget{limit: limit, used: used, start: used()}
	b.timer = time.AfterFunc(limit, func() { b.state.CompareAndSwap(running, due) })
	return b
}

func (b *budget) stop() { b.timer.Stop() }

// Cancel ends the evaluation, whatever time it has used.
func (b *budget) Cancel() { b.state.Store(exceeded) }

// Cancelled reports whether the evaluation is over.
func (b *budget) Cancelled() bool {
	switch b.state.Load() {
	case running:
		return false
	case exceeded:
		return true
	}
	left := b.limit - (b.used() - b.start)
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
