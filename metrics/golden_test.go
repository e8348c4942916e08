package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"sessionserver/server"
)

var update = flag.Bool("update", false, "rewrite the table in docs/metrics.md")

const golden = "../docs/metrics.md"

var goVersion = runtime.Version()

// TestGolden checks the names, types, texts and labels of all families, which are an interface. Values and the families
// of the Go runtime and the process are not.
func TestGolden(t *testing.T) {
	w := newMonitored(t, Options{}, nil)
	everything(w)
	var out bytes.Buffer
	out.WriteString(head)
	for _, f := range w.gather() {
		if strings.HasPrefix(f.GetName(), prefix) {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()),
				labelNames(f), f.GetHelp())
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	before, table, _ := strings.Cut(string(text), head)
	if *update {
		if err := os.WriteFile(golden, append([]byte(before), out.Bytes()...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if head+table != out.String() {
		t.Errorf("the families have changed: go test ./metrics -run Golden -update, and rules and dashboards after "+
			"it\n%s", &out)
	}
}

// head is the beginning of the table of families.
const head = "| name | type | labels | what |\n|---|---|---|---|\n"

// everything creates a series of each family.
func everything(w *monitored) {
	p := w.dialTLS()
	p.OK("new")
	p.Replies("close", "quit")
	c := w.Server().ConnOpened(server.ConnInfo{Listener: "main"})
	c.HandshakeFailed(server.HandshakeTimeout)
	c.Closed(server.PeerLeft)
	w.Storage()
	w.Swept(1, nil)
	w.Reloaded("tenants", nil)
	w.TenantProblems(0)
}

// labelNames returns the labels of the series of a family.
func labelNames(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.Metric[0].Label {
		names = append(names, "`"+l.GetName()+"`")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
