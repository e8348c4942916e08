package audit

import (
	"bufio"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestStdout checks that a write to a closed pipe returns an error and does not end the process.
func TestStdout(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	original := os.Stdout
	os.Stdout = w
	l, _ := openFile(t, Options{Output: "stdout"})
	os.Stdout = original
	_ = w.Close() // the log has a duplicate
	record(t, l, ServerStarted)
	in := bufio.NewReader(r)
	text, err := in.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if got := readLines(t, text); len(got) != 1 || got[0].Event != "server.started" {
		t.Errorf("%v", got)
	}
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	_ = r.Close()
	if err := l.Record(Event{Code: SessionCreated}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Record: %v", err)
	}
}
