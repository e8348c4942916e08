package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

func TestSweep(t *testing.T) {
	testManager(t, func(f *fixture) {
		f.settings(func(s *Settings) { s.AbsoluteLifetime = time.Hour })
		for range 25 {
			f.saved("k", "v")
		}
		destroyed := f.saved("k", "v")
		f.ok(f.open(destroyed, ReadWrite).Destroy(ctx))
		sctx, stop := context.WithCancel(ctx)
		failed := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.m.Sweep(sctx, SweepOptions{Interval: time.Minute, Batch: 10, Done: func(_ int, err error) {
				if err != nil {
					failed++
				}
			}})
		}()
		sleep(23 * time.Minute)
		f.equal("swept", f.count(Expired), 0)
		f.store.Fail(storagetest.OpSweep, errors.New("broken"))
		sleep(2 * time.Minute)
		f.equal("failed rounds", failed, 2)
		f.equal("swept", f.count(Expired), 0)
		f.store.Fail(storagetest.OpSweep, nil)
		live := f.saved("k", "v")
		sleep(time.Minute)
		f.equal("swept", f.count(Expired), 25) // in several rounds without a wait between them
		f.wantSaved(live, "k", "v")
		f.wantRefused(destroyed, ErrNotFound)
		sleep(time.Hour)
		f.equal("swept", f.count(Expired), 26) // markers are not reported
		stop()
		synctest.Wait()
		<-done
	})
}

func TestStoreThatSweepsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(storeOnly{memory.New(memory.Options{})}, Options{})
		m.Sweep(ctx, SweepOptions{Interval: time.Minute, Batch: 10}) // returns
	})
}

func TestEventsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for k := Created; k <= Damaged; k++ {
		name := k.String()
		if name == "" || names[name] {
			t.Errorf("event %d: empty or duplicate name %q", k, name)
		}
		names[name] = true
	}
}
