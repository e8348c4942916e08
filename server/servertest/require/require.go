// Package require ends a test when a condition does not hold. It imports nothing of this module, so that the tests of
// every package can use it.
package require

import (
	"testing"
	"time"
)

// Patience is how long a test waits for an event. It is long because a machine may be very busy: only an event that
// never happens fails a test.
const Patience = 2 * time.Minute

// NoError ends the test if err is not nil.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until a condition holds, and ends the test if it does not within [Patience]. It polls, for events of
// files and other processes cannot be awaited. The condition is described as a sentence, such as "the file is removed".
func Eventually(t testing.TB, condition string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, condition)
		}
	}
}

// EventuallyNoError waits until a function returns no error, and ends the test if it does not within [Patience].
func EventuallyNoError(t testing.TB, f func() error) {
	t.Helper()
	err := f()
	for deadline := time.Now().Add(Patience); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", Patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
