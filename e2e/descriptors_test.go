//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// limited returns a script that runs the server with a limit of file descriptors, given as arguments of ulimit.
func limited(t *testing.T, ulimit string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "limited")
	script := "#!/bin/sh\nulimit " + ulimit + " && exec " + binary() + " \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDescriptors checks that a server with few file descriptors accepts fewer connections than configured, and reports
// so. Connections beyond that are refused, however many. The others can save, operators are served, and the descriptors
// suffice.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"file", "log", "memory"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			settings := "storage: {driver: " + driver +
				", path: STATE}\nadmin: {address: \"127.0.0.1:0\"}\naudit: {output: \"STATE.log\"}\n"
			file, _ := servertest.WriteConfig(t, settings)
			s := serveWith(t, limited(t, "-n 64"), "--config", file)
			served := int(s.metric(t, "sessionserver_connections_limit"))
			if served < 4 || served > 60 {
				t.Fatalf("%d connections are served", served)
			}
			note := fmt.Sprintf("limits.connections is 16384, but the system allows this process 64 file "+
				"descriptors, which suffice for %d", served)
			if !strings.Contains(s.log(), note) {
				t.Errorf("the log lacks %q:\n%s", note, s.log())
			}
			var clients []*servertest.Conn
			for range 80 {
				c := servertest.Connect(t, s.addr)
				clients = append(clients, c)
				if len(clients) <= served { // so that they are accepted in this order
					c.OK("ping")
				}
			}
			for i, c := range clients[served:] {
				_ = c.SetReadDeadline(time.Now().Add(require.Patience))
				if line, err := c.In.ReadString('\n'); !strings.HasPrefix(line,
					"err UNAVAILABLE the server has reached its limit of connections") {
					t.Errorf("client %d reads %q, %v", served+i, line, err)
				}
			}
			for _, c := range clients[:served] { // all at the same time
				_, _ = io.WriteString(c, "new\r\nput foo bar\r\nclose\r\n")
			}
			for _, c := range clients[:served] {
				for range 3 {
					if line, err := c.In.ReadString('\n'); !strings.HasPrefix(line, "ok") {
						t.Errorf("an accepted client reads %q, %v", line, err)
					}
				}
			}
			for range 20 { // operators who stay connected
				c, err := net.Dial("tcp", s.admin)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
			}
			for _, c := range clients[:served] {
				c.OK("new")
				c.OK("close")
			}
			if strings.Contains(s.log(), "too many open files") {
				t.Errorf("descriptors ran out:\n%s", s.log())
			}
			for _, c := range clients {
				_ = c.Close()
			}
			require.Eventually(t, "connections are accepted again", func() bool {
				c, err := servertest.Dial(s.addr)
				if err != nil {
					return false
				}
				defer c.Close()
				_, err = c.Do("ping")
				return err == nil
			})
			s.stop()
		})
	}
}

// TestDescriptorsSoft checks that a soft limit below the hard limit has no effect.
func TestDescriptorsSoft(t *testing.T) {
	t.Parallel()
	file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n"+
		"limits: {connections: 100, connections_per_ip: 100}\nadmin: {address: \"127.0.0.1:0\"}\n")
	s := serveWith(t, limited(t, "-Sn 64 && ulimit -Hn 512"), "--config", file)
	if got := s.metric(t, "sessionserver_connections_limit"); got != 100 {
		t.Errorf("%v connections are served, want 100", got)
	}
	_, text := servertest.Get(t, s.adminClient(), "http://localhost/status")
	var status struct {
		Connections struct{ Limit, Configured, Descriptors int }
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil || status.Connections.Limit != 100 ||
		status.Connections.Configured != 100 || status.Connections.Descriptors < 511 {
		t.Errorf("%v\n%s", err, text)
	}
	if strings.Contains(s.log(), "descriptors, which suffice") {
		t.Errorf("it logs a limit:\n%s", s.log())
	}
}

// TestDescriptorsSaid checks that check reports the limit of serve, and that a server that could accept no connection
// does not start.
func TestDescriptorsSaid(t *testing.T) {
	t.Parallel()
	file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n")
	out, err := exec.Command(limited(t, "-n 64"), "check", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "note: limits.connections is 16384, but the system allows this "+
		"process 64 file descriptors") {
		t.Errorf("check: %v\n%s", err, out)
	}
	out, err = exec.Command(limited(t, "-n 24"), "serve", "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "too few to serve a client") {
		t.Errorf("serve: %v\n%s", err, out)
	}
}
