package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/server/servertest"
)

// hashes matches the hashes of session ids, whole or in part. The log must have none.
var hashes = regexp.MustCompile(`[0-9a-f]{32}`)

// TestDamagedFile checks that a client whose session file is damaged gets a new session, and can destroy it. The log
// names the file and contains no hash of an id.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	file, state := servertest.WriteConfig(t, "storage: {driver: file, path: STATE, cache: 0}\n"+
		"session: {strict: false}\n")
	s := serve(t, "--config", file)
	c := servertest.Connect(t, s.addr)
	saved := func() string {
		id := c.OK("new")
		c.OK("put foo bar")
		c.OK("close")
		return id
	}
	first := saved()
	damaged := 0
	damage := func() {
		err := filepath.WalkDir(filepath.Join(state, "tenants"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				damaged++
				err = os.WriteFile(path, []byte("torn"), 0o600)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	damage()
	for _, mode := range []string{"r", "s"} {
		if _, err := c.Do("open " + first + " " + mode); err == nil || !strings.Contains(err.Error(), "NOTFOUND") {
			t.Errorf("open in mode %s: %v", mode, err)
		}
	}
	c.OK("open " + first)
	if _, err := c.Do("get foo"); err == nil || !strings.Contains(err.Error(), "NOKEY") {
		t.Errorf("get: %v", err)
	}
	c.OK("put foo new")
	c.OK("close")
	c.OK("open " + first + " u")
	if got := c.OK("get foo"); got != "new" {
		t.Errorf("foo is %q", got)
	}
	c.OK("close")
	damage()
	c.OK("open " + first)
	c.OK("destroy")
	s.stop()
	logged := s.log()
	for _, want := range []string{`"file":"` + state + `/damaged/1.dev.*"`, `"file":"` + state + `/damaged/2.dev.*"`,
		"a head of 4 bytes, want 40"} {
		if !strings.Contains(logged, want) {
			t.Errorf("the log lacks %s:\n%s", want, logged)
		}
	}
	for n := 1; n <= damaged; n++ {
		found, err := filepath.Glob(filepath.Join(state, "damaged", string(rune('0'+n))+".dev.*"))
		if err != nil || len(found) != 1 {
			t.Errorf("%v, %v", found, err)
			continue
		}
		if text, err := os.ReadFile(found[0]); err != nil || string(text) != "torn" {
			t.Errorf("%s has %q, %v", found[0], text, err)
		}
	}
	if hash := hashes.FindString(logged); hash != "" {
		t.Errorf("the log contains %s:\n%s", hash, logged)
	}
}

// TestFailuresDoNotFloodTheLog checks that a storage that fails every save fills the log with neither lines nor hashes
// of ids.
func TestFailuresDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	file, state := servertest.WriteConfig(t, "storage: {driver: file, path: STATE, cache: 0}\n"+
		"session: {strict: false}\n")
	s := serve(t, "--config", file)
	tenants := filepath.Join(state, "tenants")
	if err := os.RemoveAll(tenants); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tenants, tenants); err != nil { // not even root can follow a link to itself
		t.Fatal(err)
	}
	c := servertest.Connect(t, s.addr)
	const many = 1000
	for range many {
		c.OK("new")
		if _, err := c.Do("close"); err == nil || !strings.Contains(err.Error(), "UNAVAILABLE the storage failed") {
			t.Fatalf("close: %v", err)
		}
		c.OK("abort")
	}
	s.stop()
	logged := s.log()
	if lines := strings.Count(logged, "\n"); lines > many/10 {
		t.Errorf("%d failed saves are logged as %d lines", many, lines)
	}
	if !strings.Contains(logged, `"msg":"command failed"`) || !strings.Contains(logged, "not_logged_before") {
		t.Errorf("the failures are not logged:\n%s", logged)
	}
	if hash := hashes.FindString(logged); hash != "" {
		t.Errorf("the log contains %s:\n%s", hash, logged)
	}
}

// TestScrapesThatHangUp checks that a client that disconnects during /metrics is not logged.
func TestScrapesThatHangUp(t *testing.T) {
	t.Parallel()
	file, _ := servertest.WriteConfig(t, "admin: {address: \"127.0.0.1:0\"}\n")
	s := serve(t, "--config", file)
	for range 20 {
		c := servertest.Connect(t, s.admin)
		if _, err := c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = c.In.ReadByte()
		_ = c.Close()
	}
	s.metric(t, "sessionserver_ready")
	s.stop()
	if bad := regexp.MustCompile(`(?m)^.*"level":"(WARN|ERROR)".*$`).FindString(s.log()); bad != "" {
		t.Error(bad)
	}
}
