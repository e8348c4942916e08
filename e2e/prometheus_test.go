package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sessionserver/e2e/dashboard"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// scrapeInterval is how often Prometheus scrapes and evaluates rules in tests, in place of every 15 s.
const scrapeInterval = 500 * time.Millisecond

// startPrometheus runs a real Prometheus with the shipped configuration and rules, which scrapes one server.
func startPrometheus(t *testing.T, program, target string) *dashboard.Prometheus {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "rules.yml", "alerts.yml"} {
		text := servertest.ReadFile(t, "../configs/prometheus/"+name)
		if name == "prometheus.yml" {
			shipped := text
			text = strings.NewReplacer("15s", scrapeInterval.String(), "127.0.0.1:9180", target).Replace(text)
			if text == shipped {
				t.Fatal("prometheus.yml does not scrape 127.0.0.1:9180 every 15s")
			}
		}
		servertest.WriteFiles(t, dir, map[string]string{name: text})
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--log.format=json")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	listening, ended := make(chan string, 1), make(chan string)
	go func() {
		var log strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			var entry struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "Listening on" {
				listening <- entry.Address
			}
		}
		_ = cmd.Wait()
		ended <- log.String()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	select {
	case address := <-listening:
		p := &dashboard.Prometheus{URL: "http://" + address, From: time.Now()}
		require.Eventually(t, "Prometheus is ready", func() bool {
			status, _ := servertest.Get(t, http.DefaultClient, p.URL+"/-/ready")
			return status == http.StatusOK
		})
		return p
	case log := <-ended:
		go func() { ended <- log }()
		t.Fatalf("Prometheus ended at once:\n%s", log)
	}
	return nil
}
