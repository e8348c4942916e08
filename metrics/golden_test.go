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

var update = flag.Bool("update", false, "write the table in docs/metrics.md anew")

const golden = "../docs/metrics.md"

var goVersion = runtime.Version()

// TestGolden: names, types, texts and labels are an interface. Values, and the families of the Go runtime and the process, are not in it.
func TestGolden(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	everything(w)
	var out bytes.Buffer
	out.WriteString(head)
	for _, f := range w.gather() {
		if strings.HasPrefix(f.GetName(), prefix) {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labelNames(f), f.GetHelp())
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
		t.Errorf("the families have changed: go test ./metrics -run Golden -update, and rules and dashboards after it\n%s", &out)
	}
}

// head is what the table of families begins with.
const head = "| name | type | labels | what |\n|---|---|---|---|\n"

// everything makes each family have a series at least.
func everything(w *world) {
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

// labelNames are those of a family's series.
func labelNames(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.Metric[0].Label {
		names = append(names, "`"+l.GetName()+"`")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
