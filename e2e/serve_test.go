package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestDev runs serve --dev as in README, and finds the sessions again after a restart.
func TestDev(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", state)
	c := servertest.Connect(t, s.addr)
	id := c.OK("new")
	c.OK("put foo bar")
	c.OK("close")
	s.stop()
	for _, want := range []string{"tcp://" + s.addr, "telnet 127.0.0.1", "new", "put foo bar"} {
		if !strings.Contains(s.stdout(), want) {
			t.Errorf("it does not print %q:\n%s", want, s.stdout())
		}
	}
	if strings.Contains(s.log()+s.stdout(), id) {
		t.Error("the session's id was printed")
	}

	secret := regexp.MustCompile(`tls://app:(hss_\w+)@` + regexp.QuoteMeta(s.addr) +
		`/dev\?cafile=\S+`).FindStringSubmatch(s.stdout())
	if secret == nil {
		t.Fatalf("it prints no DSN:\n%s", s.stdout())
	}
	if strings.Contains(s.log(), secret[1]) {
		t.Error("the secret was logged")
	}

	before := s.addr
	s = serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", state)
	check := exec.Command(binary(), "dsn", "check")
	// also valid after a restart
	check.Env = append(os.Environ(), "SESSIONSERVER_DSN="+strings.ReplaceAll(secret[0], before, s.addr))
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "identity       dev/app") {
		t.Errorf("dsn check: %v\n%s", err, out)
	}
	c = servertest.Connect(t, s.addr)
	c.OK("open " + id + " r")
	if got := c.OK("get foo"); got != "bar" {
		t.Errorf("after a restart foo is %q", got)
	}

	// The folder and the port belong to the running server.
	out, err := exec.Command(binary(), "serve", "--dev", "--listen", "127.0.0.1:0", "--state", state).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another process") {
		t.Errorf("a second server on the same folder: %v\n%s", err, out)
	}
	out, err = exec.Command(binary(), "serve", "--dev", "--listen", s.addr, "--state",
		filepath.Join(t.TempDir(), "other")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--listen") {
		t.Errorf("a second server on the same port: %v\n%s", err, out)
	}
}

// TestDevListen checks that DSNs contain the last address of the server, and only addresses that clients can use.
func TestDevListen(t *testing.T) {
	c := newCLI(t, "")
	socket := filepath.Join(t.TempDir(), "s")
	for i, row := range []struct{ listen, want string }{
		{"127.0.0.1:0", `tls://APP:hss_\w+@127\.0\.0\.1:PORT/dev\?cafile=`},
		{"0.0.0.0:0", `tls://APP:hss_\w+@127\.0\.0\.1:PORT/dev\?cafile=`},
		{"[::]:0", `tls://APP:hss_\w+@127\.0\.0\.1:PORT/dev\?cafile=`},
		{"unix:" + socket, `unix://APP:hss_\w+@` + regexp.QuoteMeta(socket) + `\?tenant=dev`},
	} {
		state := filepath.Join(c.Dir, "state", strconv.Itoa(i))
		s := serve(t, "--dev", "--listen", row.listen, "--admin", "127.0.0.1:0", "--state", state)
		want := strings.ReplaceAll(row.want, "PORT", s.addr[strings.LastIndex(s.addr, ":")+1:])
		require.Eventually(t, "the DSN is printed", func() bool {
			return regexp.MustCompile(strings.ReplaceAll(want, "APP", "app")).MatchString(s.stdout())
		})
		if strings.Contains(s.stdout(), "tcp://[::]") || strings.Contains(s.stdout(), "telnet ::") {
			t.Errorf("it prints an address that clients cannot use:\n%s", s.stdout())
		}
		dsn, stderr, status := c.Run("", "app", "create", "dev/more", "--dev", "--state", state)
		if status != 0 || !regexp.MustCompile("^"+strings.ReplaceAll(want, "APP", "more")).MatchString(dsn) {
			t.Errorf("%s: %d: it prints %q, want %s\n%s", row.listen, status, dsn, want, stderr)
		}
		require.Eventually(t, "the DSN works", func() bool {
			_, _, status := c.Run(strings.TrimSpace(dsn), "dsn", "check", "-")
			return status == 0
		})
	}
}

// TestDrain checks that SIGTERM lets an open session be saved, and that it is there after the next start.
func TestDrain(t *testing.T) {
	file, _ := servertest.WriteConfig(t, "storage: {driver: log, path: STATE}\n")
	s := serve(t, "--config", file)
	c := servertest.Connect(t, s.addr)
	id := c.OK("new")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// A draining server accepts no connections.
	for deadline := time.Now().Add(require.Patience); ; {
		other, err := servertest.Dial(s.addr)
		if err != nil {
			break
		}
		_ = other.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still accepts connections")
		}
	}
	c.OK("put foo bar")
	c.OK("close")
	s.awaitExit()
	s = serve(t, "--config", file)
	c = servertest.Connect(t, s.addr)
	c.OK("open " + id + " r")
	if got := c.OK("get foo"); got != "bar" {
		t.Errorf("foo is %q", got)
	}
}

// TestReload checks that SIGHUP applies new settings of sessions, and that an invalid file changes nothing.
func TestReload(t *testing.T) {
	file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\nsession: {lifetime: 1000s}\nlog: {level: info}\n")
	s := serve(t, "--config", file)
	c := servertest.Connect(t, s.addr)
	lifetime := func() string {
		t.Helper()
		c.OK("new")
		got := c.OK("lifetime")
		c.OK("abort")
		return got
	}
	reload := func(from, to, logged string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(s.log(), logged)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(require.Patience); strings.Count(s.log(), logged) == before; {
			if time.Now().After(deadline) {
				t.Fatalf("it does not log %q\n%s", logged, s.log())
			}
			time.Sleep(time.Millisecond) // a poll of the output, which cannot be awaited
		}
	}
	if got := lifetime(); got != "1000" {
		t.Errorf("lifetime %s", got)
	}
	reload("1000s", "0s", "reload failed")
	if got := lifetime(); got != "1000" {
		t.Errorf("after a failed reload: lifetime %s", got)
	}
	reload("0s", "2000s", "reloaded the rules for sessions, the quotas and rates of tenants, their files, those of "+
		"certificates and of policies, and the level of the log; everything else")
	if got := lifetime(); got != "2000" {
		t.Errorf("after a reload: lifetime %s", got)
	}
	if strings.Contains(s.log(), `"level":"DEBUG"`) {
		t.Error("it logs below the configured level")
	}
	reload("info", "debug", "reloaded the rules")
	_ = servertest.Connect(t, s.addr).Close() // connections are logged when they end
	require.Eventually(t, "the connection is logged at level debug", func() bool {
		return strings.Contains(s.log(), `"level":"DEBUG"`)
	})
	reload("debug", "error", "reloaded the rules")
}

// TestFolderOfAnotherDriver checks that a driver refuses the folder of another one, in which it would find no sessions.
func TestFolderOfAnotherDriver(t *testing.T) {
	file, _ := servertest.WriteConfig(t, "storage: {driver: log, path: STATE}\n")
	serve(t, "--config", file).kill()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "driver: log", "driver: file", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary(), "serve", "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to driver log, not file") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnixSocket serves on a Unix socket, also where a killed server has left one.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "config.yaml")
	text := "listen: [{name: local, address: \"unix:" + socket + "\", anonymous: dev/app}]\nstorage: {driver: memory}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, []byte("the notes of others"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary(), "serve", "--config", file).CombinedOutput()
	if notes, readErr := os.ReadFile(socket); err == nil || readErr != nil || string(notes) != "the notes of others" {
		t.Fatalf("a file that is not a socket was changed: %v, %v\n%s", err, readErr, out)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	serve(t, "--config", file).kill()
	serve(t, "--config", file)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	out, err = exec.Command(binary(), "serve", "--config", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "address already in use (another program listens there") {
		t.Errorf("a second server on the same socket: %v\n%s", err, out)
	}
}

// TestFatal checks that the error that ends a server is logged in the format of the log, with advice.
func TestFatal(t *testing.T) {
	file, state := servertest.WriteConfig(t, "storage: {path: STATE}\n")
	s := serve(t, "--config", file)
	mistaken, _ := servertest.WriteConfig(t, "storage: {driver: memory}\n"+
		"policy: {bundle: {url: \"http://127.0.0.1:1/b\", key_file: /none.pem, keep: STATE}}\n")
	text, _ := servertest.WriteConfig(t, "storage: {path: "+state+"}\nlog: {format: text}\n")
	for name, row := range map[string]struct {
		args []string
		json bool
		want string
	}{
		"storage":  {[]string{"--config", file}, true, "another server runs with this storage.path: end it"},
		"policies": {[]string{"--config", mistaken}, true, "cannot use the policies: "},
		"dev": {[]string{"--dev", "--listen", s.addr, "--admin", "127.0.0.1:0", "--state",
			filepath.Join(t.TempDir(), "dev")}, true, "choose another address and folder"},
		"text": {[]string{"--config", text}, false, "another server runs with this storage.path: end it"},
	} {
		_, stderr, status := newCLI(t, "").Run("", append([]string{"serve"}, row.args...)...)
		lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		var last struct{ Level, Err string }
		for _, line := range lines {
			if err := json.Unmarshal([]byte(line), &last); (err == nil) != row.json {
				t.Errorf("%s: the line %q: %v", name, line, err)
			}
		}
		if row.json && (last.Level != "ERROR" || !strings.Contains(last.Err, row.want)) || status != 1 ||
			!strings.Contains(stderr, row.want) {
			t.Errorf("%s: status %d, want %q\n%s", name, status, row.want, stderr)
		}
	}
}

// TestMistakes checks the message and the status for each mistake on the command line or in a file.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	wrong := write("wrong.yaml", "listen:\n  - {name: a, address: nowhere, anonymous: DEV, allow: [127.0.0.1]}\n"+
		"storage:\n  driver: floppy\nsession:\n  lifetime: 0s\n")
	for name, row := range map[string]struct {
		args   []string
		status int
		want   []string
	}{
		"no subcommand":       {nil, 0, []string{"serve", "check", "play", "bench", "version"}},
		"unknown subcommand":  {[]string{"dance"}, 2, []string{"dance"}},
		"serve without flags": {[]string{"serve"}, 2, []string{"--config", "--dev"}},
		"help": {[]string{"help"}, 0, []string{"Usage: sessionserver <command>", "serve", "tenant create",
			"Run \"sessionserver <command> --help\""}},
		"help serve": {[]string{"help", "serve"}, 0,
			[]string{"sessionserver serve (--config=FILE | --dev) [flags]"}},
		"help app create": {[]string{"help", "app", "create"}, 0,
			[]string{"sessionserver app create (--config=FILE | --dev) <tenant/app> [flags]"}},
		"help nothing": {[]string{"help", "nothing"}, 2, []string{"unexpected argument nothing"}},
		"serve --help": {[]string{"serve", "--help"}, 0,
			[]string{"sessionserver serve (--config=FILE | --dev) [flags]"}},
		"app create --help": {[]string{"app", "create", "--help"}, 0,
			[]string{"sessionserver app create (--config=FILE | --dev) <tenant/app> [flags]"}},
		"both":         {[]string{"serve", "--dev", "--config", "x"}, 2, []string{"--config", "--dev"}},
		"overrides":    {[]string{"serve", "--config", "x", "--state", "y"}, 1, []string{"--dev"}},
		"no such file": {[]string{"serve", "--config", filepath.Join(dir, "none")}, 1, []string{"no such file"}},
		"everything at once": {[]string{"check", write("bad.yaml", "storage:\n  sync: sometimes\nlog:\n"+
			"  level: loud\n")}, 1,
			[]string{"bad.yaml:2: storage.sync: \"sometimes\" (allowed: always, interval, never)",
				"bad.yaml:4: log.level: "}},
		"beyond configs": {[]string{"check", wrong}, 1,
			[]string{"wrong.yaml:2: listen[0].address", "wrong.yaml:2: listen[0].anonymous",
				"wrong.yaml:4: storage.driver", "wrong.yaml:6: session.lifetime"}},
		"driver and rules": {[]string{"check", write("rules.yaml",
			"storage: {driver: floppy}\nsession:\n  lifetime: 0s\n  grace_max: 9h\n")}, 1,
			[]string{"rules.yaml:1: storage.driver: \"floppy\" (allowed: file, log, memory)",
				"rules.yaml:3: session.lifetime: 0s (allowed: 1s",
				"rules.yaml:4: session.grace_max: 9h"}},
		"identity": {[]string{"check", write("id.yaml",
			"listen: [{name: a, address: \":1\", allow: [::1], anonymous: DEV}]\n")}, 1,
			[]string{"id.yaml:1: listen[0].anonymous: "}},
		"twice the same address": {[]string{"check", write("twice.yaml", "listen:\n"+
			"- {address: \":1\", allow: [::1]}\n- {address: \":1\", allow: [::1]}\n")}, 1,
			[]string{"twice.yaml:3: listen[1].address: \":1\" is the address of another listener"}},
		"no identity": {[]string{"check", write("none.yaml", "storage: {driver: memory}\n")}, 0,
			[]string{"note: listener main has no anonymous identity"}},
		"everybody anonymous": {[]string{"check", write("all.yaml", "listen: [{address: \":1\", allow: [0.0.0.0/0], "+
			"anonymous: a/b}]\n")}, 1,
			[]string{"all.yaml:1: listen[0].anonymous: anonymous access needs an allowlist narrower than everybody"}},
		"everybody in halves": {[]string{"check", write("halves.yaml", "listen: [{address: \":1\", allow: "+
			"[0.0.0.0/1, 128.0.0.0/1], anonymous: a/b}]\n")}, 1,
			[]string{"halves.yaml:1: listen[0].anonymous: "}},
		"everybody in IPv6": {[]string{"check", write("six.yaml", "listen: [{address: \":1\", allow: "+
			"[\"2000::/3\"], anonymous: a/b}]\n")}, 1,
			[]string{"six.yaml:1: listen[0].anonymous: "}},
		"reference": {[]string{"reference"}, 0, []string{"storage:\n", "drain_timeout: 20s"}},
		"interval files": {[]string{"check", write("sync.yaml", "storage: {driver: file, sync: interval}\n")}, 1,
			[]string{"sync.yaml:1: storage.sync: "}},
		"unknown setting": {[]string{"check", write("typo.yaml", "storage:\n  drivr: file\n")}, 1,
			[]string{"typo.yaml:2: storage.drivr: unknown setting (allowed: driver, "}},
		"fine": {[]string{"check", write("fine.yaml", "storage: {driver: memory}\nlog: {level: debug}\n")},
			0, []string{": OK"}},
		"version": {[]string{"version"}, 0, []string{"sessionserver v0.0.0-test"}},
		"play nothing": {[]string{"play", write("t.txt", "C: ping\nS: ok PONG\n"), "--addr", "127.0.0.1:1"}, 1,
			[]string{"connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binary(), row.args...)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != row.status {
				t.Errorf("status %d, want %d", cmd.ProcessState.ExitCode(), row.status)
			}
			for _, want := range row.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if t.Failed() {
				t.Logf("the output is:\n%s", out)
			}
		})
	}
}

// TestPlay plays a correct and a wrong transcript.
func TestPlay(t *testing.T) {
	s := serve(t, "--dev", "--listen", "127.0.0.1:0", "--state", filepath.Join(t.TempDir(), "state"))
	out, err := exec.Command(binary(), "play", "--addr", s.addr,
		"../server/testdata/transcripts/seed.txt").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "wrong.txt")
	if err := os.WriteFile(file, []byte("C: ping\nS: ok pong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.Command(binary(), "play", "--addr", s.addr, file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "wrong.txt:2: ") ||
		!strings.Contains(string(out), "received: S: ok PONG") {
		t.Errorf("%v\n%s", err, out)
	}
}
