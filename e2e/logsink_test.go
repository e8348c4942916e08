package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestLogReaderGone checks that a server whose outputs have no reader any more continues, counts the lost lines and
// drains.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	for _, outputs := range []string{"audit: {output: stdout, on_failure: continue, decisions: {output: stdout, " +
		"sample: 1}}\n", "audit: {decisions: {output: stdout, sample: 1}}\n"} {
		file, _ := servertest.WriteConfig(t, "storage: {driver: file, path: STATE}\n"+
			"admin: {address: \"unix:"+filepath.Join(t.TempDir(), "admin")+"\"}\n"+outputs)
		s := serve(t, "--config", file)
		c := servertest.Connect(t, s.addr)
		id := c.OK("new")
		c.OK("put foo bar")
		s.closeOutputs()
		for _, addr := range []string{s.addr, s.addr} { // each refusal is logged
			if _, err := servertest.Connect(t, addr).Do("auth dev/app wrong"); err == nil ||
				!strings.Contains(err.Error(), "BADAUTH") {
				t.Errorf("a wrong secret: %v", err)
			}
		}
		require.Eventually(t, "lost lines are counted", func() bool {
			return s.metric(t, "sessionserver_log_lost_total") >= 2
		})
		if strings.Contains(outputs, "continue") {
			require.Eventually(t, "lost events are counted", func() bool {
				return s.metric(t, "sessionserver_audit_lost_total") > 0
			})
		} else {
			require.Eventually(t, "lost decisions are counted", func() bool {
				c.OK("get foo")
				return s.metric(t, "sessionserver_decisions_lost_total") > 0
			})
		}
		c.OK("close")
		s.stop()
		s = serve(t, "--config", file)
		servertest.Connect(t, s.addr).OK("open " + id + " r")
	}
}

// TestLogComesBack checks that a new reader of the log is told how many lines were lost.
func TestLogComesBack(t *testing.T) {
	t.Parallel()
	file, _ := servertest.WriteConfig(t, "")
	fifo := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	r := open()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(), "serve", "--config", file)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	_ = w.Close()
	awaitLine(t, r, `"msg":"listening"`)
	_ = r.Close()
	hangup := func() { // which is logged
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangup()
	require.Eventually(t, "the new reader is told of lost lines", func() bool {
		hangup()
		r := open()
		defer r.Close()
		_ = r.SetReadDeadline(time.Now().Add(3 * time.Second))
		text := make([]byte, 1<<16)
		n, _ := r.Read(text)
		return strings.Contains(string(text[:n]), `"msg":"lines of this log were lost"`)
	})
}

// awaitLine reads until a line contains a text.
func awaitLine(t *testing.T, r *os.File, want string) {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(require.Patience))
	var text []byte
	for !strings.Contains(string(text), want) {
		buf := make([]byte, 4096)
		n, err := r.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			t.Fatalf("%v before %s:\n%s", err, want, text)
		}
	}
}
