package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"sessionserver/configs"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
	"sessionserver/storage"
	"sessionserver/storage/memory"
	"sessionserver/storage/storagetest"
)

const onLoopback = "admin: {address: \"127.0.0.1:0\"}\n"

// TestReadyStart checks that operators can see that the server is starting while it opens its storage, and then that it
// is ready.
func TestReadyStart(t *testing.T) {
	open := make(chan struct{})
	drivers["slow"] = func(c configs.Storage, o openOptions) (storage.Store, error) {
		<-open
		return drivers["log"](c, o)
	}
	t.Cleanup(func() { delete(drivers, "slow") })
	file, _ := servertest.WriteConfig(t, "storage: {driver: slow, path: STATE}\n"+
		"admin: {address: \"unix:STATE.admin\"}\n")
	cfg, err := configs.Load(file, Inspect)
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(cfg.Admin.Address, "unix:")
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn,
		error) {
		return net.Dial("unix", socket)
	}}}
	defer client.CloseIdleConnections()

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		p, err := New(t.Context(), cfg, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = errors.Join(p.Run(ctx), p.Close())
		}
		ended <- err
	}()
	require.Eventually(t, "it listens for operators", func() bool { // the socket exists a moment before it accepts
		conn, err := net.Dial("unix", socket)
		return err == nil && conn.Close() == nil
	})
	if status, text := servertest.Get(t, client, "http://localhost/readyz"); status != 503 || text != "starting\n" {
		t.Errorf("readiness is %d %q", status, text)
	}
	if status, _ := servertest.Get(t, client, "http://localhost/healthz"); status != 200 {
		t.Errorf("health is %d", status)
	}
	if status, text := servertest.Get(t, client, "http://localhost/metrics"); status != 200 ||
		!strings.Contains(text, "\nsessionserver_ready 0\n") {
		t.Errorf("the metrics are %d %s", status, text)
	}
	if _, text := servertest.Get(t, client, "http://localhost/status"); !strings.Contains(text,
		`"not_ready": "starting"`) {
		t.Errorf("the status is %s", text)
	}
	if status, text := servertest.Get(t, client, "http://localhost/metrics"); status != 200 ||
		!strings.Contains(text, "sessionserver_build_info") ||
		strings.Contains(text, `last_successful{what="tenants"} 0`) { // or a long start would raise an alert
		t.Errorf("metrics while it starts: %d %s", status, text)
	}
	close(open)
	require.Eventually(t, "it is ready", func() bool {
		status, _ := servertest.Get(t, client, "http://localhost/readyz")
		return status == 200
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestStorageFails checks that repeated failures of the storage make the server not ready until operations succeed
// again.
func TestStorageFails(t *testing.T) {
	faulty := make(chan *storagetest.Faulty, 1)
	drivers["faulty"] = func(configs.Storage, openOptions) (storage.Store, error) {
		f := storagetest.NewFaulty(memory.New(memory.Options{}))
		faulty <- f
		return f, nil
	}
	t.Cleanup(func() { delete(drivers, "faulty") })
	file, _ := servertest.WriteConfig(t, "storage: {driver: faulty, path: STATE}\n"+onLoopback)
	cfg, err := configs.Load(file, Inspect)
	if err != nil {
		t.Fatal(err)
	}
	var logged servertest.Buffer
	p, err := New(t.Context(), cfg, Options{Version: "test", Logger: slog.New(slog.NewJSONHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	disk := <-faulty
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(p.Run(ctx), p.Close()) }()
	url := "http://" + p.operators.addr.String()
	readiness := func(want int) func() bool {
		return func() bool { status, _ := servertest.Get(t, http.DefaultClient, url+"/readyz"); return status == want }
	}
	require.Eventually(t, "it is ready", readiness(200))

	disk.Fail(storagetest.OpPut, errors.New("the disk has no space"))
	c := servertest.Connect(t, p.listeners[0].Addr().String())
	save := func() error {
		c.OK("new")
		c.OK("put foo bar")
		_, err := c.Do("close")
		if err != nil {
			_, _ = c.Do("abort")
		}
		return err
	}
	for range 3 {
		if err := save(); err == nil || !strings.Contains(err.Error(), "UNAVAILABLE") {
			t.Fatalf("a save on a disk without space: %v", err)
		} else if id := err.Error()[strings.LastIndex(err.Error(), " ")+1:]; !regexp.MustCompile(
			`"level":"ERROR".*"error_id":"` + id + `","command":"close".*the disk has no space`).MatchString(
			logged.String()) {
			t.Errorf("the client got the id %s, which is not in the log:\n%s", id, logged.String())
		}
	}
	if status, text := servertest.Get(t, http.DefaultClient, url+"/readyz"); status != 503 ||
		strings.Contains(text, "space") {
		t.Errorf("readiness is %d %q", status, text)
	}
	if _, text := servertest.Get(t, http.DefaultClient, url+"/status"); !strings.Contains(text,
		"put failed: the disk has no space") {
		t.Errorf("the status is %s", text)
	}
	if _, text := servertest.Get(t, http.DefaultClient, url+"/metrics"); !strings.Contains(text,
		`sessionserver_storage_errors_total{operation="put"} 3`) ||
		!strings.Contains(text, "sessionserver_sweep_lag_seconds 0") {
		t.Errorf("the metrics do not show the failure:\n%s", text)
	}
	disk.Fail(storagetest.OpPut, nil)
	if err := save(); err != nil {
		t.Error(err)
	}
	if !readiness(200)() {
		t.Error("it is not ready although the disk works again")
	}
	_ = c.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestStorageEnds checks that a server whose driver cannot continue reports that to operators while it drains, and then
// ends with the reason.
func TestStorageEnds(t *testing.T) {
	observers := make(chan storageObserver, 1)
	drivers["ending"] = func(_ configs.Storage, o openOptions) (storage.Store, error) {
		observers <- o.observer
		return memory.New(memory.Options{}), nil
	}
	t.Cleanup(func() { delete(drivers, "ending") })
	file, _ := servertest.WriteConfig(t, "storage: {driver: ending, path: STATE}\n"+
		"limits: {drain_timeout: 1m}\n"+onLoopback)
	cfg, err := configs.Load(file, Inspect)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(t.Context(), cfg, Options{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(p.Run(t.Context()), p.Close()) }()
	holder := servertest.Connect(t, p.Addrs()[0].String()) // prolongs the drain
	holder.OK("new")
	(<-observers).failed(errors.New("the disk is broken"))
	require.Eventually(t, "readiness shows the failure", func() bool {
		status, text := servertest.Get(t, http.DefaultClient, p.OperatorsURL()+"/readyz")
		return status == 503 && text == "failed: see the log\n"
	})
	if _, text := servertest.Get(t, http.DefaultClient, p.OperatorsURL()+"/status"); !strings.Contains(text,
		"the disk is broken") {
		t.Errorf("the status is %s", text)
	}
	_ = holder.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the storage failed: the disk is broken") {
		t.Errorf("it ended with %v", err)
	}
}
