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

// killFolder and killRound tell a process that it is the one to be killed, the folder to write to and how often this
// was done before.
const (
	killFolder = "STORAGETEST_KILL_FOLDER"
	killRound  = "STORAGETEST_KILL_ROUND"
)

const killWriters = 4

// testKill: what was acknowledged outlives the process's being killed, and a batch is there as a whole or not at all.
// The victim is the test binary itself, told to run this very test: it writes and acknowledges on its standard output
// until it dies.
func testKill(t *testing.T, h Harness) {
	if dir := os.Getenv(killFolder); dir != "" {
		writeUntilKilled(t, h, dir, os.Getenv(killRound))
		return
	}
	dir := t.TempDir()
	acknowledged := make(map[string]int) // how many writes of each writer of each round
	for round := range 3 {
		for writer, n := range killOne(t, dir, strconv.Itoa(round), 150) {
			acknowledged[writer] = n
		}
		checkSurvivors(t, h, dir, acknowledged)
	}
}

// killOne starts a victim, kills it when it has acknowledged so many things, and answers what it had acknowledged.
func killOne(t *testing.T, dir, round string, enough int) map[string]int {
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
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	stdin, err := cmd.StdinPipe() // closed when this process ends, however it does; the victim follows
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
	for w := range killWriters { // one that gets to acknowledge nothing may have written all the same
		acknowledged[writerName(round, w)] = 0
	}
	total := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			fmt.Fprintln(&trouble, lines.Text())
			continue
		}
		acknowledged[rest]++
		if total++; total == enough {
			cmd.Process.Kill() // what is in the pipe already has been acknowledged and is read on
		}
	}
	if err := cmd.Wait(); total < enough {
		t.Fatalf("the victim ended by itself: %v\n%s", err, &trouble)
	}
	return acknowledged
}

func writerName(round string, w int) string { return fmt.Sprintf("%s.%d", round, w) }

func killKey(writer string, n int) storage.Key {
	return storage.Key{Tenant: "acme", ID: id("%s/%d", writer, n)}
}

// killPair are two keys that are always written as a batch.
func killPair(writer string) (storage.Key, storage.Key) {
	return key("pairs", writer+" first"), key("pairs", writer+" second")
}

func killRecord(writer string, n int) storage.Record {
	return storage.Record{
		Data:    fmt.Appendf(nil, "%d %s %s", n, writer, strings.Repeat("x", n*131%2048)),
		Expires: epoch.Add(time.Hour),
	}
}

// writeUntilKilled is what the victim does: each writer puts a record under a new key, then the pair, and says so.
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
					err = storage.PutAll(context.Background(), s, []storage.Entry{{Key: first, Record: r}, {Key: second, Record: r}})
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

// testKillTouch: a Touch that was acknowledged outlives the process's being killed, also when nothing else is written after it.
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
			continue // it was killed before it came to this
		}
		if err != nil {
			t.Fatalf("Get after the kill: %v", err)
		}
		if want := touchedExpiry(last); got.Expires.Before(want) {
			t.Errorf("writer %s: Touch to %v was acknowledged, the record expires at %v", writer, want, got.Expires)
		}
	}
}

// touchedExpiry is what a writer's nth Touch asks for.
func touchedExpiry(n int) time.Time { return epoch.Add(time.Hour + time.Duration(n)*time.Second) }

// touchUntilKilled is what the victim does: every writer puts a record and, when all have, touches it again and again.
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

// checkSurvivors opens the folder of the killed and compares.
func checkSurvivors(t *testing.T, h Harness, dir string, acknowledged map[string]int) {
	s, err := h.Open(t, dir, newClock().now)
	if err != nil {
		t.Fatalf("Open after the kill: %v", err)
	}
	defer s.Close()
	var records, pairs storage.Usage
	// number answers which record of its writer the store has under k, 0 if none.
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
			t.Fatalf("torn after the kill: %s", clip(got.Data))
		}
		u.Records++
		u.Bytes += int64(len(got.Data))
		return n
	}
	for writer, last := range acknowledged {
		for n := 1; n <= last+1; n++ {
			if got := number(writer, killKey(writer, n), &records); got != n && n <= last {
				t.Errorf("record %d of writer %s was acknowledged and is lost", n, writer)
			}
		}
		first, second := killPair(writer)
		one, two := number(writer, first, &pairs), number(writer, second, &pairs)
		if two < last || one < two || one > last+1 || one != two && !h.NoBatch {
			t.Errorf("writer %s: the batch has versions %d and %d, %d was acknowledged", writer, one, two, last)
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

// watchParent ends the victim when the process that has started it does.
func watchParent() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
