package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/configs"
	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

const onLoopback = "admin: {address: \"127.0.0.1:0\"}\n"

// get asks for a page and answers its status and text.
func get(t *testing.T, client *http.Client, url string, header ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// TestReadyStart: while the storage is being opened operators hear that the server starts, and then that it is ready.
func TestReadyStart(t *testing.T) {
	open := make(chan struct{})
	drivers["slow"] = func(c configs.Storage, files int, log *slog.Logger, told storageObserver) (storage.Store, error) {
		<-open
		return drivers["pebble"](c, files, log, told)
	}
	t.Cleanup(func() { delete(drivers, "slow") })
	file, _ := config(t, "storage: {driver: slow, path: STATE}\nadmin: {address: \"unix:STATE.admin\"}\n")
	cfg, err := configs.Load(file, inspect)
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(cfg.Admin.Address, "unix:")
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	defer client.CloseIdleConnections()

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		p, err := assemble(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			err = errors.Join(p.run(ctx), p.close())
		}
		ended <- err
	}()
	eventually(t, "it listens for operators", func() bool { _, err := os.Stat(socket); return err == nil })
	if status, text := get(t, client, "http://localhost/readyz"); status != 503 || text != "starting\n" {
		t.Errorf("readiness is %d %q", status, text)
	}
	if status, _ := get(t, client, "http://localhost/healthz"); status != 200 {
		t.Errorf("health is %d", status)
	}
	if status, text := get(t, client, "http://localhost/metrics"); status != 200 || !strings.Contains(text, "\nsessionserver_ready 0\n") {
		t.Errorf("the metrics are %d %s", status, text)
	}
	if _, text := get(t, client, "http://localhost/status"); !strings.Contains(text, `"not_ready": "starting"`) {
		t.Errorf("the status is %s", text)
	}
	if status, text := get(t, client, "http://localhost/metrics"); status != 200 || !strings.Contains(text, "sessionserver_build_info") ||
		strings.Contains(text, `last_successful{what="tenants"} 0`) { // or a long start would raise an alert
		t.Errorf("metrics while it starts: %d %s", status, text)
	}
	close(open)
	eventually(t, "it is ready", func() bool { status, _ := get(t, client, "http://localhost/readyz"); return status == 200 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestReadyDrain: until the last connection has ended operators hear that the server drains.
func TestReadyDrain(t *testing.T) {
	file, _ := config(t, "storage: {driver: memory}\n"+onLoopback)
	s := serve(t, "--config", file)
	url := "http://" + s.operators
	eventually(t, "it is ready", func() bool { status, _ := get(t, http.DefaultClient, url+"/readyz"); return status == 200 })
	c := mustConnect(t, s.addr)
	c.mustAsk(t, "new") // which may be finished
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "it drains", func() bool {
		status, text := get(t, http.DefaultClient, url+"/readyz")
		return status == 503 && text == "draining\n"
	})
	if status, _ := get(t, http.DefaultClient, url+"/healthz"); status != 200 {
		t.Errorf("while it drains health is %d", status)
	}
	c.mustAsk(t, "close")
	s.hasEnded()
}

// trusting is a client that trusts the certificates in a file.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestAdminNetwork: beyond the loopback it is HTTPS, and nobody learns anything but health without a token or a certificate.
func TestAdminNetwork(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, "server", "localhost")
	writePair(t, dir, "operator", "operator.example")
	writePair(t, dir, "stranger", "stranger.example")
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("t", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(name string) *http.Client {
		c := trusting(t, filepath.Join(dir, "server.pem"))
		config := c.Transport.(*http.Transport).TLSClientConfig
		if name != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return c
	}
	settings := strings.ReplaceAll("admin: {address: \"0.0.0.0:0\", token_file: DIR/token, client_ca: DIR/operator.pem, certificate: DIR/server.pem, key: DIR/server.key, profiles: true}\n", "DIR", dir)
	file, _ := config(t, "storage: {driver: memory}\n"+settings)
	s := serve(t, "--config", file)
	_, port, _ := net.SplitHostPort(s.operators)
	url := "https://localhost:" + port
	for _, row := range []struct {
		what, certificate, path, token string
		want                           int
	}{
		{"health", "", "/healthz", "", 200}, {"readiness", "", "/readyz", "", 200},
		{"status for nobody", "", "/status", "", 401}, {"profiles for nobody", "", "/debug/pprof/", "", 401},
		{"wrong token", "", "/status", strings.Repeat("T", 40), 401},
		{"token", "", "/status", strings.Repeat("t", 40), 200}, {"certificate", "operator", "/status", "", 200},
		{"profiles", "operator", "/debug/pprof/heap", "", 200},
	} {
		if status, _ := get(t, client(row.certificate), url+row.path, "Authorization", "Bearer "+row.token); status != row.want {
			t.Errorf("%s: %d, want %d", row.what, status, row.want)
		}
	}
	if _, text := get(t, client("operator"), url+"/metrics"); !strings.Contains(text, "\nsessionserver_certificate_expiry_timestamp_seconds{name=\"localhost\",source=\"file\"} ") {
		t.Errorf("nobody is told when the certificate of operators ends:\n%s", text)
	}
	if answer, err := client("stranger").Get(url + "/status"); err == nil {
		_ = answer.Body.Close()
		t.Errorf("a certificate of nobody's gets %d", answer.StatusCode)
	}
	if answer, err := http.Get("http://localhost:" + port + "/healthz"); err == nil {
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("plaintext gets %d", answer.StatusCode)
		}
	}

	// SIGHUP reads the token anew; one that is none changes nothing.
	asked := func(token string) bool {
		status, _ := get(t, client(""), url+"/status", "Authorization", "Bearer "+token)
		return status == 200
	}
	if err := os.WriteFile(token, []byte(strings.Repeat("n", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the new token is taken", func() bool { return asked(strings.Repeat("n", 40)) })
	if asked(strings.Repeat("t", 40)) {
		t.Error("the old token is still good")
	}
	if err := os.WriteFile(token, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the log tells", func() bool { return strings.Contains(s.logged(), `"what":"admin_token"`) })
	if !asked(strings.Repeat("n", 40)) || asked("short") {
		t.Error("a token that is none has changed something")
	}
}

// TestAdminRefused: what would be open to others does not start.
func TestAdminRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "short"), []byte("too-short-a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		"admin: {address: \":0\"}":                                   "everybody could read there",
		"admin: {address: \":0\", token_file: /t}":                   "without TLS others could listen in",
		"admin: {address: \"127.0.0.1:0\", token_file: DIR/short}":   "a token of 17 characters",
		"admin: {address: \"127.0.0.1:0\", token_file: DIR/nothing}": "no such file",
	} {
		file, _ := config(t, "storage: {driver: memory}\n"+strings.ReplaceAll(settings, "DIR", dir)+"\n")
		for _, args := range [][]string{{"check", file}, {"serve", "--config", file}} {
			_, said, status := newCLI(t, "").run("", args...)
			if status == 0 || !strings.Contains(said, want) || strings.Contains(said, "too-short") {
				t.Errorf("%s: %s: %d:\n%s", settings, args[0], status, said)
			}
		}
	}
}

// TestStorageFails: operations that fail one after the other make the server not ready, although it goes on, until they succeed again.
func TestStorageFails(t *testing.T) {
	faulty := make(chan *storagetest.Faulty, 1)
	drivers["faulty"] = func(configs.Storage, int, *slog.Logger, storageObserver) (storage.Store, error) {
		f := storagetest.NewFaulty(memory.New(memory.Options{}))
		faulty <- f
		return f, nil
	}
	t.Cleanup(func() { delete(drivers, "faulty") })
	file, _ := config(t, "storage: {driver: faulty, path: STATE, cache: 1MiB}\n"+onLoopback)
	cfg, err := configs.Load(file, inspect)
	if err != nil {
		t.Fatal(err)
	}
	var logged syncBuffer
	p, err := assemble(t.Context(), cfg, slog.New(slog.NewJSONHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	disk := <-faulty
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(p.run(ctx), p.close()) }()
	url := "http://" + p.operators.addr.String()
	readiness := func(want int) func() bool {
		return func() bool { status, _ := get(t, http.DefaultClient, url+"/readyz"); return status == want }
	}
	eventually(t, "it is ready", readiness(200))

	disk.Fail(storagetest.OpPut, errors.New("the disk has no space"))
	c := mustConnect(t, p.listeners[0].Addr().String())
	save := func() error {
		c.mustAsk(t, "new")
		c.mustAsk(t, "put foo bar")
		_, err := c.ask("close")
		if err != nil {
			_, _ = c.ask("abort")
		}
		return err
	}
	for range 3 {
		if err := save(); err == nil || !strings.Contains(err.Error(), "UNAVAILABLE") {
			t.Fatalf("a save on a disk without space: %v", err)
		} else if id := err.Error()[strings.LastIndex(err.Error(), " ")+1:]; !regexp.MustCompile(
			`"level":"ERROR".*"error_id":"` + id + `","command":"close".*the disk has no space`).MatchString(logged.String()) {
			t.Errorf("the client was told of %s, of which the log says nothing:\n%s", id, logged.String())
		}
	}
	if status, text := get(t, http.DefaultClient, url+"/readyz"); status != 503 || strings.Contains(text, "space") {
		t.Errorf("readiness is %d %q", status, text)
	}
	if _, text := get(t, http.DefaultClient, url+"/status"); !strings.Contains(text, "put failed: the disk has no space") {
		t.Errorf("the status is %s", text)
	}
	if _, text := get(t, http.DefaultClient, url+"/metrics"); !strings.Contains(text, `sessionserver_storage_errors_total{operation="put"} 3`) ||
		!strings.Contains(text, "sessionserver_storage_cache_misses_total") || !strings.Contains(text, "sessionserver_sweep_lag_seconds 0") {
		t.Errorf("the metrics do not tell of it:\n%s", text)
	}
	disk.Fail(storagetest.OpPut, nil)
	if err := save(); err != nil {
		t.Error(err)
	}
	if !readiness(200)() {
		t.Error("it is not ready although the disk is mended")
	}
	_ = c.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// syncBuffer is a buffer that is written while it is read.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestReadyAudit: while the audit log cannot be written operators see why, and no clients are sent where nothing is done without it.
func TestReadyAudit(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("this system has no /dev/full")
	}
	for onFailure, ready := range map[string]int{"refuse": 503, "continue": 200} {
		secret := auth.NewSecret()
		h := house{
			more:    onLoopback + "audit: {output: DIR/audit.log, on_failure: " + onFailure + "}\n",
			tenants: map[string]string{"acme": tenantFile("", "shop "+secret)},
		}.serve(t)
		url := "http://" + h.operators
		turn := func(do func() error) {
			t.Helper()
			if err := errors.Join(do(), h.cmd.Process.Signal(syscall.SIGHUP)); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(h.dir, "audit.log")
		turn(func() error { return errors.Join(os.Remove(path), os.Symlink(full, path)) })
		awaits(t, 30*time.Second, onFailure+": the status tells of it", func() bool {
			_, text := get(t, http.DefaultClient, url+"/status")
			return strings.Contains(text, "the log cannot be written: ")
		})
		if status, text := get(t, http.DefaultClient, url+"/readyz"); status != ready || ready == 503 && !strings.HasPrefix(text, "the audit log cannot be written, ") {
			t.Errorf("%s: %d %s", onFailure, status, text)
		}
		turn(func() error { return os.Remove(path) })
		awaits(t, 30*time.Second, onFailure+": it is well again", func() bool {
			status, _ := get(t, http.DefaultClient, url+"/readyz")
			_, text := get(t, http.DefaultClient, url+"/status")
			return status == 200 && !strings.Contains(text, "cannot be written")
		})
	}
}
