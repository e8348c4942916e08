package storagetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/storage"
)

// killFolder and killRound are environment variables of the process to be killed: the folder to write to, and the
// number of the round.
const (
	killFolder = "STORAGETEST_KILL_FOLDER"
	killRound  = "STORAGETEST_KILL_ROUND"
)

const killWriters = 4

// testKill checks that an acknowledged write survives a kill of the process, and a batch exists completely or not at
// all. The process to be killed is the test binary itself, which runs this very test. It writes, and acknowledges each
// write on its standard output, until it is killed.
func testKill(t *testing.T, h Harness) {
	if dir := os.Getenv(killFolder); dir != "" {
		writeUntilKilled(t, h, dir, os.Getenv(killRound))
		return
	}
	dir := t.TempDir()
	acknowledged := make(map[string]int) // writes by writer and round
	for round := range 3 {
		for writer, n := range killOne(t, dir, strconv.Itoa(round), 150) {
			acknowledged[writer] = n
		}
		checkSurvivors(t, h, dir, acknowledged)
	}
}

// killOne starts a process, kills it after the given number of acknowledgements, and returns the number of each writer.
func killOne(t *testing.T, dir, round string, acknowledgements int) map[string]int {
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run="+strings.Join(parts, "/"))
	cmd.Env = append(os.Environ(), killFolder+"="+dir, killRound+"="+round)
	var output bytes.Buffer
	cmd.Stderr = &output
	stdin, err := cmd.StdinPipe() // closed when this process ends for any reason, which ends the other one
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := make(map[string]int)
	for w := range killWriters { // a writer without an acknowledgement may have written as well
		acknowledged[writerName(round, w)] = 0
	}
	total := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			fmt.Fprintln(&output, lines.Text())
			continue
		}
		acknowledged[rest]++
		if total++; total == acknowledgements {
			cmd.Process.Kill() // acknowledgements that are already in the pipe are still read
		}
	}
	if err := cmd.Wait(); total < acknowledgements {
		t.Fatalf("the process ended before it was killed: %v\n%s", err, &output)
	}
	return acknowledged
}

func writerName(round string, w int) string { return fmt.Sprintf("%s.%d", round, w) }

func killKey(writer string, n int) storage.Key {
	return storage.Key{Tenant: "acme", ID: id("%s/%d", writer, n)}
}

// killPair returns two keys that are always written as a batch.
func killPair(writer string) (storage.Key, storage.Key) {
	return key("pairs", writer+" first"), key("pairs", writer+" second")
}

func killRecord(writer string, n int) storage.Record {
	return storage.Record{
		Data:    fmt.Appendf(nil, "%d %s %s", n, writer, strings.Repeat("x", n*131%2048)),
		Expires: epoch.Add(time.Hour),
	}
}

// writeUntilKilled is run by the process to be killed: each writer puts a record under a new key, then the pair, and
// acknowledges both.
func writeUntilKilled(t *testing.T, h Harness, dir, round string) {
	watchParent()
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for w := range killWriters {
		writer := writerName(round, w)
		wg.Go(func() {
			first, second := killPair(writer)
			for n := 1; ; n++ {
				r := killRecord(writer, n)
				err := s.Put(context.Background(), killKey(writer, n), r)
				if err == nil {
					entries := []storage.Entry{{Key: first, Record: r}, {Key: second, Record: r}}
					err = storage.PutAll(context.Background(), s, entries)
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				fmt.Printf("acknowledged %s\n", writer)
			}
		})
	}
	wg.Wait()
}

// testKillTouch checks that an acknowledged Touch survives a kill of the process, also if no other write follows it.
func testKillTouch(t *testing.T, h Harness) {
	if dir := os.Getenv(killFolder); dir != "" {
		touchUntilKilled(t, h, dir, os.Getenv(killRound))
		return
	}
	dir := t.TempDir()
	acknowledged := killOne(t, dir, "0", 150)
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open after the kill: %v", err)
	}
	defer s.Close()
	for writer, last := range acknowledged {
		got, err := s.Get(t.Context(), killKey(writer, 0))
		if errors.Is(err, storage.ErrNotFound) && last == 0 {
			continue // killed before the first Touch
		}
		if err != nil {
			t.Fatalf("Get after the kill: %v", err)
		}
		if want := touchedExpiry(last); got.Expires.Before(want) {
			t.Errorf("writer %s: Touch to %v was acknowledged, the record expires at %v", writer, want, got.Expires)
		}
	}
}

// touchedExpiry returns the expiry of a writer's nth Touch.
func touchedExpiry(n int) time.Time { return epoch.Add(time.Hour + time.Duration(n)*time.Second) }

// touchUntilKilled is run by the process to be killed: every writer puts a record. After that each touches its record
// again and again.
func touchUntilKilled(t *testing.T, h Harness, dir, round string) {
	watchParent()
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer s.Close()
	for w := range killWriters {
		writer := writerName(round, w)
		if err := s.Put(t.Context(), killKey(writer, 0), killRecord(writer, 0)); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	var wg sync.WaitGroup
	for w := range killWriters {
		writer := writerName(round, w)
		wg.Go(func() {
			for n := 1; ; n++ {
				if err := s.Touch(context.Background(), killKey(writer, 0), touchedExpiry(n)); err != nil {
					t.Errorf("touch: %v", err)
					return
				}
				fmt.Printf("acknowledged %s\n", writer)
			}
		})
	}
	wg.Wait()
}

// checkSurvivors opens the folder of the killed process and compares its records.
func checkSurvivors(t *testing.T, h Harness, dir string, acknowledged map[string]int) {
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open after the kill: %v", err)
	}
	defer s.Close()
	var records, pairs storage.Usage
	// number returns the number of the writer's record that the store has under k, or 0.
	number := func(writer string, k storage.Key, u *storage.Usage) int {
		got, err := s.Get(t.Context(), k)
		if errors.Is(err, storage.ErrNotFound) {
			return 0
		}
		if err != nil {
			t.Fatalf("Get after the kill: %v", err)
		}
		var n int
		if _, err := fmt.Sscan(string(got.Data), &n); err != nil || difference(got, killRecord(writer, n)) != "" {
			t.Fatalf("torn record after the kill: %s", clip(got.Data))
		}
		u.Records++
		u.Bytes += int64(len(got.Data))
		return n
	}
	for writer, last := range acknowledged {
		for n := 1; n <= last+1; n++ {
			if got := number(writer, killKey(writer, n), &records); got != n && n <= last {
				t.Errorf("writer %s: record %d was acknowledged, but is lost", writer, n)
			}
		}
		first, second := killPair(writer)
		one, two := number(writer, first, &pairs), number(writer, second, &pairs)
		if two < last || one < two || one > last+1 || one != two && !h.NoBatch {
			t.Errorf("writer %s: versions %d and %d of a batch, acknowledged: %d", writer, one, two, last)
		}
	}
	if h.NoUsage {
		return
	}
	for tenant, want := range map[string]storage.Usage{"acme": records, "pairs": pairs} {
		if got, err := storage.UsageOf(t.Context(), s, tenant); err != nil || got != want {
			t.Errorf("Usage(%s) after the kill = %+v, %v; want %+v", tenant, got, err, want)
		}
	}
}

// watchParent ends this process together with the one that started it.
func watchParent() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
