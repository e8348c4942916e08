package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestReloadsRetry: what has failed is tried again after growing pauses until it works, and is logged again meanwhile.
func TestReloadsRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			log    syncBuffer
			mu     sync.Mutex // guards what follows
			last   error
			tries  []time.Duration
			broken = errors.New("it is broken")
		)
		tried := func() []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(tries)
		}
		r := newReloads(slog.New(slog.NewTextHandler(&log, nil)), func(_ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			last = err
		})
		began := time.Now()
		r.add("thing", func(context.Context) {
			mu.Lock()
			tries = append(tries, time.Since(began))
			err := broken
			mu.Unlock()
			r.note("thing", err)
		})
		r.add("other", func(context.Context) { t.Error("a thing that has not failed is read") })
		r.note("thing", nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.run(ctx); close(done) }()

		r.note("thing", errors.New("it is broken"))
		time.Sleep(2 * time.Minute)
		want := []time.Duration{1, 3, 7, 15, 31, 61, 91}
		for i := range want {
			want[i] *= time.Second
		}
		if got := tried(); !slices.Equal(got, want) {
			t.Errorf("tried after %v, want %v", got, want)
		}
		states := r.states()
		if len(states) != 1 || states[0].What != "thing" || states[0].OK || states[0].Error != "it is broken" {
			t.Errorf("the states are %+v", states)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("logged %d times in two minutes:\n%s", n, log.String())
		}
		time.Sleep(time.Hour)
		if n := strings.Count(log.String(), "level=ERROR"); n < 6 || n > 7 {
			t.Errorf("logged %d times in an hour:\n%s", n, log.String())
		}
		mu.Lock()
		broken = nil
		mu.Unlock()
		time.Sleep(retryMost)
		if states := r.states(); !states[0].OK || states[0].Error != "" {
			t.Errorf("after it works the states are %+v", states)
		}
		if !strings.Contains(log.String(), `msg="reloading works again" what=thing`) {
			t.Errorf("the end of the failure is not logged:\n%s", log.String())
		}
		before := len(tried())
		time.Sleep(time.Hour)
		if len(tried()) != before {
			t.Error("what works is tried again")
		}
		stop()
		<-done
		if last != nil {
			t.Errorf("counted last: %v", last)
		}
	})
}

// TestReloadBrokenOff: a look that the end of the server has broken off is neither an error nor a success.
func TestReloadBrokenOff(t *testing.T) {
	var log syncBuffer
	counted := 0
	r := newReloads(slog.New(slog.NewTextHandler(&log, nil)), func(string, error) { counted++ })
	broken := errors.New("it is broken")
	r.note("thing", broken)
	before := log.String()
	r.note("thing", fmt.Errorf("the default: %w", context.Canceled))
	r.note("other", context.Canceled)
	if log.String() != before || counted != 1 {
		t.Errorf("counted %d looks (want 1), logged:\n%s", counted, log.String())
	}
	if states := r.states(); len(states) != 1 || states[0].Error != broken.Error() {
		t.Errorf("the states are %+v, want the failure of before alone", states)
	}
}

// TestReloadLoud breaks everything that is reloaded, one after the other: the failure is an error in the log, in
// /status and in the metric, SIGHUP does not report success, and once it is mended the server finds out by itself.
func TestReloadLoud(t *testing.T) {
	t.Parallel()
	shelf := &bundles{}
	shelf.put(pack(t, "signing secret", "one", "first"))
	web := httptest.NewServer(shelf)
	defer web.Close()
	b := house{
		listen: `[{name: main, address: "127.0.0.1:0", allow: [127.0.0.0/8], client_certificates: optional,
  client_ca: DIR/clients.pem}]`,
		tls: "{certificates: [{cert: DIR/one.pem, key: DIR/one.key}]}",
		more: "policy:\n  bundle: {url: \"" + web.URL +
			"/p\", token_file: DIR/token, key_file: DIR/key, key_id: policies, algorithm: HS256, poll: 1h, keep: " +
			"DIR/kept}\n" +
			"admin: {address: \"127.0.0.1:0\", token_file: DIR/admin, certificate: DIR/own.pem, key: DIR/own.key}\n" +
			"audit: {output: DIR/log/audit}\nlog: {level: info}\n",
		tenants: map[string]string{"acme": "allow: [127.0.0.0/8]\n"},
	}.build(t)
	writePair(t, b.dir, "one", "one.example")
	writePair(t, b.dir, "own", "localhost")
	writeCertificate(t, filepath.Join(b.dir, "clients.pem"))
	password := strings.Repeat("t", 40)
	writeFiles(t, b.dir, map[string]string{"token": "letmein\n", "key": "signing secret", "admin": password,
		"log/README": ""})
	b.child = serve(t, "--config", b.file)

	client := trusting(t, filepath.Join(b.dir, "own.pem"))
	_, port, _ := strings.Cut(b.operators, ":")
	ask := func(path string) string {
		status, text := get(t, client, "https://localhost:"+port+path, "Authorization", "Bearer "+password)
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
		answers := func() int {
			return strings.Count(b.logged(), success) + strings.Count(b.logged(), "not everything was reloaded")
		}
		before := answers()
		_ = b.cmd.Process.Signal(syscall.SIGHUP)
		awaits(t, 30*time.Second, "SIGHUP is answered", func() bool { return answers() > before })
	}
	hangup()
	if strings.Count(b.logged(), success) != 1 {
		t.Fatalf("a reload without a fault does not report success:\n%s", b.logged())
	}
	for _, row := range []struct{ what, file, bad string }{
		{policyReload, "key", "another secret"},
		{policyReload, "token", "wrong"},
		{policyReload, "key", ""},
		{certificatesReload, "one.pem", "nothing"},
		{certificatesReload, "one.key", "nothing"},
		{certificatesReload, "clients.pem", "nothing"},
		{adminCertificateReload, "own.key", "nothing"},
		{adminTokenReload, "admin", "short"},
		{tenantsReload, "tenants.d/acme.yaml", "allow: nothing\n"},
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
		logged, before := len(b.logged()), strings.Count(b.logged(), success)
		replace(row.bad)
		hangup()
		if !fails(row.what) || strings.Count(b.logged(), success) != before {
			t.Errorf("%s: SIGHUP with a bad %s reports success", row.what, row.file)
		}
		if text := ask("/metrics"); !strings.Contains(text,
			"\nsessionserver_reload_last_successful{what=\""+row.what+"\"} 0\n") {
			t.Errorf("%s with a bad %s: the metric does not show it", row.what, row.file)
		}
		if text := b.logged()[logged:]; !strings.Contains(text, `"level":"ERROR","msg":"something was not reloaded`) ||
			!strings.Contains(text, `"what":"`+row.what+`"`) {
			t.Errorf("%s with a bad %s is no error in the log:\n%s", row.what, row.file, text)
		}
		replace(string(good))
		awaits(t, 30*time.Second, row.what+" works again without another SIGHUP",
			func() bool { return !fails(row.what) })
		hangup()
		if strings.Count(b.logged(), success) != before+1 {
			t.Errorf("%s: SIGHUP after %s was mended does not report success", row.what, row.file)
		}
	}

	// The key of the bundle is rotated: first the file, then the bundle, and neither a restart nor SIGHUP.
	writeFiles(t, b.dir, map[string]string{"key": "rotated secret"})
	hangup()
	shelf.put(pack(t, "rotated secret", "two", "second"))
	awaits(t, 60*time.Second, "the bundle with the rotated key is taken", func() bool {
		return strings.Contains(ask("/status"), `"revision": "two"`) && !fails(policyReload)
	})

	// The logs' folder is away at SIGHUP.
	if err := os.Rename(filepath.Join(b.dir, "log"), filepath.Join(b.dir, "away")); err != nil {
		t.Fatal(err)
	}
	hangup()
	if !fails(auditReload) {
		t.Error("an audit log that cannot be opened anew is not shown")
	}
	if err := os.Rename(filepath.Join(b.dir, "away"), filepath.Join(b.dir, "log")); err != nil {
		t.Fatal(err)
	}
	awaits(t, 30*time.Second, "the audit log is opened", func() bool { return !fails(auditReload) })
	b.stop()
}
