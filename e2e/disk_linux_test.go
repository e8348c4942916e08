package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestFullDisk checks a server on a file system without room: saves are refused with UNAVAILABLE and operators see why,
// while reads and destroys go through. It starts on the full disk, and accepts saves again when it has room, given in
// small steps. Every acknowledged session is there.
func TestFullDisk(t *testing.T) {
	file, state := servertest.WriteConfig(t, "storage: {driver: log, path: STATE, sweep_interval: 50ms}\n"+
		"rates: {session_creation: {per_second: 100000, burst: 100000}}\n"+onLoopback)
	fill := smallDisk(t, state)
	s := serve(t, "--config", file)
	c := servertest.Connect(t, s.addr)
	value := strings.Repeat("x", 60<<10)
	saved := map[string]bool{}
	save := func() error {
		id := c.OK("new")
		c.OK("put k " + value)
		if _, err := c.Do("close"); err != nil {
			c.OK("abort")
			return err
		}
		saved[id] = true
		return nil
	}
	verify := func() {
		t.Helper()
		for id := range saved {
			c.OK("open " + id + " r")
			if got := c.OK("get k"); got != value {
				t.Fatalf("a session has %d bytes, want %d", len(got), len(value))
			}
			c.OK("close")
		}
	}
	for range 10 {
		if err := save(); err != nil {
			t.Fatal(err)
		}
	}
	empty := fill()
	refused := 0
	require.Eventually(t, "saves are refused", func() bool {
		err := save()
		if err != nil && !strings.Contains(err.Error(), "UNAVAILABLE") {
			t.Fatal(err)
		}
		if err != nil {
			refused++
		}
		return refused > 5
	})
	require.Eventually(t, "the server is not ready", func() bool {
		_ = save()
		status, _ := servertest.Get(t, http.DefaultClient, "http://"+s.admin+"/readyz")
		return status == 503
	})
	if _, text := servertest.Get(t, http.DefaultClient, "http://"+s.admin+"/status"); !strings.Contains(text,
		"no space left on device") {
		t.Errorf("the status is %s", text)
	}
	verify()
	s.kill()

	s = serve(t, "--config", file) // on the full disk
	c = servertest.Connect(t, s.addr)
	verify()
	destroyed := ""
	for id := range saved {
		destroyed = id
		break
	}
	c.OK("open " + destroyed)
	c.OK("destroy")
	delete(saved, destroyed)
	if _, err := c.Do("open " + destroyed + " r"); err == nil {
		t.Error("a destroyed session is back")
	}
	for range 8 { // room in steps
		empty(512 << 10)
		_ = save()
	}
	empty(8 << 20)
	require.Eventually(t, "saves are accepted again", func() bool { return save() == nil })
	verify()
	require.Eventually(t, "the server is ready", func() bool {
		status, _ := servertest.Get(t, http.DefaultClient, "http://"+s.admin+"/readyz")
		return status == 200
	})
}

// smallDisk mounts a file system of a few megabytes on a folder until the end of the test. The returned function fills
// it, and returns one that gives room back.
func smallDisk(t *testing.T, folder string) (fill func() (empty func(bytes int64))) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		if servertest.Everything() {
			t.Fatal(err)
		}
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	return func() (empty func(bytes int64)) {
		t.Helper()
		f, err := os.Create(filepath.Join(folder, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		return func(bytes int64) {
			t.Helper()
			info, err := os.Stat(filepath.Join(folder, "filler"))
			if err == nil {
				err = os.Truncate(filepath.Join(folder, "filler"), max(info.Size()-bytes, 0))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
