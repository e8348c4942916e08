package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sessionserver/server/servertest/require"
)

// TestFullDisk checks that a full file system leaves no partial line, and that the log continues by itself when there
// is space again.
func TestFullDisk(t *testing.T) {
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, 0) })
	ballast := filepath.Join(folder, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "audit.log")
	l, c := openFile(t, Options{Output: path, Sync: true})
	t.Cleanup(func() { _ = l.Close() })
	written := 0
	for ; ; written++ {
		if err := l.Record(Event{Code: SessionCreated, Detail: strings.Repeat("x", 200)}); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
	}
	if got := readLines(t, read(t, path)); len(got) != written || written < 32 {
		t.Errorf("%d lines, want %d", len(got), written)
	}
	if l.Err() == nil {
		t.Error("Err returned nil on a full disk")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "the log recovers", func() bool { return l.Err() == nil })
	record(t, l, SessionDestroyed)
	got := readLines(t, read(t, path))
	if len(got) != written+2 || got[written].Event != "audit.lost" || got[written].Count != 1 ||
		got[written].Detail != fmt.Sprintf("write %s: no space left on device", path) {
		t.Errorf("%d lines, then %+v", written, got[written:])
	}
	if c.lost != 1 || c.recovered != 1 {
		t.Error(c)
	}
}
