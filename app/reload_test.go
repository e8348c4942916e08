package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/server/servertest"
)

// TestReloadsRetry checks that a failed reload is repeated after growing intervals until it succeeds, and logged again
// meanwhile.
func TestReloadsRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			log    servertest.Buffer
			mu     sync.Mutex // guards what follows
			last   error
			tries  []time.Duration
			broken = errors.New("it is broken")
		)
		tried := func() []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(tries)
		}
		r := newReloads(slog.New(slog.NewTextHandler(&log, nil)), func(_ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			last = err
		})
		began := time.Now()
		r.add("thing", func(context.Context) {
			mu.Lock()
			tries = append(tries, time.Since(began))
			err := broken
			mu.Unlock()
			r.note("thing", err)
		})
		r.add("other", func(context.Context) { t.Error("a thing that has not failed is read") })
		r.note("thing", nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.run(ctx); close(done) }()

		r.note("thing", errors.New("it is broken"))
		time.Sleep(2 * time.Minute)
		want := []time.Duration{1, 3, 7, 15, 31, 61, 91}
		for i := range want {
			want[i] *= time.Second
		}
		if got := tried(); !slices.Equal(got, want) {
			t.Errorf("tried after %v, want %v", got, want)
		}
		states := r.states()
		if len(states) != 1 || states[0].What != "thing" || states[0].OK || states[0].Error != "it is broken" {
			t.Errorf("the states are %+v", states)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("logged %d times in two minutes:\n%s", n, log.String())
		}
		time.Sleep(time.Hour)
		if n := strings.Count(log.String(), "level=ERROR"); n < 6 || n > 7 {
			t.Errorf("logged %d times in an hour:\n%s", n, log.String())
		}
		mu.Lock()
		broken = nil
		mu.Unlock()
		time.Sleep(retryMost)
		if states := r.states(); !states[0].OK || states[0].Error != "" {
			t.Errorf("after it works the states are %+v", states)
		}
		if !strings.Contains(log.String(), `msg="reloading works again" what=thing`) {
			t.Errorf("the end of the failure is not logged:\n%s", log.String())
		}
		before := len(tried())
		time.Sleep(time.Hour)
		if len(tried()) != before {
			t.Error("what works is tried again")
		}
		stop()
		<-done
		if last != nil {
			t.Errorf("counted last: %v", last)
		}
	})
}

// TestReloadBrokenOff checks that a reload that the shutdown cancels is neither a failure nor a success.
func TestReloadBrokenOff(t *testing.T) {
	var log servertest.Buffer
	counted := 0
	r := newReloads(slog.New(slog.NewTextHandler(&log, nil)), func(string, error) { counted++ })
	broken := errors.New("it is broken")
	r.note("thing", broken)
	before := log.String()
	r.note("thing", fmt.Errorf("the default: %w", context.Canceled))
	r.note("other", context.Canceled)
	if log.String() != before || counted != 1 {
		t.Errorf("counted %d looks (want 1), logged:\n%s", counted, log.String())
	}
	if states := r.states(); len(states) != 1 || states[0].Error != broken.Error() {
		t.Errorf("the states are %+v, want the failure of before alone", states)
	}
}
