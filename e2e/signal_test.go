package e2e

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// slowStart starts a server that waits for its policies, which come from another server, until release is called.
func slowStart(t *testing.T) (h *instance, secret string, release func()) {
	t.Helper()
	const key = "signing secret"
	bundle := packBundle(t, key, "one", "the policy of the bundle")
	asked, released := make(chan struct{}, 16), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-released:
			_, _ = w.Write(bundle)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(web.Close)
	secret = auth.NewSecret()
	h = deployment{
		storage: "{driver: log, path: DIR/state}",
		settings: "policy: {bundle: {url: \"" + web.URL +
			"/b\", key_file: DIR/key, key_id: policies, algorithm: HS256, keep: DIR/kept}}\n" +
			"session: {lifetime: 1000s}\nlog: {level: info}\n",
		tenants: map[string]string{"acme": tenantFile("", "shop "+secret)},
	}.write(t)
	servertest.WriteFiles(t, h.dir, map[string]string{"key": key})
	h.process = start(t, "--config", h.file)
	select {
	case <-asked:
	case <-h.ended:
		t.Fatalf("the server ended at once: %v\n%s", h.err, h.log())
	}
	return h, secret, func() { close(released) }
}

// TestHangupWhileStarting checks that SIGHUP during the start is neither lost nor fatal. The reload follows the start.
func TestHangupWhileStarting(t *testing.T) {
	t.Parallel()
	h, secret, release := slowStart(t)
	text, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "lifetime: 1000s", "lifetime: 2000s", 1)
	if err := os.WriteFile(h.file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	release()
	require.Eventually(t, "the reload follows the start", func() bool {
		select {
		case <-h.ended:
			t.Fatalf("the server ended: %v\n%s", h.err, h.log())
		default:
		}
		return strings.Contains(h.log(), `"msg":"reloaded the rules`)
	})
	h.connectAs(t, "acme/shop", secret).Refused("new", "DENIED") // by the policy of the bundle
	h.stop()
}

// TestStopWhileStarting checks that a server that is asked to stop during a long start ends at once, without an error.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		h, _, _ := slowStart(t)
		if err := h.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		h.awaitExit()
		if logged := h.log(); !strings.Contains(logged, "stopped before anything was served") ||
			strings.Contains(logged, `"msg":"listening"`) ||
			strings.Contains(logged, `"level":"ERROR"`) {
			t.Errorf("%v: the log is\n%s", signal, logged)
		}
		// The storage was closed: the folder is free and valid.
		memory, _ := servertest.WriteConfig(t, "storage: {driver: log, path: "+h.dir+"/state}\n")
		serve(t, "--config", memory).stop()
	}
}

// TestSignalsWhileDraining checks that SIGHUP does not disturb a drain, and that a second signal to stop kills.
func TestSignalsWhileDraining(t *testing.T) {
	t.Parallel()
	for first, second := range map[syscall.Signal]syscall.Signal{syscall.SIGTERM: syscall.SIGINT,
		syscall.SIGINT: syscall.SIGTERM} {
		file, _ := servertest.WriteConfig(t, "storage: {driver: memory}\nlog: {level: info}\n"+
			"limits: {drain_timeout: 10m}\n")
		s := serve(t, "--config", file)
		servertest.Connect(t, s.addr).OK("new") // the drain waits for it
		send := func(signal syscall.Signal, logged string) {
			t.Helper()
			if err := s.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			require.Eventually(t, "the log has "+logged, func() bool { return strings.Contains(s.log(), logged) })
		}
		send(first, `"msg":"draining"`)
		send(syscall.SIGHUP, `"msg":"reloaded the rules`)
		if err := s.cmd.Process.Signal(second); err != nil {
			t.Fatal(err)
		}
		<-s.ended
		killed := (*exec.ExitError)(nil)
		if !errors.As(s.err, &killed) || killed.Sys().(syscall.WaitStatus).Signal() != second {
			t.Errorf("after %v and %v the server ended with %v", first, second, s.err)
		}
	}
}
