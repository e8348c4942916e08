package pebble

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sessionserver/storage"
)

// The test binary can be told to be the other process: to write to a folder until it is killed, or to hold it.
const (
	childFolder = "PEBBLE_TEST_CHILD"
	childMode   = "PEBBLE_TEST_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := child(dir, SyncMode(os.Getenv(childMode))); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func startChild(t *testing.T, dir string, mode SyncMode) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childFolder+"="+dir, childMode+"="+string(mode))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the child ends when this process does
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close() })
	return cmd, bufio.NewScanner(out)
}

const crashTenant = "crash"

// crashRecord is what writer w puts the nth time.
func crashRecord(c *clock, w, n int) storage.Record {
	return c.rec(fmt.Sprintf("%d/%d %s", w, n, strings.Repeat("x", (w*7919+n*131)%3000)), time.Hour)
}

// crashWrite is the load that is interrupted: writer w puts its key again and again, alone or with a second one, in the
// midst of other operations, and calls acknowledged after each.
func crashWrite(ctx context.Context, s *Store, c *clock, w int, first int, acknowledged func(n int)) error {
	r := rand.New(rand.NewPCG(uint64(w), uint64(first)))
	k, k2 := key(crashTenant, name("w", w)), key(crashTenant, name("second", w))
	for n := first; ; n++ {
		var err error
		if rec := crashRecord(c, w, n); n%4 == 0 {
			err = s.PutAll(ctx, []storage.Entry{{Key: k, Record: rec}, {Key: k2, Record: rec}})
		} else {
			err = s.Put(ctx, k, rec)
		}
		if err != nil {
			return err
		}
		acknowledged(n)
		for range 2 {
			if err := operate(ctx, s, c, r, 30); err != nil {
				return err
			}
		}
	}
}

// crashCheck fails unless everything acknowledged is there, and answers the last version of each writer.
func crashCheck(t *testing.T, s *Store, c *clock, acknowledged map[int]int) map[int]int {
	t.Helper()
	verify(t, s)
	found := map[int]int{}
	for w, n := range acknowledged {
		rec, err := s.Get(t.Context(), key(crashTenant, name("w", w)))
		var gotW, gotN int
		if err == nil {
			_, err = fmt.Sscanf(string(rec.Data), "%d/%d ", &gotW, &gotN)
		}
		if errors.Is(err, storage.ErrNotFound) && n == 0 {
			continue
		}
		if err != nil || gotW != w || gotN < n || string(rec.Data) != string(crashRecord(c, w, gotN).Data) {
			t.Fatalf("writer %d: version %d was acknowledged, found %d/%d, %v", w, n, gotW, gotN, err)
		}
		found[w] = gotN
		rec, err = s.Get(t.Context(), key(crashTenant, name("second", w)))
		if err == nil {
			_, err = fmt.Sscanf(string(rec.Data), "%d/%d ", &gotW, &gotN)
		}
		if n >= 8 && (err != nil || gotN < n&^3) {
			t.Errorf("writer %d: version %d was acknowledged, the second key has %d, %v", w, n, gotN, err)
		}
	}
	return found
}

func child(dir string, mode SyncMode) error {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	c := newClock()
	s, err := Open(Options{Path: dir, Sync: mode, SyncInterval: time.Millisecond, Now: c.now, tune: small})
	if err != nil {
		return err
	}
	fmt.Println("open")
	errs := make(chan error)
	for w := range 8 {
		go func() {
			first := 1
			if rec, err := s.Get(context.Background(), key(crashTenant, name("w", w))); err == nil {
				fmt.Sscanf(string(rec.Data), "%d/%d ", new(int), &first)
				first++
			}
			errs <- crashWrite(context.Background(), s, c, w, first, func(n int) {
				fmt.Printf("ack %d %d\n", w, n)
			})
		}()
	}
	return <-errs
}

// What was acknowledged survives kill -9 in every mode.
func TestKill(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			acknowledged := map[int]int{}
			for range 3 {
				cmd, lines := startChild(t, dir, mode)
				after := rand.IntN(1500)
				for seen := 0; lines.Scan(); seen++ {
					if seen == after {
						cmd.Process.Kill() // what the pipe still holds was acknowledged and is read on
					}
					var w, n int
					if _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &w, &n); err == nil {
						acknowledged[w] = n
					} else if lines.Text() != "open" {
						t.Fatal(lines.Text())
					}
				}
				cmd.Wait()
				c := newClock()
				s := mustOpen(t, Options{Path: dir, Sync: mode, Now: c.now, tune: small})
				crashCheck(t, s, c, acknowledged)
				must(t, s.Close())
			}
		})
	}
}

func TestFolderHeldByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := startChild(t, dir, SyncNever)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatal(lines.Text())
	}
	_, err := Open(Options{Path: dir})
	if !errors.Is(err, storage.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open = %v, want storage.ErrLocked and the path", err)
	}
	cmd.Process.Kill()
	for lines.Scan() {
	}
	cmd.Wait()
	must(t, mustOpen(t, Options{Path: dir}).Close())
}

func TestFolderHeldUnderAnotherName(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, Options{Path: dir + "/store"})
	must(t, os.Symlink(dir+"/store", dir+"/alias"))
	t.Chdir(dir)
	for _, other := range []string{dir + "/store/", dir + "/alias", "store", "./alias/../store"} {
		if _, err := Open(Options{Path: other}); !errors.Is(err, storage.ErrLocked) {
			t.Errorf("Open(%s) = %v, want storage.ErrLocked", other, err)
		}
	}
}

// After a power cut a store opens in every mode and adds up; with SyncAlways it has everything that was acknowledged,
// and with SyncInterval what was acknowledged before the last sync.
func TestPowerCut(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			c := newClock()
			fs := vfs.NewCrashableMem()
			o := Options{Path: "store", Sync: mode, SyncInterval: time.Hour, Now: c.now, tune: small, fs: fs}
			s := mustOpen(t, o)
			var mu sync.Mutex
			now := map[int]int{} // the last version acknowledged
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			reached := make(chan struct{}, 1)
			for w := range 8 {
				wg.Go(func() {
					err := crashWrite(ctx, s, c, w, 1, func(n int) {
						mu.Lock()
						defer mu.Unlock()
						now[w] = n
						select {
						case reached <- struct{}{}:
						default:
						}
					})
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			r := rand.New(rand.NewPCG(1, 2))
			for cut := range 15 {
				for range 1 + r.IntN(100) {
					<-reached
				}
				mu.Lock()
				durable := map[int]int{}
				for w, n := range now {
					durable[w] = n
				}
				mu.Unlock()
				switch mode {
				case SyncInterval:
					s.disk.syncWALs() // what the goroutine does every SyncInterval
				case SyncNever:
					clear(durable)
				}
				crashed := o
				crashed.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 20 * (cut % 6), RNG: r})
				after := mustOpen(t, crashed)
				crashCheck(t, after, c, durable)
				must(t, after.Close())
			}
			cancel()
			wg.Wait()
		})
	}
}

// A store that was closed is on disk in every mode.
func TestPowerCutAfterClose(t *testing.T) {
	for _, mode := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		fs := vfs.NewCrashableMem()
		o := Options{Path: "store", Sync: mode, SyncInterval: time.Hour, fs: fs}
		s := mustOpen(t, o)
		k := key("acme", "k")
		must(t, s.Put(t.Context(), k, storage.Record{Data: []byte("data"), Expires: time.Now().Add(time.Hour)}))
		must(t, s.Close())
		o.fs = fs.CrashClone(vfs.CrashCloneCfg{})
		rec, err := mustOpen(t, o).Get(t.Context(), k)
		if err != nil || !bytes.Equal(rec.Data, []byte("data")) {
			t.Errorf("%s: %q, %v", mode, rec.Data, err)
		}
	}
}
