package storagetest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

// A Faulty store without faults is a wrapper like any other.
func TestFaultyConforms(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return storagetest.NewFaulty(memory.New(memory.Options{Now: now})), nil
	}})
}

// A wrapper around a store without powers has none either.
func TestFaultyHasNoPowersOfItsOwn(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{
		NoBatch: true, NoSweep: true, NoUsage: true, NoDrop: true,
		Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
			bare := struct{ storage.Store }{memory.New(memory.Options{Now: now})}
			return storagetest.NewFaulty(bare), nil
		},
	})
}

func TestFaultyFailsOnDemand(t *testing.T) {
	ctx, key, boom := t.Context(), storage.Key{Tenant: "acme"}, errors.New("boom")
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	f := storagetest.NewFaulty(memory.New(memory.Options{}))
	f.Fail(storagetest.OpPut, boom)
	if err := f.Put(ctx, key, rec); !errors.Is(err, boom) {
		t.Errorf("Put = %v, want the error asked for", err)
	}
	if _, err := f.Get(ctx, key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get after a failed Put = %v, want storage.ErrNotFound", err)
	}
	f.Fail(storagetest.OpPut, nil)
	f.After(func(_ context.Context, op storagetest.Op, k storage.Key) error {
		if op == storagetest.OpPut && k == key {
			return boom
		}
		return nil
	})
	if err := f.Put(ctx, key, rec); !errors.Is(err, boom) {
		t.Errorf("Put whose answer is lost = %v, want the error asked for", err)
	}
	if _, err := f.Get(ctx, key); err != nil {
		t.Errorf("Get after a Put whose answer was lost: %v", err)
	}
	f.Before(func(_ context.Context, op storagetest.Op, _ storage.Key) error { return boom })
	if err := f.Delete(ctx, key); !errors.Is(err, boom) {
		t.Errorf("Delete = %v, want the hook's error", err)
	}
	f.Before(nil)
	f.After(nil)
	if _, err := f.Get(ctx, key); err != nil {
		t.Errorf("Get: a Delete that failed before it began was done: %v", err)
	}
}

// naiveFault is how the suite is run in a process of its own, over a store with a fault.
const naiveFault = "STORAGETEST_FAULT"

// TestNaive passes without a fault. With one it is run by TestSuiteFindsFaults only.
func TestNaive(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return &naive{fault: os.Getenv(naiveFault), now: now, records: make(map[storage.Key]storage.Record)}, nil
	}})
}

// TestSuiteFindsFaults: a suite that lets everything pass is worth nothing.
func TestSuiteFindsFaults(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(exe, "-test.run=^TestNaive$", "-test.failfast")
			cmd.Env = append(os.Environ(), naiveFault+"="+fault)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("the suite passes a store whose fault is %q: %v\n%s", fault, err, out)
			}
		})
	}
}
