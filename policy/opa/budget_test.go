package opa

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"

	"sessionserver/policy"
)

// TestBudget: what counts is what the thread has used, however much time has passed; a cancelled evaluation is over
// at once.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spent := time.Hour // of the thread, before
		b := newBudget(100*time.Millisecond, func() time.Duration { return spent })
		defer b.stop()
		after := func(passed, used time.Duration, want bool) {
			t.Helper()
			time.Sleep(passed)
			synctest.Wait()
			spent += used
			if got := b.Cancelled(); got != want {
				t.Fatalf("after %v more, of which it used %v: over is %v, want %v", passed, used, got, want)
			}
		}
		after(time.Hour, 40*time.Millisecond, false) // it was stopped
		after(time.Hour, 59*time.Millisecond, false)
		after(time.Microsecond, 0, false)
		after(time.Hour, time.Millisecond, true)
		after(0, 0, true)

		b = newBudget(100*time.Millisecond, func() time.Duration { return spent })
		defer b.stop()
		after(0, 0, false)
		b.Cancel()
		after(0, 0, true)
	})
}

// stall holds up an evaluation at its first step for longer than it may run.
type stall struct{ left time.Duration }

func (*stall) Enabled() bool                { return true }
func (*stall) Config() topdown.TraceConfig  { return topdown.TraceConfig{} }
func (s *stall) TraceEvent(_ topdown.Event) { time.Sleep(s.left); s.left = 0 }

// TestStall: an evaluation that stands still for longer than its limit comes to its decision, and one that runs for
// longer does not.
func TestStall(t *testing.T) {
	const limit = 30 * time.Millisecond
	decide := func(text string) (answer, error) {
		e := mustStart(t, Options{}, "a.rego", rules(text))
		b := e.now.Load().operator
		return b.evaluate(t.Context(), &b.allow, b.data, inputTerm(&policy.Input{}), limit, &stall{left: 2 * limit})
	}
	if a, err := decide("allow if count([1 | some _ in numbers.range(1, 100)]) == 100"); err != nil || !a.allow {
		t.Errorf("got %+v %v", a, err)
	}
	_, err := decide("allow if count([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a * b == 7.5]) == 0")
	if !errors.Is(err, policy.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}
