package e2e

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestTelnet types the transcript of 2004 into a real telnet.
func TestTelnet(t *testing.T) {
	telnet := servertest.Program(t, "telnet")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(telnet, "localhost", port)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(require.Patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	screen := bufio.NewReader(stdout)
	until := func(pattern string) string {
		t.Helper()
		for {
			line, err := screen.ReadString('\n')
			line = strings.TrimRight(line, "\r\n")
			if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
			if err != nil {
				t.Fatalf("telnet ended before it showed %s: %v", pattern, err)
			}
		}
	}
	typed := func(line string) {
		t.Helper()
		if _, err := io.WriteString(stdin, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	until(`^Escape character is`)
	typed("new")
	id := until(`^ok ([0-9a-f]{32})$`)
	typed("put foo bar")
	until(`^ok$`)
	typed("get foo")
	until(`^ok bar$`)
	typed("close")
	until(`^ok$`)
	typed("open " + id)
	until(`^ok$`)
	typed("keys")
	until(`^ok foo$`)
	typed("get_all")
	until(`^ok a:1:\{s:3:"foo";s:3:"bar";\}$`)
	typed("nonsense")
	until(`^err UNKNOWN `)
	typed("destroy")
	until(`^ok$`)
	typed("quit")
	until(`^ok$`)
	_ = cmd.Wait() // the status is 1 when the server closes the connection
}

// TestRedisCLI runs every command by a real redis-cli, in both versions of its protocol.
func TestRedisCLI(t *testing.T) {
	cli := servertest.Program(t, "redis-cli")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"-2", "-3"} {
		t.Run(version, func(t *testing.T) {
			ran := map[string]bool{}
			run := func(lines ...string) []string {
				t.Helper()
				for _, line := range lines {
					name, _, _ := strings.Cut(line, " ")
					ran[name] = true
				}
				cmd := exec.Command(cli, version, "--no-raw", "-h", host, "-p", port)
				cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			}
			id := strings.Trim(run("new", "close")[0], `"`)
			if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
				t.Fatalf("the reply to new is %q", id)
			}
			null := map[string]string{"-2": "(nil)", "-3": "(nil)"}[version]
			got := run("open "+id, `put foo "two\nlines"`, "get foo", "get nothing", "exists foo", "exists nothing",
				"expire foo 60",
				"keys", "put a 1 b 2", "remove a nothing", "lifetime", "lifetime 600", "commit", "put foo bar", "close")
			want := []string{"OK", "OK", `"two\nlines"`, null, "(integer) 1", "(integer) 0", "OK",
				`1) "foo"`, "OK", "(integer) 1", "(integer) 1440", "OK", "OK", "(error) READONLY", "OK"}
			for i := range want {
				if i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
					t.Fatalf("line %d: got %q, want %s", i+1, got, want[i])
				}
			}
			all := strings.Join(run("open "+id+" u", "get_all", "put_all x 1", "get_all", "stat", "regenerate_id 5",
				"abort"), "\n")
			for _, want := range []string{"two\\nlines", `"x"`, "version"} {
				if !strings.Contains(all, want) {
					t.Errorf("no %s in:\n%s", want, all)
				}
			}
			rest := strings.Join(run("new", "destroy", "whoami", "ping", "ping hi", "echo hi", "help", "help put",
				"hello 3", "auth a/b c", "select 0",
				"client id", "command count", "command docs put", "info", "reset", "quit"), "\n")
			for _, want := range []string{"PONG", `"hi"`, "BADAUTH", "sets a value", "sessionserver_version", "RESET"} {
				if !strings.Contains(rest, want) {
					t.Errorf("no %s in:\n%s", want, rest)
				}
			}
			for name := range strings.FieldsSeq(servertest.Connect(t, s.addr).OK("help")) {
				if !ran[name] {
					t.Errorf("%s was not run", name)
				}
			}
		})
	}
}
