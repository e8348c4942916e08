package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

	// The holder plays a conversation in which the server never says what it waits for.
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
	// It holds the lock when it holds the marker's, which it takes afterwards.
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
	if answer, err := next.In.ReadString('\n'); err != nil || answer != "ok\r\n" {
		t.Fatalf("the next one gets %q, %v", answer, err)
	}
	t.Logf("the next one had the lock %v after the kill", time.Since(killed))
	if got := next.OK("get foo"); got != "saved" {
		t.Errorf("foo is %q", got)
	}
	_ = holder.Wait()
}
