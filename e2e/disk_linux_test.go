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

// TestReadyFailure checks that a server on a full disk reports its failure to operators before it ends, and why.
func TestReadyFailure(t *testing.T) {
	file, state := servertest.WriteConfig(t, "storage: {driver: log, path: STATE, cache: 0}\n"+
		"limits: {drain_timeout: 1m}\n"+onLoopback)
	fill := smallDisk(t, state)
	s := serve(t, "--config", file)
	url := "http://" + s.admin
	holder := servertest.Connect(t, s.addr) // prolongs the drain
	holder.OK("new")
	fill()
	c := servertest.Connect(t, s.addr)
	require.Eventually(t, "the storage fails", func() bool {
		if _, err := c.Do("new"); err != nil {
			return true
		}
		_, _ = c.Do("put k " + strings.Repeat("x", 60<<10))
		_, err := c.Do("close")
		return err != nil
	})
	require.Eventually(t, "the server reports the failure", func() bool {
		status, text := servertest.Get(t, http.DefaultClient, url+"/readyz")
		return status == 503 && text == "failed: see the log\n"
	})
	if _, text := servertest.Get(t, http.DefaultClient, url+"/status"); !strings.Contains(text,
		"no space left on device") {
		t.Errorf("the status is %s", text)
	}
	_, _ = c.Close(), holder.Close()
	<-s.ended
	if s.err == nil || !strings.Contains(s.log(), "the storage failed") {
		t.Errorf("it ended with %v\n%s", s.err, s.log())
	}
}

// smallDisk mounts a file system of a few megabytes on a folder until the end of the test. The returned function fills
// it.
func smallDisk(t *testing.T, folder string) (fill func()) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		if servertest.Everything() {
			t.Fatal(err)
		}
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	return func() {
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
	}
}
