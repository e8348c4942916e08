package main

import (
	"fmt"
	"testing"
	"time"
)

// TestPrintable checks that texts of a server cannot control a terminal.
func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb"); got != "a?[31m?b" {
		t.Errorf("%q", got)
	}
	if got := fmt.Sprint(ms(1500 * time.Microsecond)); got != "1.50 ms" {
		t.Error(got)
	}
}
