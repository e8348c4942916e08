package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// TestMonitoring: a real Prometheus, with the configuration and the rules that are shipped, scrapes a server while two tenants, strangers and its operator keep it
// busy. Then every panel of every dashboard shows something, every recording rule has values, and every alert can be evaluated over metrics that there are.
func TestMonitoring(t *testing.T) {
	path := servertest.Program(t, "prometheus")
	b := newBusy(t)
	p := newPrometheus(t, path, b.operators)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				b.round(n)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })

	t.Run("rules", p.testRules)
	for _, name := range glob(t, dashboards) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".json"), func(t *testing.T) { p.testDashboard(t, name) })
	}
	for _, code := range []string{"NOAUTH", "BADAUTH", "DENIED", "RATELIMITED", "QUOTA", "LOCKTIMEOUT", "LOCKLOST"} {
		if _, heard := b.said.Load(code); !heard {
			t.Errorf("nobody was told %s: the scene lacks it", code)
		}
	}
	if dir := os.Getenv(drawEnv); dir != "" {
		p.draw(t, dir)
	}
}

const dashboards = "../configs/grafana/dashboards/*.json"

// prometheus is one that runs.
type prometheus struct {
	url     string
	started time.Time
}

// scrapes is how often it scrapes and evaluates rules here, instead of every 15 s.
const scrapes = 500 * time.Millisecond

// newPrometheus runs one with the shipped files, for one server.
func newPrometheus(t *testing.T, path, target string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "rules.yml", "alerts.yml"} {
		text := servertest.ReadFile(t, "../configs/prometheus/"+name)
		if name == "prometheus.yml" {
			before := text
			text = strings.ReplaceAll(strings.ReplaceAll(text, "15s", scrapes.String()), "127.0.0.1:9180", target)
			if text == before {
				t.Fatal("prometheus.yml does not scrape 127.0.0.1:9180 every 15s")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listens, ended := make(chan string, 1), make(chan string)
	go func() {
		var log strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			var entry struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "Listening on" {
				listens <- entry.Address
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
	case address := <-listens:
		p := &prometheus{url: "http://" + address, started: time.Now()}
		require.Eventually(t, "Prometheus is not ready", func() bool {
			answer, err := http.Get(p.url + "/-/ready")
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		})
		return p
	case log := <-ended:
		go func() { ended <- log }()
		t.Fatalf("Prometheus ended at once:\n%s", log)
	}
	return nil
}

// get asks Prometheus's API; what it answers other than success is an error.
func (p *prometheus) get(path string, args url.Values, data any) error {
	answer, err := http.Get(p.url + "/api/v1/" + path + "?" + args.Encode())
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	reply := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	if reply.Status != "success" {
		return fmt.Errorf("%s: %s", path, reply.Error)
	}
	return nil
}

// series is one of an answer.
type series struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

// points are a series's times and values.
func (s series) points(each func(at, value float64)) {
	for _, v := range append(s.Values, s.Value) { // it has the one or the other
		if text, ok := v[1].(string); ok {
			value, _ := strconv.ParseFloat(text, 64) // it writes numbers, NaN and Inf
			each(v[0].(float64), value)
		}
	}
}

// query evaluates an expression now, or over all the time since Prometheus was started.
func (p *prometheus) query(expr string, now bool) ([]series, error) {
	path, args := "query", url.Values{"query": {expr}}
	if !now {
		path = "query_range"
		args.Set("start", strconv.FormatInt(p.started.Unix(), 10))
		args.Set("end", strconv.FormatInt(time.Now().Unix(), 10))
		args.Set("step", "1")
	}
	var data struct{ Result []series } // of type matrix or vector
	err := p.get(path, args, &data)
	return data.Result, err
}

// answers waits until an expression has a value that is a number.
func (p *prometheus) answers(t *testing.T, what, expr string, now bool) {
	t.Helper()
	var err error
	for ; ; time.Sleep(scrapes / 2) { // it scrapes when it likes
		var all []series
		if all, err = p.query(expr, now); err != nil {
			break
		}
		found := false
		for _, s := range all {
			s.points(func(_, value float64) { found = found || !math.IsNaN(value) })
		}
		if found {
			return
		}
		if time.Since(p.started) > require.Patience {
			err = fmt.Errorf("%d series, and no number", len(all))
			break
		}
	}
	t.Errorf("%s: %v\n    %s", what, err, expr)
}

// testRules wants every rule to be evaluated without an error, recorded ones to have values, and alerts to ask only for what there is.
func (p *prometheus) testRules(t *testing.T) {
	var data struct {
		Groups []struct {
			Rules []struct{ Type, Name, Query, Health, LastError string }
		}
	}
	require.Eventually(t, "rules are not evaluated", func() bool {
		if err := p.get("rules", nil, &data); err != nil {
			t.Fatal(err)
		}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return false
				}
			}
		}
		return len(data.Groups) > 0
	})
	seen := map[string]int{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			seen[r.Type]++
			if r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if r.Type == "recording" {
				p.answers(t, r.Name, r.Name, true)
				continue
			}
			selectors := regexp.MustCompile(`[a-z_:]*(?:sessionserver|process)_[\w:]+(?:\{[^}]*\})?|up\{[^}]*\}`).FindAllString(r.Query, -1)
			if len(selectors) == 0 {
				t.Errorf("%s asks for nothing: %s", r.Name, r.Query)
			}
			for _, selector := range selectors {
				p.answers(t, r.Name, selector, true)
			}
		}
	}
	if seen["recording"] == 0 || seen["alerting"] == 0 {
		t.Errorf("there are rules %v", seen)
	}
}

// dashboard is what Prometheus is asked for one.
type dashboard struct {
	UID, Title  string
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct {
			Name, Type, AllValue string
			IncludeAll           bool
			Query                any
		}
	}
	Panels []panel
}

type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr, LegendFormat string
		Instant            bool
	}
	Options     struct{ TextMode string }
	FieldConfig struct {
		Defaults struct {
			Unit     string
			Max      float64
			Mappings []struct {
				Options map[string]struct{ Text, Color string }
			}
			Thresholds struct {
				Steps []struct {
					Color string
					Value float64
				}
			}
			Custom struct{ Stacking, ThresholdsStyle struct{ Mode string } }
		}
		Overrides []struct{ Matcher struct{ Options any } }
	}
}

// load reads a dashboard and puts values into its queries in place of variables, as Grafana does: all servers, a tenant, and an interval of four scrapes.
func (p *prometheus) load(t *testing.T, file string) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(servertest.ReadFile(t, file)), &d); err != nil {
		t.Fatal(err)
	}
	values := []string{"$__rate_interval", fmt.Sprintf("%dms", (4 * scrapes).Milliseconds())}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		query, ok := v.Query.(map[string]any)
		if !ok {
			t.Fatalf("%s: variable %s has the query %v", d.UID, v.Name, v.Query)
		}
		text := strings.NewReplacer(values...).Replace(query["query"].(string))
		m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s: variable %s asks for %s", d.UID, v.Name, text)
		}
		var found []string
		require.Eventually(t, "variable "+v.Name+" has no values", func() bool {
			if err := p.get("label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &found); err != nil {
				t.Fatal(err)
			}
			return len(found) > 0
		})
		value := found[0] // acme, among tenants
		if v.IncludeAll {
			value = v.AllValue
		}
		values = append(values, "$"+v.Name, value)
	}
	fill := strings.NewReplacer(values...)
	for i := range d.Panels {
		d.Panels[i].Title = fill.Replace(d.Panels[i].Title)
		for j := range d.Panels[i].Targets {
			d.Panels[i].Targets[j].Expr = fill.Replace(d.Panels[i].Targets[j].Expr)
		}
	}
	for i := range d.Annotations.List {
		d.Annotations.List[i].Expr = fill.Replace(d.Annotations.List[i].Expr)
	}
	return d
}

// testDashboard wants every query of a dashboard to be answered with numbers.
func (p *prometheus) testDashboard(t *testing.T, file string) {
	d := p.load(t, file)
	asked := 0
	for _, panel := range d.Panels {
		for _, q := range panel.Targets {
			asked++
			p.answers(t, panel.Title, q.Expr, q.Instant)
		}
	}
	for _, a := range d.Annotations.List {
		asked++
		p.answers(t, a.Name, a.Expr, false)
	}
	if asked < 10 {
		t.Errorf("the dashboard asks %d questions", asked)
	}
}

// busy is a server at which everything happens.
type busy struct {
	*hosted
	trust   *tls.Config
	secrets map[string]string // by app
	said    sync.Map          // codes that were heard
}

// newBusy serves two tenants: acme, which has quotas, and globex, whose apps are held to a rate.
func newBusy(t *testing.T) *busy {
	t.Helper()
	b := &busy{secrets: map[string]string{}}
	for _, app := range []string{"acme/shop", "acme/report", "globex/web"} {
		b.secrets[app] = auth.NewSecret()
	}
	reader := "  report:\n    role: readonly\n    secrets: [\"" + auth.HashSecret(b.secrets["acme/report"]).String() + "\"]\n"
	house := house{
		listen: `
  - {name: public, address: "127.0.0.1:0", allow: [127.0.0.0/8]}
  - {name: local, address: "unix:DIR/socket", anonymous: acme/shop}`,
		storage: "{driver: pebble, path: DIR/sessions, sync: always, sweep_interval: 100ms}",
		more: `admin: {address: "127.0.0.1:0"}
policy: {folder: DIR/policies}
audit: {output: DIR/audit.log}
rates: {session_creation: {per_second: 1000, burst: 10000}}
`,
		tenants: map[string]string{
			"acme": tenantFile("quotas: {sessions: 12, bytes: 1MiB, connections: 50, waiters: 10, memory: 8MiB}\nsession: {lifetime: 1s, lock_lease: 1s}",
				"shop "+b.secrets["acme/shop"]) + reader,
			"globex": tenantFile("rates: {app: {per_second: 400, burst: 60}}", "web "+b.secrets["globex/web"]),
		},
	}
	b.hosted = house.build(t)
	if err := os.Mkdir(filepath.Join(b.dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.policies(t, 0)
	b.child = serve(t, "--config", b.file)
	b.trust = b.hosted.trust(t)
	return b
}

// policies writes the shipped policy into the server's folder.
func (b *busy) policies(t testing.TB, n int) {
	text := servertest.ReadFile(t, "../configs/policies/default.rego") + fmt.Sprintf("\n# Change %d.\n", n)
	if err := os.WriteFile(filepath.Join(b.dir, "policies", "default.rego"), []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

// dial connects from an address of this machine, by TLS where a version is given.
func (b *busy) dial(from string, version uint16) (*servertest.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: require.Patience}
	nc, err := d.Dial("tcp", b.addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(require.Patience))
	if version != 0 {
		config := b.trust.Clone()
		config.MaxVersion = version
		secured := tls.Client(nc, config)
		if err := secured.Handshake(); err != nil {
			_ = nc.Close()
			return nil, err
		}
		nc = secured
	}
	return servertest.NewConn(b.t, nc), nil
}

// say sends lines, one after the other, and notes the codes of refusals. What is refused is part of the scene.
func (b *busy) say(c *servertest.Conn, lines ...string) (last string) {
	for _, line := range lines {
		answer, err := c.Do(line)
		if err != nil {
			if m := regexp.MustCompile(`: err ([A-Z]+) `).FindStringSubmatch(err.Error()); m != nil {
				b.said.Store(m[1], true)
			}
			continue
		}
		last = answer
	}
	return last
}

// as is a client of an app that does something and goes.
func (b *busy) as(app string, version uint16, do func(c *servertest.Conn)) {
	c, err := b.dial("127.0.0.1", version)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer c.Close()
	b.say(c, "auth "+app+" "+b.secrets[app])
	do(c)
	b.say(c, "quit")
}

// round lets everything happen once that dashboards and alerts are about.
func (b *busy) round(n int) {
	id := fmt.Sprintf("a-session-of-the-scene-%06d", n)
	for version, app := range map[uint16]string{tls.VersionTLS12: "acme/shop", tls.VersionTLS13: "globex/web"} {
		b.as(app, version, func(c *servertest.Conn) {
			b.say(c, "new", "put a b", "get a", "get nothing", "close")
			b.say(c, "open "+id, "put a b", "close", "open "+id, "put a c", "close", "open "+id+" r", "get_all", "close")
			b.say(c, "open "+id, "regenerate_id", "close", "open "+id, "destroy")
		})
	}
	// One holds a lock, a second gives up waiting for it, a third gets it.
	b.as("acme/shop", 0, func(holder *servertest.Conn) {
		b.say(holder, "open "+id+"-lock")
		b.as("acme/shop", 0, func(c *servertest.Conn) { b.say(c, "open "+id+"-lock rw 5") })
		b.as("acme/shop", 0, func(c *servertest.Conn) {
			if _, err := fmt.Fprintf(c, "open %s-lock\r\n", id); err != nil {
				return
			}
			b.say(holder, "put a "+strings.Repeat("x", 100<<10), "close")
			_, _ = c.In.ReadString('\n')
			b.say(c, "abort")
		})
	})
	// More than it may have or do: sessions, commands, keys, a role, a tenant of others, nobody at all.
	b.as("acme/shop", 0, func(c *servertest.Conn) {
		for range 4 {
			b.say(c, "new", "put a b", "close", "abort")
		}
	})
	b.as("globex/web", 0, func(c *servertest.Conn) {
		for range 80 {
			b.say(c, "whoami")
		}
	})
	b.as("acme/report", 0, func(c *servertest.Conn) { b.say(c, "open "+id+" r", "close", "open "+id+" rw", "new") })
	for _, line := range []string{"new", "auth acme/shop " + auth.NewSecret(), "nonsense"} {
		if c, err := b.dial("127.0.0.66", 0); err == nil {
			b.say(c, line)
			_ = c.Close()
		}
	}
	if c, err := b.dial("127.0.0.1", 0); err == nil { // what looks like TLS and is none
		_, _ = io.WriteString(c, "\x16\x03\x01\x00\x05hello")
		_, _ = c.In.ReadByte()
		_ = c.Close()
	}
	if nc, err := net.Dial("unix", filepath.Join(b.dir, "socket")); err == nil {
		_ = nc.SetDeadline(time.Now().Add(require.Patience))
		c := servertest.NewConn(b.t, nc)
		b.say(c, "whoami", "quit")
		_ = c.Close()
	}
	if n%10 == 5 {
		b.policies(b.t, n)
		b.tenantComment(n)
		_ = b.cmd.Process.Signal(syscall.SIGHUP)
	}
	if n%20 == 0 { // a lock is lost when its lease is over and another waits
		b.as("acme/shop", 0, func(holder *servertest.Conn) {
			b.say(holder, "open "+id+"-lost")
			b.as("acme/shop", 0, func(c *servertest.Conn) { b.say(c, "open "+id+"-lost rw 5000", "abort") })
			b.say(holder, "put a b")
		})
	}
}

// tenantComment changes the file of a tenant, and nothing that it says.
func (b *busy) tenantComment(n int) {
	file := filepath.Join(b.dir, "tenants.d", "globex.yaml")
	text, _, _ := strings.Cut(servertest.ReadFile(b.t, file), "# ")
	if err := os.WriteFile(file+".new", fmt.Appendf([]byte(text), "# Change %d.\n", n), 0o600); err != nil {
		b.t.Error(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		b.t.Error(err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("there is no %s: %v", pattern, err)
	}
	return names
}
