package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"sessionserver/server/servertest/require"
)

// openFile returns a log that is closed at the end of the test.
func openFile(t *testing.T, o Options) (*Log, *counts) {
	t.Helper()
	c := &counts{}
	o.Observer = c
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, c
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// files returns the names in a folder.
func files(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for i := range 2 { // the second log appends to the file of the first
		l, _ := openFile(t, Options{Output: path, Sync: true})
		record(t, l, ServerStarted)
		if got := readLines(t, read(t, path)); len(got) != i+1 {
			t.Errorf("%d lines", len(got))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestTornLine checks that a partial line left by a crash remains a line by itself.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("{\"time\":\"20"), 0o640); err != nil {
		t.Fatal(err)
	}
	l, _ := openFile(t, Options{Output: path})
	record(t, l, ServerStarted)
	torn, rest, _ := strings.Cut(string(read(t, path)), "\n")
	if torn != "{\"time\":\"20" || len(readLines(t, []byte(rest))) != 1 {
		t.Errorf("%q\n%q", torn, rest)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("the mode of an existing file changed: %v, %v", info.Mode(), err)
	}
}

// TestRotateBySize checks the size and the number of the files, and that each line is whole and in one of them.
func TestRotateBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		path := filepath.Join(folder, "audit.log")
		for _, foreign := range []string{"audit.log.1", "audit.log.20260101T000000.000Z.gz",
			"other.20260101T000000.000Z", "audit.logx"} {
			if err := os.WriteFile(filepath.Join(folder, foreign), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, c := openFile(t, Options{Output: path, MaxSize: 1000, Keep: 3, Sync: true})
		const n = 100
		for range n {
			record(t, l, SessionCreated)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		var seq []uint64
		old := 0
		for _, name := range files(t, folder) {
			text := read(t, filepath.Join(folder, name))
			if len(text) > 1000 {
				t.Errorf("%s has %d bytes", name, len(text))
			}
			if name != "audit.log" && len(text) > 0 {
				old++
			}
		}
		names := files(t, folder)
		for _, name := range append(names[1:], names[0]) { // by time; the present file is last
			for _, l := range readLines(t, read(t, filepath.Join(folder, name))) {
				seq = append(seq, l.Seq)
			}
		}
		for i := range seq {
			if want := n - len(seq) + i + 1; seq[i] != uint64(want) {
				t.Fatalf("number %d, want %d", seq[i], want)
			}
		}
		if old != 3 || len(files(t, folder)) != 1+3+4 || len(seq) < 3*12 {
			t.Errorf("%v with %d lines", files(t, folder), len(seq))
		}
		if len(c.troubles) > 0 {
			t.Error(c.troubles)
		}
	})
}

// TestRotateByAge checks that the age of a file is that of its first line, also after a restart.
func TestRotateByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		o := Options{Output: filepath.Join(folder, "audit.log"), MaxAge: time.Hour}
		l, _ := openFile(t, o)
		record(t, l, ServerStarted)
		time.Sleep(40 * time.Minute) // fake clock
		record(t, l, ServerStopped)
		_ = l.Close()
		l, _ = openFile(t, o)
		defer l.Close()
		record(t, l, ServerStarted)
		if got := files(t, folder); len(got) != 1 {
			t.Errorf("after 40 minutes: %v", got)
		}
		time.Sleep(20 * time.Minute)
		record(t, l, SessionCreated)
		want(t, files(t, folder), "audit.log", "audit.log."+time.Now().UTC().Format(rotatedSuffix))
		if got := readLines(t, read(t, o.Output)); len(got) != 1 || got[0].Event != "session.created" {
			t.Errorf("%v", got)
		}
	})
}

// TestRotationFails checks that the present file remains in use, that the error is reported, and that retries are
// rare.
func TestRotationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		path := filepath.Join(folder, "audit.log")
		l, c := openFile(t, Options{Output: path, MaxSize: 100, Keep: 1})
		defer l.Close()
		record(t, l, ServerStarted)
		// Neither the new name of the file nor its own can be used.
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			record(t, l, SessionCreated)
		}
		if len(c.troubles) != 1 || !strings.Contains(c.troubles[0].Error(), "the file was not rotated") {
			t.Errorf("reported: %v", c.troubles)
		}
		time.Sleep(2 * checkInterval) // the log detects that its name is gone and cannot be opened
		record(t, l, SessionCreated)
		if len(c.troubles) != 2 || !strings.Contains(c.troubles[1].Error(), "its name cannot be opened") {
			t.Errorf("reported: %v", c.troubles)
		}
		if err := l.Reopen(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Reopen: %v", err)
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * checkInterval)
		record(t, l, SessionDestroyed)
		if got := readLines(t, read(t, path)); len(got) != 1 || got[0].Event != "session.destroyed" {
			t.Errorf("%v", got)
		}
	})
}

// TestRenamed checks a rename, as by logrotate. The new file exists at once after Reopen, and soon without it.
func TestRenamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		path := filepath.Join(folder, "audit.log")
		l, c := openFile(t, Options{Output: path})
		defer l.Close()
		record(t, l, ServerStarted)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		record(t, l, SessionCreated) // the rename is not detected yet
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); len(got) != 0 {
			t.Errorf("the new file contains %q", got)
		}
		record(t, l, SessionDestroyed)
		if got := readLines(t, read(t, path+".1")); len(got) != 2 {
			t.Errorf("the old file: %v", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval) // fake clock
		record(t, l, ServerReloaded)
		if got := readLines(t, read(t, path)); len(got) != 1 || got[0].Event != "server.reloaded" {
			t.Errorf("the third file: %v", got)
		}
		if err := os.Truncate(path, 0); err != nil { // logrotate's copytruncate
			t.Fatal(err)
		}
		record(t, l, ServerStopped)
		if got := readLines(t, read(t, path)); len(got) != 1 || got[0].Event != "server.stopped" {
			t.Errorf("after truncation: %v", got)
		}
		if err := l.Reopen(); err != nil || len(c.troubles) > 0 {
			t.Error(err, c.troubles)
		}
	})
}

// TestFullDevice uses the kernel's device that is always full.
func TestFullDevice(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	l, _ := openFile(t, Options{Output: "/dev/full"})
	if err := l.Record(Event{Code: ServerStarted}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Record: %v", err)
	}
	if err := l.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Err: %v", err)
	}
}

// TestNotFile checks that an output is refused before it can block the server if it is neither a file nor a device.
func TestNotFile(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, folder, filepath.Join(folder, "none/audit.log")} {
		if l, err := Open(Options{Output: path}); !errors.Is(err, ErrNotWritten) {
			t.Errorf("%s: %v, %v", path, l, err)
		}
		l, err := Open(Options{Output: path, OnFailure: Continue})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		record(t, l, ServerStarted)
		if err := l.Close(); err == nil {
			t.Errorf("%s: Close returned no error", path)
		}
	}
	// An output that becomes available later is opened.
	later := filepath.Join(folder, "later")
	l, c := openFile(t, Options{Output: later + "/audit.log", OnFailure: Continue})
	if err := os.Mkdir(later, 0o700); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "the output is opened", func() bool { return l.queue.failure() == nil })
	record(t, l, ServerStarted)
	if got := readLines(t, read(t, later+"/audit.log")); len(got) != 1 || c.lost != 0 {
		t.Errorf("%v, %v", got, c)
	}
}

// TestManyWriters records from many goroutines during rotation, renames and reopening. Each line must be whole,
// unique and in the order of the numbers.
func TestManyWriters(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "audit.log")
	l, c := openFile(t, Options{Output: path, MaxSize: 100_000})
	d, err := OpenDecisions(DecisionOptions{Options: Options{Output: path}, Sample: 1, Log: l})
	if err != nil || !d.shared {
		t.Fatal(d, err)
	}
	const writers, each = 16, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				record(t, l, SessionCreated)
				if i%4 == 0 {
					l.Note(Event{Code: SessionExpired, Detail: "a\nb"})
					d.Record(Decision{Key: []byte("k"), Allow: true})
				}
				if w == 0 && i%100 == 0 {
					if err := l.Reopen(); err != nil {
						t.Error(err)
					}
				}
				if w == 1 && i%100 == 50 {
					if err := os.Rename(path, fmt.Sprintf("%s/renamed-%d", folder, i)); err != nil &&
						!errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(d.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	numbers := map[uint64]bool{}
	for _, name := range files(t, folder) {
		last := uint64(0)
		for _, l := range readLines(t, read(t, filepath.Join(folder, name))) {
			if numbers[l.Seq] || l.Seq <= last {
				t.Fatalf("%s: number %d follows %d", name, l.Seq, last)
			}
			numbers[l.Seq], last = true, l.Seq
		}
	}
	if want := writers * (each + each/2); len(numbers) != want || c.written != want || c.lost != 0 {
		t.Errorf("%d lines, want %d; %v; %v", len(numbers), want, c, c.troubles)
	}
}
