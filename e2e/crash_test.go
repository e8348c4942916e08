package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/server/servertest"
)

// storages are the settings of storage, by driver.
var storages = map[string]string{
	"memory":           "storage: {driver: memory}\n",
	"file":             "storage: {driver: file, path: STATE}\n",
	"log":              "storage: {driver: log, path: STATE}\n",
	"log little cache": "storage: {driver: log, path: STATE, cache: 4MiB}\n",
}

// TestCounter lets 50 clients increment a number in one session, 200 times each. No increment may be lost.
func TestCounter(t *testing.T) {
	const clients, times = 50, 200
	for name, storage := range storages {
		t.Run(name, func(t *testing.T) {
			// The test does not concern power failures, and 10,000 syncs of the disk would take long.
			file, _ := servertest.WriteConfig(t, strings.Replace(storage, "path: STATE", "path: STATE, sync: never", 1))
			s := serve(t, "--config", file)
			c := servertest.Connect(t, s.addr)
			id := c.OK("new")
			c.OK("put n 0")
			c.OK("close")
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					if err := count(s.addr, id, times); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			c.OK("open " + id + " r")
			if got := c.OK("get n"); got != strconv.Itoa(clients*times) {
				t.Errorf("the number is %s", got)
			}
		})
	}
}

// count increments the number of a session.
func count(addr, id string, times int) error {
	c, err := servertest.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for range times {
		if _, err := c.Do("open " + id + " rw 100000"); err != nil {
			return err
		}
		text, err := c.Do("get n")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if _, err := c.Do("put n " + strconv.Itoa(n+1)); err != nil {
			return err
		}
		if _, err := c.Do("close"); err != nil {
			return err
		}
	}
	return nil
}

// TestKill kills the server under load, again and again. After each restart every acknowledged close is there, no
// session is torn, and no destroyed session is back.
func TestKill(t *testing.T) {
	const rounds, writers = 6, 16
	for name, storage := range map[string]string{
		"log":          storages["log"],
		"log interval": "storage: {driver: log, path: STATE, sync: interval}\n",
		"log never":    "storage: {driver: log, path: STATE, sync: never}\n",
		"file":         storages["file"],
		"file never":   "storage: {driver: file, path: STATE, sync: never}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, _ := servertest.WriteConfig(t, storage)
			ledgers := make([]ledger, writers)
			for i := range ledgers {
				ledgers[i] = ledger{saved: map[string]int{}, tried: map[string]int{}, destroyed: map[string]bool{}}
			}
			acknowledged := 0
			for range rounds {
				s := serve(t, "--config", file)
				var all sync.WaitGroup
				for i := range ledgers {
					all.Go(func() { ledgers[i].write(s.addr) })
				}
				time.AfterFunc(time.Duration(100+rand.IntN(300))*time.Millisecond, func() { _ = s.cmd.Process.Kill() })
				all.Wait()
				<-s.ended

				s = serve(t, "--config", file)
				for i := range ledgers {
					if err := ledgers[i].verify(s.addr); err != nil {
						t.Error(err)
					}
				}
				s.kill()
			}
			for i := range ledgers {
				acknowledged += len(ledgers[i].saved) + len(ledgers[i].destroyed)
			}
			if acknowledged == 0 {
				t.Fatal("no session was acknowledged: the test is void")
			}
			t.Logf("%d sessions", acknowledged)
		})
	}
}

// ledger is what one client expects of its sessions.
type ledger struct {
	saved     map[string]int // the last acknowledged number
	tried     map[string]int // the number that was being saved when the server was killed
	destroyed map[string]bool
}

// write creates, changes and destroys sessions until the connection breaks. Each session holds its number twice, far
// apart.
func (l *ledger) write(addr string) {
	c, err := servertest.Dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	filling := fmt.Sprintf("%02000d", 7)
	save := func(id string, n int) error {
		for _, line := range []string{fmt.Sprintf("put a %d", n), "put filling " + filling,
			fmt.Sprintf("put b %d", n)} {
			if _, err := c.Do(line); err != nil {
				return err
			}
		}
		l.tried[id] = n
		if _, err := c.Do("close"); err != nil {
			return err
		}
		l.saved[id] = n
		return nil
	}
	for n := 1; ; n++ {
		id, err := c.Do("new")
		if err != nil || save(id, n) != nil {
			return
		}
		for id, last := range l.saved { // one of them
			if _, err := c.Do("open " + id + " u"); err != nil || save(id, last+1) != nil {
				return
			}
			break
		}
		if n%5 != 0 {
			continue
		}
		for id := range l.saved {
			if _, err := c.Do("open " + id + " u"); err != nil {
				return
			}
			delete(l.saved, id) // from here on it may exist or not
			if _, err := c.Do("destroy"); err != nil {
				return
			}
			l.destroyed[id] = true
			break
		}
	}
}

// verify compares the sessions with the ledger.
func (l *ledger) verify(addr string) error {
	c, err := servertest.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for id := range l.destroyed {
		if _, err := c.Do("open " + id + " rw 0"); err == nil {
			return errors.New("a destroyed session is back")
		}
	}
	for id, n := range l.saved {
		if _, err := c.Do("open " + id + " u 0"); err != nil {
			return fmt.Errorf("an acknowledged session is lost: %w", err)
		}
		a, errA := c.Do("get a")
		b, errB := c.Do("get b")
		if errA != nil || errB != nil || a != b {
			return fmt.Errorf("a session is torn: %q, %v and %q, %v", a, errA, b, errB)
		}
		if a != strconv.Itoa(n) && a != strconv.Itoa(l.tried[id]) {
			return fmt.Errorf("a session holds %s, want the acknowledged %d", a, n)
		}
		if l.saved[id], err = strconv.Atoi(a); err != nil {
			return err
		}
		if _, err := c.Do("abort"); err != nil {
			return err
		}
	}
	return nil
}
