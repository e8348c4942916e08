package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestKilledHolder checks that the next client in the queue gets a lock at once when the process that holds it is
// killed. The lease, a minute by default, is not awaited.
func TestKilledHolder(t *testing.T) {
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	next := servertest.Connect(t, s.addr)
	id := next.OK("new")
	next.OK("put foo saved")
	next.OK("close")

	// The holder plays a conversation that waits for a reply that never comes.
	script := filepath.Join(t.TempDir(), "holder.txt")
	text := fmt.Sprintf("C: open %s\nS: ok\nC: put foo dropped\nS: ok\nC marker: open 0123456789abcdef\n"+
		"S marker: ok\nS: never\n", id)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(binary(), "play", "--addr", s.addr, script)
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	// The holder has the lock once it has that of the marker, which it takes afterwards.
	probe := servertest.Connect(t, s.addr)
	for deadline := time.Now().Add(require.Patience); ; {
		if _, err := probe.Do("open 0123456789abcdef rw 0"); err != nil {
			break
		}
		probe.OK("abort")
		if time.Now().After(deadline) {
			t.Fatal("the holder does not get the lock")
		}
	}
	if _, err := fmt.Fprintf(next, "open %s\r\n", id); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if reply, err := next.In.ReadString('\n'); err != nil || reply != "ok\r\n" {
		t.Fatalf("the next client gets %q, %v", reply, err)
	}
	t.Logf("the next client had the lock %v after the kill", time.Since(killed))
	if got := next.OK("get foo"); got != "saved" {
		t.Errorf("foo is %q", got)
	}
	_ = holder.Wait()
}

// TestWriterBlocksOthers checks that an open for writing blocks others until close, commit or the end of the
// connection.
func TestWriterBlocksOthers(t *testing.T) {
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	holder := servertest.Connect(t, s.addr)
	id := holder.OK("new")
	holder.OK("commit")
	holder.OK("close")
	for name, letGo := range map[string]func(*servertest.Conn){
		"close":  func(c *servertest.Conn) { c.OK("close") },
		"commit": func(c *servertest.Conn) { c.OK("commit") },
		"end":    func(c *servertest.Conn) { _ = c.Close() },
	} {
		a, b := servertest.Connect(t, s.addr), servertest.Connect(t, s.addr)
		a.OK("open " + id)
		if _, err := b.Do("open " + id + " rw 0"); err == nil || !strings.Contains(err.Error(), "LOCKTIMEOUT") {
			t.Errorf("%s: the lock is not exclusive: %v", name, err)
		}
		if _, err := fmt.Fprintf(b, "open %s\r\n", id); err != nil {
			t.Fatal(err)
		}
		letGo(a)
		if reply, err := b.In.ReadString('\n'); err != nil || reply != "ok\r\n" {
			t.Errorf("%s: %q, %v", name, reply, err)
		}
		b.OK("abort")
	}
}
