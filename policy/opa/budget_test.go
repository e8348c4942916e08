package opa

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"

	"sessionserver/policy"
)

// TestBudget checks that only the processor time of the thread counts, whatever time has passed, and that a cancelled
// evaluation ends at once.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		used := time.Hour // processor time of the thread before the evaluation
		b := newBudget(100*time.Millisecond, func() time.Duration { return used })
		defer b.stop()
		after := func(passed, more time.Duration, want bool) {
			t.Helper()
			time.Sleep(passed)
			synctest.Wait()
			used += more
			if got := b.Cancelled(); got != want {
				t.Fatalf("after another %v with %v of processor time: Cancelled is %v, want %v", passed, more, got,
					want)
			}
		}
		after(time.Hour, 40*time.Millisecond, false) // the process was stopped
		after(time.Hour, 59*time.Millisecond, false)
		after(time.Microsecond, 0, false)
		after(time.Hour, time.Millisecond, true)
		after(0, 0, true)

		b = newBudget(100*time.Millisecond, func() time.Duration { return used })
		defer b.stop()
		after(0, 0, false)
		b.Cancel()
		after(0, 0, true)
	})
}

// stall delays an evaluation at its first step for longer than its limit.
type stall struct{ left time.Duration }

func (*stall) Enabled() bool                { return true }
func (*stall) Config() topdown.TraceConfig  { return topdown.TraceConfig{} }
func (s *stall) TraceEvent(_ topdown.Event) { time.Sleep(s.left); s.left = 0 }

// TestStall checks that an evaluation that is stopped for longer than its limit reaches its decision, and that one
// that runs for longer does not.
func TestStall(t *testing.T) {
	const limit = 30 * time.Millisecond
	decide := func(text string) (result, error) {
		e := mustStart(t, Options{}, "a.rego", rules(text))
		b := e.current.Load().operator
		return b.evaluate(t.Context(), &b.allow, b.data, inputTerm(&policy.Input{}), limit, &stall{left: 2 * limit})
	}
	if r, err := decide("allow if count([1 | some _ in numbers.range(1, 100)]) == 100"); err != nil || !r.allow {
		t.Errorf("got %+v %v", r, err)
	}
	_, err := decide("allow if count([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a * " +
		"b == 7.5]) == 0")
	if !errors.Is(err, policy.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}
