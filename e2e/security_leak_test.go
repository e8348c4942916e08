package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// needles are texts that must not be found, by description.
type needles map[string][]byte

// add adds a text in every form in which it could appear.
func (n needles) add(what, text string) {
	n[what] = []byte(text)
	n[what+", hex"] = []byte(hex.EncodeToString([]byte(text)))
	n[what+", HEX"] = []byte(strings.ToUpper(hex.EncodeToString([]byte(text))))
	// The base64 of a part depends on the position of the part.
	for skip := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(text[skip:]))
		n[fmt.Sprintf("%s, base64 %d", what, skip)] = []byte(encoded[:len(encoded)-2])
	}
	if strings.Trim(text, "0123456789abcdef") == "" {
		raw, _ := hex.DecodeString(text)
		n[what+", raw"] = raw
		n[what+", upper case"] = []byte(strings.ToUpper(text))
		n[what+", raw in base64"] = []byte(strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "=")[:20])
	}
}

// search fails for each needle in a text.
func (n needles) search(t *testing.T, where string, hay []byte) {
	t.Helper()
	for what, needle := range n {
		if at := bytes.Index(hay, needle); at >= 0 {
			t.Errorf("%s contains %s: …%q", where, what, hay[max(0, at-200):min(len(hay), at+len(needle)+20)])
		}
	}
}

// TestSecurityNothingLeaks runs the program through all common operations and mistakes. Secrets, session ids and values
// must not appear in its outputs, logs, files, command lines and environments.
func TestSecurityNothingLeaks(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"log", "file"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			leaks(t, driver)
		})
	}
}

func leaks(t *testing.T, driver string) {
	const value, key = "the-credit-card-number-of-4711", "a-key-that-says-too-much"
	stranger, mistyped := auth.NewSecret(), auth.NewSecret()
	secrets, ids, contents := needles{}, needles{}, needles{}
	secrets.add("a secret of no app", stranger)
	secrets.add("a secret in the wrong place", mistyped)
	contents.add("a value", value)
	contents.add("a key", key)
	hashes := needles{} // of ids, which only the storage may contain

	admin := auth.NewSecret()
	secrets.add("the token of operators", admin)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(admin), 0o600); err != nil {
		t.Fatal(err)
	}
	h := deployment{
		storage: "{driver: " + driver + ", path: DIR/state, sweep_interval: 50ms}",
		settings: "public_address: tls://localhost:9090\nlog: {level: debug}\n" +
			"admin: {address: \"127.0.0.1:0\", token_file: " + tokenFile +
			", profiles: true}\nlimits: {error_budget: 20, drain_timeout: 500ms}\n" +
			"rates: {auth_failures: {per_second: 1, burst: 4}}\nquotas: {sessions: 4, waiters: 1}\n" +
			"audit: {output: DIR/audit.log, decisions: {output: DIR/decisions.log, sample: 1}}\n",
		tenants: map[string]string{
			"mistaken": "allow: [127.0.0.1]\napps:\n  shop:\n    role: readwrite\n    secrets: [" + mistyped + "]\n",
			"mistake2": "allow: [127.0.0.1]\n" + mistyped + ": true\n",
			"mistake3": "allow: [" + mistyped + "]\napps:\n  " + mistyped + ": {role: " + mistyped +
				", certificates: [" + mistyped + ", 'dns:" + mistyped + "']}\n",
			"mistake4": "allow: [127.0.0.1]\nsession: {lifetime: " + mistyped + "}\nhosts: [" + mistyped +
				"]\nquotas: {bytes: " + mistyped + "}\n",
			"mistake5": "apps: {shop: {secrets: " + mistyped + "\n",
			"limited": "allow: [127.0.0.1]\nrates: {app: {per_second: 1, burst: 12}, session_creation: " +
				"{per_second: 1, burst: 1}}\nsession: {lock_lease: 1s, max_value: 64}\n",
		},
	}.serve(t)
	var printed bytes.Buffer // the outputs of subcommands
	// run runs a subcommand with a standard input.
	run := func(stdin string, args ...string) (stdout string) {
		t.Helper()
		cmd := exec.Command(binary(), args...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, failed bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &failed
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		proc(t, cmd.Process.Pid, &printed)
		_, _ = io.WriteString(in, stdin)
		_ = in.Close()
		_ = cmd.Wait()
		if len(args) > 1 && (args[1] == "create" || args[1] == "rotate") { // these commands alone print a secret
			return out.String()
		}
		fmt.Fprintf(&printed, "$ %.20q…\n%s%s", args[0], out.String(), failed.String())
		return out.String()
	}
	operator := func(args ...string) string { return run("", append(args, "--config", h.file)...) }

	// Subcommands of operators.
	operator("tenant", "create", "acme")
	dsns := map[string]string{}
	for _, app := range []string{"acme/shop", "acme/api", "limited/shop"} {
		dsns[app] = operator("app", "create", app)
		secrets.add("the secret of "+app, secretOf(t, dsns[app]))
	}
	good := secretOf(t, dsns["acme/shop"])
	require.Eventually(t, "the last app is known", func() bool {
		_, err := servertest.Connect(t, h.addr).Do("auth limited/shop " + secretOf(t, dsns["limited/shop"]))
		return err == nil
	})
	for _, args := range [][]string{{"tenant", "list"}, {"tenant", "show", "acme"}, {"app", "list", "acme"},
		{"tenant", "show", "mistaken"}} {
		operator(args...)
	}
	run("", "check", h.file)
	here := strings.Replace(strings.TrimSpace(dsns["acme/shop"]), "localhost:9090",
		strings.Replace(h.addr, "127.0.0.1", "localhost", 1), 1)
	for _, dsn := range []string{
		here, strings.Replace(here, good, stranger, 1), here + "&unknown=" + stranger,
		strings.Replace(here, ":", "::", 1), strings.Replace(here, "tls", "tsl", 1),
		strings.Replace(here, "/acme", "/ac me", 1), strings.Replace(here, "@", "@@", 1),
		strings.Replace(here, "@localhost", "%zz@localhost", 1),
		"tls://" + stranger + "@localhost:1/acme", stranger, "tcp://shop:" + good + "@" + h.addr + "/acme",
		"tls://shop:" + good + "@localhost:1/acme",
		strings.Replace(here, "localhost:", "localhost:"+stranger, 1),
		strings.Replace(here, "localhost", stranger+".invalid", 1),
	} {
		out := run(dsn, "dsn", "check", "-", "--timeout", "1s")
		if dsn == here && !strings.Contains(out, "acme") {
			t.Errorf("dsn check failed:\n%s", printed.String())
		}
	}

	// Secrets in wrong places.
	for _, args := range [][]string{{"tenant", "show", mistyped}, {"app", "list", mistyped},
		{"app", "revoke", "acme/" + mistyped}, {"app", "revoke", mistyped + "/shop"},
		{"app", "revoke", "acme/shop", "--secret", mistyped}, {"tenant", "delete", mistyped}} {
		operator(args...)
	}
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"anonymous: " + mistyped, "tenants: [" + mistyped, mistyped + ": 1",
		"session: {lifetime: " + mistyped + "}", "public_address: tls://shop:" + mistyped + "@localhost/acme"} {
		file := filepath.Join(t.TempDir(), "wrong.yaml")
		if err := os.WriteFile(file, append(bytes.Clone(text), (wrong+"\n")...), 0o600); err != nil {
			t.Fatal(err)
		}
		run("", "check", file)
		if err := os.WriteFile(h.file, append(bytes.Clone(text), (wrong+"\n")...), 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(h.log(), "reload failed")
		_ = h.cmd.Process.Signal(syscall.SIGHUP)
		require.Eventually(t, "the reload has failed", func() bool {
			return strings.Count(h.log(), "reload failed") > before
		})
	}
	if err := os.WriteFile(h.file, text, 0o600); err != nil {
		t.Fatal(err)
	}

	// Clients, with and without mistakes.
	learn := func(id string) string {
		ids.add("session id "+id[:4], id)
		sum := sha256.Sum256([]byte(id))
		hashes.add("the hash of session id "+id[:4], hex.EncodeToString(sum[:]))
		return id
	}
	a, b, c := h.connectAs(t, "acme/shop", good), h.connectTLS(t),
		h.connectAs(t, "acme/api", secretOf(t, dsns["acme/api"]))
	b.OK("auth acme/shop " + good)
	id := learn(a.OK("new"))
	a.OK("put " + key + " " + value)
	a.OK("close")
	own := learn("cookie-of-a-visitor-" + driver)
	b.OK("open " + own)
	b.OK("put " + key + " " + value)
	b.OK("commit")
	_, _ = b.Do("put " + key + " " + value) // READONLY
	b.OK("close")
	a.OK("open " + id)
	a.OK("put " + key + " " + value)
	a.OK("expire " + key + " 60")
	_, _ = fmt.Fprintf(b, "open %s rw 60000\r\n", id)
	require.Eventually(t, "one client waits", func() bool { return strings.Contains(c.OK("whoami"), " waiters=1 ") })
	c.Refused("open "+id+" rw 1000", "QUOTA")
	c.Refused("open "+id+" rw 0", "LOCKTIMEOUT")
	moved := learn(a.OK("regenerate_id 1"))
	a.OK("close")
	_, _ = b.In.ReadString('\n')
	_, _ = b.Do("destroy")
	c.Refused("open "+moved+" r", "NOTFOUND")
	for range 6 { // up to the quota
		fresh, err := c.Do("new")
		if err != nil {
			continue
		}
		learn(fresh)
		c.OK("put " + key + " " + value)
		if _, err := c.Do("close"); err != nil {
			c.OK("abort")
		}
	}
	lost, thief := h.connectAs(t, "limited/shop", secretOf(t, dsns["limited/shop"])),
		h.connectAs(t, "limited/shop", secretOf(t, dsns["limited/shop"]))
	shared := learn("locked-by-two-who-want-it")
	_, _ = lost.Do("open " + shared)
	_, _ = lost.Do("put " + key + " " + value)
	_, _ = thief.Do("open " + shared + " rw 3000") // gets the lock when the lease has expired
	for range 30 {
		_, _ = lost.Do("put " + key + " " + value) // LOCKLOST, and finally RATELIMITED
		_, _ = thief.Do("put " + key + " " + strings.Repeat(value, 10))
	}
	for _, line := range []string{
		"auth acme/shop " + stranger, "auth nobody/shop " + stranger, "auth " + stranger, "auth " + stranger +
			" acme/shop", stranger, "auth acme/" + stranger + " x",
		"open " + id, "open " + id + " u 0", "put " + key + " " + value, "get " + key, "client setname " + stranger,
		"echo " + value, "nonsense " + value, id,
		"open " + id + " " + stranger, "lifetime " + value, "new " + stranger, "select " + stranger, "help " + stranger,
		"hello " + stranger, "info " + stranger, "client " + stranger + " x",
	} {
		for _, c := range []*servertest.Conn{servertest.Connect(t, h.addr), h.connectAs(t, "acme/shop", good)} {
			_, _ = c.Do(line)
			_ = c.Close()
		}
	}
	for _, raw := range []string{
		"*3\r\n$4\r\nAUTH\r\n$9\r\nacme/shop\r\n$53\r\n" + stranger + "\r\n", "*2\r\n$4\r\nAUTH\r\n$53\r\n" + stranger +
			"\r\n", "*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$9\r\nacme/shop\r\n$53\r\n" + stranger +
			"\r\n$7\r\nSETNAME\r\n$53\r\n" + stranger + "\r\n",
		"*1\r\n$53\r\n" + stranger + "\r\n", "*" + stranger + "\r\n", "*1\r\n$" + stranger + "\r\n",
		"*3\r\n$4\r\nAUTH\r\n$9\r\nacme/shop\r\n$52\r\n" + stranger + "\r\n",
		"POST /" + stranger + " HTTP/1.1\r\n", "GET /" + stranger + " HTTP/1.1\r\nHost: " + stranger + "\r\n\r\n",
		"PROXY TCP4 " + stranger + "\r\n", "PROXY " + stranger + " " + id + "\r\n",
		"\x16\x03\x01\x00\x35" + stranger, "\x16" + stranger + id + value, "auth acme/shop " + stranger,
		strings.Repeat(stranger, 200),
	} {
		c := servertest.Connect(t, h.addr)
		_, _ = io.WriteString(c, raw)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c.In)
		_ = c.Close()
	}

	// Rotation, which ends connections.
	rotated := operator("app", "rotate", "acme/shop")
	secrets.add("the rotated secret", secretOf(t, rotated))
	operator("app", "list", "acme")
	operator("app", "revoke", "acme/shop", "--oldest")
	a.Rest()
	operator("app", "revoke", "acme/api")
	c.Rest()
	a = h.connectAs(t, "acme/shop", secretOf(t, rotated))

	// A shutdown in order, and a kill after the storage has failed.
	var life bytes.Buffer
	proc(t, h.cmd.Process.Pid, &life)
	a.OK("open " + own)
	for _, path := range []string{"/", "/status", "/metrics", "/readyz", "/debug/pprof/goroutine?debug=2",
		"/debug/pprof/cmdline", "/debug/pprof/heap?debug=1"} {
		for _, accept := range []string{"text/html", "*/*"} {
			status, text := servertest.Get(t, http.DefaultClient, "http://"+h.admin+path, "Accept", accept,
				"Authorization", "Bearer "+admin)
			if status != 200 {
				t.Errorf("%s: %d", path, status)
			}
			life.WriteString(text)
		}
	}
	h.stop()
	life.WriteString(h.stdout() + h.log())
	storage := filepath.Join(h.dir, "state")
	files(t, h.dir, func(path string, content []byte) {
		secrets.search(t, path, content)
		ids.search(t, path, content)
		if strings.HasPrefix(path, storage) {
			return
		}
		contents.search(t, path, content)
		if filepath.Base(path) != "audit.log" { // which identifies sessions by hashes
			hashes.search(t, path, content)
		}
	})
	for log, least := range map[string]int{"audit.log": 60, "decisions.log": 60} {
		if n := len(auditLines(t, filepath.Join(h.dir, log))); n < least {
			t.Errorf("%s has only %d lines", log, n)
		}
	}
	h.process = serve(t, "--config", h.file)
	a = h.connectAs(t, "acme/shop", secretOf(t, rotated))
	a.OK("open " + own)
	a.OK("put " + key + " " + value)
	entries, err := os.ReadDir(storage)
	require.NoError(t, err)
	for _, entry := range entries {
		_ = os.RemoveAll(filepath.Join(storage, entry.Name()))
	}
	if driver == "file" { // so that the folders cannot be created again
		_ = os.Remove(storage)
		_ = os.WriteFile(storage, nil, 0o600)
	}
	_, saved := a.Do("close")
	t.Logf("with the storage gone, the reply to close is %v", saved)
	_, _ = a.Do("open " + id + " r")
	_, _ = a.Do("open " + own + " r")
	_ = h.cmd.Process.Signal(syscall.SIGQUIT) // the runtime prints all stacks
	<-h.ended
	if !strings.Contains(h.log(), "goroutine ") {
		t.Error("SIGQUIT shows no stacks")
	}
	life.WriteString(h.stdout() + h.log())

	for where, hay := range map[string]*bytes.Buffer{"the server": &life, "a subcommand": &printed} {
		for _, n := range []needles{secrets, ids, contents, hashes} {
			n.search(t, where, hay.Bytes())
		}
	}
	if len(ids) < 20 || life.Len() < 20_000 || printed.Len() < 2000 {
		t.Errorf("too little to search: %d needles, %d and %d bytes", len(ids), life.Len(),
			printed.Len())
	}
	// The search is effective: the log contains names of tenants and apps, and addresses.
	if !bytes.Contains(life.Bytes(), []byte(`"acme"`)) || !bytes.Contains(life.Bytes(), []byte("127.0.0.1")) {
		t.Error("the log contains neither tenants nor addresses")
	}
	t.Logf("%d bytes of the server, %d of subcommands, %d needles", life.Len(), printed.Len(),
		len(secrets)+len(ids)+len(contents)+len(hashes))
}

// proc copies what every user of the machine can see of a process, and its environment.
func proc(t *testing.T, pid int, to io.Writer) {
	t.Helper()
	for _, name := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err == nil && name == "cmdline" {
			_, rest, _ := bytes.Cut(content, []byte{0})
			if bytes.Contains(rest, []byte("hss_")) { // one of the mistakes
				continue
			}
		}
		_, _ = to.Write(content)
	}
}

// files reads all files of a folder.
func files(t *testing.T, folder string, look func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		look(path, []byte(path)) // including the names
		if err != nil || !d.Type().IsRegular() || strings.Contains(d.Name(), "mistake") {
			return err
		}
		content, err := os.ReadFile(path)
		look(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
