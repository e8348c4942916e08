package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestReadmeTenant runs the commands that README shows for tenants beside a server.
func TestReadmeTenant(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    \./bin/sessionserver (.* --dev)$`).FindAllStringSubmatch(string(readme),
		-1)
	if len(commands) != 2 || !strings.Contains(string(readme),
		"\n    SESSIONSERVER_DSN='the whole DSN' ./bin/sessionserver dsn check\n") {
		t.Fatalf("README shows other commands: %q", commands)
	}
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
	var dsn string
	for _, c := range commands {
		cmd := exec.Command(binary(), append(strings.Fields(c[1]), "--state", state)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", c[1], err)
		}
		dsn = strings.TrimSpace(string(out))
	}
	if !strings.Contains(dsn, "@"+s.addr+"/") {
		t.Fatalf("the DSN does not name the server at %s", s.addr)
	}
	check := exec.Command(binary(), "dsn", "check")
	check.Env = append(os.Environ(), "SESSIONSERVER_DSN="+dsn)
	require.Eventually(t, "the app is known", func() bool {
		out, err := check.CombinedOutput()
		ok := err == nil && strings.Contains(string(out), "identity       acme/shop")
		check = exec.Command(check.Path, check.Args[1:]...)
		check.Env = append(os.Environ(), "SESSIONSERVER_DSN="+dsn)
		return ok
	})
}

// TestRedisClientsDoc runs the Python and the PHP of docs/redis-clients.md. The tenant of serve --dev is not strict,
// and still no session gets an id that the visitor chose.
func TestRedisClientsDoc(t *testing.T) {
	doc, err := os.ReadFile("../docs/redis-clients.md")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range []struct{ name, program, before, after string }{
		// Debian's Python, which has the library
		{"python", "/usr/bin/python3", "", "import sys\nprint(*visit(sys.argv[1]))\n"},
		{"php", "php", "<?php $_COOKIE['session'] = $argv[1];\n", "echo $id, ' ', $visits;\n"},
	} {
		t.Run(lang.name, func(t *testing.T) {
			path := servertest.Program(t, lang.program)
			_, code, found := strings.Cut(string(doc), "```"+lang.name+"\n")
			code, _, closed := strings.Cut(code, "```")
			if !found || !closed || !strings.Contains(code, "9090") {
				t.Fatalf("the document has no %s", lang.name)
			}
			file := filepath.Join(t.TempDir(), "visit")
			code = lang.before + strings.ReplaceAll(code, "9090", port) + lang.after
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			visit := func(cookie string) (id, visits string) {
				t.Helper()
				cmd := exec.Command(path, file, cookie)
				cmd.Stderr = t.Output()
				out, err := cmd.Output()
				words := strings.Fields(string(out))
				if err != nil || len(words) != 2 || !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(words[0]) {
					t.Fatalf("%q: %v, printed %q", cookie, err, out)
				}
				return words[0], words[1]
			}
			id, visits := visit("")
			if again, second := visit(id); again != id || visits != "1" || second != "2" {
				t.Errorf("visits %s, %s of %s, %s", visits, second, id, again)
			}
			for _, chosen := range []string{"chosen-by-the-visitor", "short", "not an id: has spaces"} {
				if id, visits := visit(chosen); visits != "1" {
					t.Errorf("the cookie %q results in visit %s of session %s", chosen, visits, id)
				}
			}
			if reply, err := servertest.Connect(t, s.addr).Do("open chosen-by-the-visitor u"); err == nil {
				t.Errorf("a session has the id that the visitor chose: %s", reply)
			}
		})
	}
}
