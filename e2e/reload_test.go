package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestReloadLoud breaks everything that is reloaded, one after the other. Each failure is an error in the log, in
// /status and in the metric, and SIGHUP does not report success. Once it is repaired, the server recovers by itself.
func TestReloadLoud(t *testing.T) {
	t.Parallel()
	server := &bundleServer{}
	server.put(packBundle(t, "signing secret", "one", "first"))
	web := httptest.NewServer(server)
	defer web.Close()
	b := deployment{
		listen: `[{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8], client_certificates: optional,
  client_ca: DIR/clients.pem}]`,
		tls: "{certificates: [{cert: DIR/one.pem, key: DIR/one.key}]}",
		settings: "policy:\n  bundle: {url: \"" + web.URL +
			"/p\", token_file: DIR/token, key_file: DIR/key, key_id: policies, algorithm: HS256, poll: 1h, keep: " +
			"DIR/kept}\n" +
			"admin: {address: \"127.0.0.1:0\", token_file: DIR/admin, certificate: DIR/own.pem, key: DIR/own.key}\n" +
			"audit: {output: DIR/log/audit}\nlog: {level: info}\n",
		tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\n"},
	}.write(t)
	servertest.Certificate{Name: "one.example"}.Write(t, b.dir, "one")
	servertest.Certificate{Name: "localhost"}.Write(t, b.dir, "own")
	servertest.Certificate{Name: "test", Authority: true}.Write(t, b.dir, "clients")
	password := strings.Repeat("t", 40)
	servertest.WriteFiles(t, b.dir, map[string]string{"token": "letmein\n", "key": "signing secret", "admin": password,
		"log/README": ""})
	b.process = serve(t, "--config", b.file)

	client := trusting(t, filepath.Join(b.dir, "own.pem"))
	_, port, _ := strings.Cut(b.admin, ":")
	ask := func(path string) string {
		status, text := servertest.Get(t, client, "https://localhost:"+port+path, "Authorization", "Bearer "+password)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, text)
		}
		return text
	}
	fails := func(what string) bool {
		var status struct {
			Reloads []struct {
				What, Error string
				OK          bool
			}
		}
		if err := json.Unmarshal([]byte(ask("/status")), &status); err != nil {
			t.Fatal(err)
		}
		for _, r := range status.Reloads {
			if r.What == what {
				if r.OK == (r.Error != "") {
					t.Errorf("%s: %+v", what, r)
				}
				return !r.OK
			}
		}
		t.Fatalf("/status does not name %s", what)
		return false
	}
	const success = "reloaded the rules for sessions"
	hangup := func() {
		t.Helper()
		reloads := func() int {
			return strings.Count(b.log(), success) + strings.Count(b.log(), "not everything was reloaded")
		}
		before := reloads()
		_ = b.cmd.Process.Signal(syscall.SIGHUP)
		require.Eventually(t, "the reload has ended", func() bool { return reloads() > before })
	}
	hangup()
	if strings.Count(b.log(), success) != 1 {
		t.Fatalf("a reload without a failure does not report success:\n%s", b.log())
	}
	for _, row := range []struct{ what, file, bad string }{
		{"policy", "key", "another secret"},
		{"policy", "token", "wrong"},
		{"policy", "key", ""},
		{"certificates", "one.pem", "nothing"},
		{"certificates", "one.key", "nothing"},
		{"certificates", "clients.pem", "nothing"},
		{"admin_certificate", "own.key", "nothing"},
		{"admin_token", "admin", "short"},
		{"tenants", "tenants.d/acme.yaml", "allow: nothing\n"},
	} {
		path := filepath.Join(b.dir, row.file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		replace := func(text string) {
			if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
		logged, before := len(b.log()), strings.Count(b.log(), success)
		replace(row.bad)
		hangup()
		if !fails(row.what) || strings.Count(b.log(), success) != before {
			t.Errorf("%s: SIGHUP with an invalid %s reports success", row.what, row.file)
		}
		if text := ask("/metrics"); !strings.Contains(text,
			"\nsessionserver_reload_last_successful{what=\""+row.what+"\"} 0\n") {
			t.Errorf("%s with an invalid %s: the metric does not show it", row.what, row.file)
		}
		if text := b.log()[logged:]; !strings.Contains(text, `"level":"ERROR","msg":"reload failed`) ||
			!strings.Contains(text, `"what":"`+row.what+`"`) {
			t.Errorf("%s with an invalid %s is not logged as an error:\n%s", row.what, row.file, text)
		}
		replace(string(good))
		require.Eventually(t, row.what+" works again without another SIGHUP",
			func() bool { return !fails(row.what) })
		hangup()
		if strings.Count(b.log(), success) != before+1 {
			t.Errorf("%s: SIGHUP after %s was repaired does not report success", row.what, row.file)
		}
	}

	// The key of the bundle is rotated: first the file, then the bundle, without a restart or SIGHUP.
	servertest.WriteFiles(t, b.dir, map[string]string{"key": "rotated secret"})
	hangup()
	server.put(packBundle(t, "rotated secret", "two", "second"))
	require.Eventually(t, "the bundle with the rotated key is used", func() bool {
		return strings.Contains(ask("/status"), `"revision": "two"`) && !fails("policy")
	})

	// The folder of the logs is missing at SIGHUP.
	if err := os.Rename(filepath.Join(b.dir, "log"), filepath.Join(b.dir, "away")); err != nil {
		t.Fatal(err)
	}
	hangup()
	if !fails("audit") {
		t.Error("an audit log that cannot be reopened is not shown")
	}
	if err := os.Rename(filepath.Join(b.dir, "away"), filepath.Join(b.dir, "log")); err != nil {
		t.Fatal(err)
	}
	require.Eventually(t, "the audit log is reopened", func() bool { return !fails("audit") })
	b.stop()
}
