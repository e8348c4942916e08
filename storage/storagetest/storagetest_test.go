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

// TestFaultyConforms checks that a Faulty store without failures is a wrapper like any other.
func TestFaultyConforms(t *testing.T) {
	open := func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return storagetest.NewFaulty(memory.New(memory.Options{Now: now})), nil
	}
	storagetest.Run(t, storagetest.Harness{Open: open})
}

// TestFaultyAroundAPlainStore checks that around a store without optional interfaces, a Faulty store does not support
// them either.
func TestFaultyAroundAPlainStore(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{
		NoBatch: true, NoSweep: true, NoUsage: true, NoDrop: true,
		Open: func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
			plain := struct{ storage.Store }{memory.New(memory.Options{Now: now})}
			return storagetest.NewFaulty(plain), nil
		},
	})
}

func TestFaultyFailsOnDemand(t *testing.T) {
	ctx, key, boom := t.Context(), storage.Key{Tenant: "acme"}, errors.New("boom")
	rec := storage.Record{Data: []byte("x"), Expires: time.Now().Add(time.Hour)}
	f := storagetest.NewFaulty(memory.New(memory.Options{}))
	f.Fail(storagetest.OpPut, boom)
	if err := f.Put(ctx, key, rec); !errors.Is(err, boom) {
		t.Errorf("Put = %v, want %v", err, boom)
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
		t.Errorf("Put without acknowledgement = %v, want %v", err, boom)
	}
	if _, err := f.Get(ctx, key); err != nil {
		t.Errorf("Get after a Put without acknowledgement: %v", err)
	}
	f.Before(func(_ context.Context, op storagetest.Op, _ storage.Key) error { return boom })
	if err := f.Delete(ctx, key); !errors.Is(err, boom) {
		t.Errorf("Delete = %v, want %v", err, boom)
	}
	f.Before(nil)
	f.After(nil)
	if _, err := f.Get(ctx, key); err != nil {
		t.Errorf("Get after a Delete that the hook refused: %v", err)
	}
}

// naiveFault is the environment variable that selects the fault of the store in TestNaive.
const naiveFault = "STORAGETEST_FAULT"

// TestNaive passes without a fault. Only TestSuiteFindsFaults runs it with one.
func TestNaive(t *testing.T) {
	open := func(_ testing.TB, _ string, now func() time.Time) (storage.Store, error) {
		return &naive{fault: os.Getenv(naiveFault), now: now, records: make(map[storage.Key]storage.Record)}, nil
	}
	storagetest.Run(t, storagetest.Harness{Open: open})
}

// TestSuiteFindsFaults checks that the suite fails for a store with any of the faults.
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
				t.Errorf("the suite passes a store with fault %q: %v\n%s", fault, err, out)
			}
		})
	}
}
