package metrics

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"sessionserver/server/servertest/require"
)

// scrape gets /metrics in the requested format.
func (w *monitored) scrape(accept string) (contentType, body string) {
	w.Helper()
	s := httptest.NewServer(w.Handler())
	defer s.Close()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, s.URL, nil)
	require.NoError(w, err)
	req.Header.Set("Accept", accept)
	resp, err := s.Client().Do(req)
	require.NoError(w, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	if resp.StatusCode != http.StatusOK {
		w.Fatalf("%s: %s", resp.Status, text)
	}
	return resp.Header.Get("Content-Type"), string(text)
}

// TestFormats checks that Prometheus gets the format that it asks for.
func TestFormats(t *testing.T) {
	w := newMonitored(t, Options{}, nil)
	for accept, want := range map[string]string{
		"": "text/plain; version=0.0.4",
		"application/openmetrics-text;version=1.0.0": "application/openmetrics-text; version=1.0.0",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;" +
			"encoding=delimited": "application/vnd.google.protobuf",
	} {
		got, body := w.scrape(accept)
		if !strings.HasPrefix(got, want) || !strings.Contains(body, "sessionserver_tenants") {
			t.Errorf("with Accept %q the type is %q, with %d bytes", accept, got, len(body))
		}
	}
}

// TestPromtool checks the metrics with the linter of Prometheus.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("SESSIONSERVER_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("needs promtool; make setup installs it")
	}
	w := newMonitored(t, Options{Version: "1.2.3", Revision: "abc"}, nil)
	everything(w)
	_, body := w.scrape("")
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(body)
	var output bytes.Buffer
	check.Stdout, check.Stderr = &output, &output
	if err := check.Run(); err != nil || output.Len() > 0 {
		t.Errorf("%v: %s", err, &output)
	}
}

// TestHistograms checks that each histogram has classic and native buckets.
func TestHistograms(t *testing.T) {
	w := newMonitored(t, Options{}, nil)
	everything(w)
	for _, f := range w.gather() {
		if f.GetType() != dto.MetricType_HISTOGRAM || !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		for _, m := range f.Metric {
			h := m.GetHistogram()
			if h.Schema == nil || len(h.Bucket) < 10 || len(h.Bucket) > 24 {
				t.Errorf("%s: native: %v, %d buckets", f.GetName(), h.Schema != nil, len(h.Bucket))
			}
		}
	}
}
