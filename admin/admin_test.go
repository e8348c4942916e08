package admin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef0123456789abcdef"

func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	o.Status = func() Status { return example }
	o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the metrics")
	})
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do serves a request, written "METHOD path", by the whole server.
func (s *Server) do(request string, change ...func(*http.Request)) *http.Response {
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:9180"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w.Result()
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

func certificate(r *http.Request) {
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
}

// unverified is a certificate that was not verified.
func unverified(r *http.Request) {
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
}

// TestAccess checks which requests are admitted, and the headers of all responses.
func TestAccess(t *testing.T) {
	loopback, tokens := Access{Loopback: true}, Access{Token: token}
	certs, both := Access{Certificates: true}, Access{Certificates: true, Token: token, Loopback: true}
	type change = func(*http.Request)
	for _, row := range []struct {
		name    string
		access  Access
		request string
		change  []change
		want    int
	}{
		{"loopback", loopback, "GET /status", nil, 200},
		{"loopback, head", loopback, "HEAD /status", nil, 200},
		{"loopback by name", loopback, "GET /status", []change{host("localhost:9180")}, 200},
		{"loopback by name without port", loopback, "GET /metrics", []change{host("LOCALHOST")}, 200},
		{"loopback, IPv6", loopback, "GET /status", []change{host("[::1]:9180")}, 200},
		{"loopback, IPv6 without port", loopback, "GET /status", []change{host("[::1]")}, 200},
		{"another loopback address", loopback, "GET /status", []change{host("127.1.2.3:80")}, 200},
		{"rebinding", loopback, "GET /status", []change{host("evil.example:9180")}, 403},
		{"rebinding, metrics", loopback, "GET /metrics", []change{host("evil.example")}, 403},
		{"rebinding, readiness", loopback, "GET /readyz", []change{host("evil.example")}, 403},
		{"rebinding by a name that begins well", loopback, "GET /status",
			[]change{host("localhost.evil.example:9180")}, 403},
		{"rebinding by a name that looks like an address", loopback, "GET /status",
			[]change{host("127.0.0.1.evil.example")}, 403},
		{"another address", loopback, "GET /status", []change{host("192.0.2.1:9180")}, 403},
		{"all addresses", loopback, "GET /status", []change{host("0.0.0.0:9180")}, 403},
		{"no host", loopback, "GET /status", []change{host("")}, 403},
		{"post", loopback, "POST /status", nil, 405},
		{"put", loopback, "PUT /", nil, 405},
		{"delete", loopback, "DELETE /metrics", nil, 405},
		{"options", loopback, "OPTIONS /status", nil, 405}, {"an unknown method", loopback, "BREW /", nil, 405},
		{"an unknown path", loopback, "GET /etc/passwd", nil, 404},
		{"no profiles", loopback, "GET /debug/pprof/", nil, 404},
		{"no profile", loopback, "GET /debug/pprof/heap", nil, 404},
		{"no command line", loopback, "GET /debug/pprof/cmdline", nil, 404},
		{"a Unix socket", Access{}, "GET /status", []change{host("anything")}, 200},

		{"no token", tokens, "GET /status", nil, 401},
		{"no token, metrics", tokens, "GET /metrics", nil, 401},
		{"no token, index", tokens, "GET /", nil, 401},
		{"no token, nothing there", tokens, "GET /nothing", nil, 401},
		{"no token, post", tokens, "POST /healthz", nil, 405},
		{"no token, health", tokens, "GET /healthz", nil, 200},
		{"no token, readiness", tokens, "GET /readyz", nil, 200},
		{"no token, near health", tokens, "GET /healthz/", nil, 401},
		{"no token, around health", tokens, "GET /healthz/../status", nil, 401},
		{"token", tokens, "GET /status", []change{bearer(token), host("sessions.example.com")}, 200},
		{"token, other case of the scheme", tokens, "GET /status",
			[]change{header("Authorization", "bearer "+token)}, 200},
		{"wrong token", tokens, "GET /status", []change{bearer(strings.ToUpper(token))}, 401},
		{"half a token", tokens, "GET /status", []change{bearer(token[:16])}, 401},
		{"more than a token", tokens, "GET /status", []change{bearer(token + "0")}, 401},
		{"an empty token", tokens, "GET /status", []change{bearer("")}, 401},
		{"another scheme", tokens, "GET /status", []change{header("Authorization", "Basic "+token)}, 401},
		{"a token in the address", tokens, "GET /status?token=" + token, nil, 401},
		{"a certificate instead of a token", tokens, "GET /status", []change{certificate}, 401},

		{"no certificate", certs, "GET /status", nil, 401}, {"no certificate, health", certs, "GET /healthz", nil, 200},
		{"certificate", certs, "GET /status", []change{certificate}, 200},
		{"unverified certificate", certs, "GET /status", []change{unverified}, 401},
		{"a token instead of a certificate", certs, "GET /status", []change{bearer(token)}, 401},
		{"either: certificate", both, "GET /status", []change{certificate}, 200},
		{"either: token", both, "GET /status", []change{bearer(token)}, 200},
		{"either: neither", both, "GET /status", nil, 401},
		{"token on the loopback, through a proxy", both, "GET /status",
			[]change{bearer(token), host("status.example.com")}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := newServer(t, Options{Access: row.access}).do(row.request, row.change...)
			if got.StatusCode != row.want {
				t.Errorf("%s: %d, want %d", row.request, got.StatusCode, row.want)
			}
			body, _ := io.ReadAll(got.Body)
			if got.StatusCode != 200 && strings.Contains(string(body), example.Version) {
				t.Errorf("the refusal shows the state: %s", body)
			}
			if got.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("pages of other origins may read the response")
			}
			for _, name := range []string{
				"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Cache-Control",
				"Referrer-Policy",
			} {
				if got.Header.Get(name) == "" {
					t.Errorf("no %s", name)
				}
			}
			challenge := got.Header.Get("WWW-Authenticate")
			if (challenge != "") != (row.want == 401 && row.access.Token != "") {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
		})
	}
}

// TestToken checks that an error about an invalid token does not contain it, and that a new token is in force at once.
func TestToken(t *testing.T) {
	for _, bad := range []string{
		"short-and-secret", token + " ", token[:20] + " " + token, token + "\x00", token + "é",
		strings.Repeat("x", 2000),
	} {
		_, err := New(Options{
			Access: Access{Token: bad}, Ready: func() error { return nil }, Status: func() Status { return Status{} },
		})
		if err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s := newServer(t, Options{Access: Access{Token: token}})
	next := strings.Repeat("n", TokenMin)
	if err := s.SetToken(next); err != nil {
		t.Fatal(err)
	}
	if err := s.SetToken("short"); err == nil {
		t.Error("a short token is accepted")
	}
	before := s.do("GET /status", bearer(token)).StatusCode
	after := s.do("GET /status", bearer(next)).StatusCode
	if before != 401 || after != 200 {
		t.Errorf("the old token gets %d, the new one %d", before, after)
	}
}

// TestReady checks that readiness has the reason, and does not affect health.
func TestReady(t *testing.T) {
	var reason error
	s := newServer(t, Options{Ready: func() error { return reason }})
	for _, reason = range []error{errors.New("starting"), nil, errors.New("draining")} {
		got := s.do("GET /readyz")
		body, _ := io.ReadAll(got.Body)
		status, text := 200, "ready\n"
		if reason != nil {
			status, text = 503, reason.Error()+"\n"
		}
		if got.StatusCode != status || string(body) != text {
			t.Errorf("%v: %d %q", reason, got.StatusCode, body)
		}
		if got := s.do("GET /healthz").StatusCode; got != 200 {
			t.Errorf("%v: health is %d", reason, got)
		}
	}
}

// example is a status with all fields set, and with HTML wherever another party chooses the text.
var example = Status{
	Version: "v1.2.3-example", Go: "go1.26", NotReady: "<script>alert(1)</script>",
	Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Uptime: Duration(90 * time.Minute),
	Listeners: []Listener{{
		Name: `"><b>`, Address: "[::]:9090", TLS: true, Plaintext: "loopback", ClientCertificates: "none",
		Allow: []string{"0.0.0.0/0", "::/0"},
	}},
	Certificates: []Certificate{{
		Source: "file", Names: []string{"a.example", "<i>"}, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}},
	Connections: Connections{Limit: 19, Configured: 16384, Descriptors: 64}, Log: Log{LostLines: 7},
	Tenants: Tenants{Served: 3, Problems: 1},
	Policy:  Policy{Source: "folder </td>", Revision: "abc", Error: "line 3: <no>"},
	Audit:   Audit{Output: "stdout", Decisions: "syslog", Error: "full & broken"},
	Storage: Storage{
		Driver: "log", Path: "/var/lib", Sync: "always", Error: "no space",
		SizeBytes: 5 << 20, FilesystemSizeBytes: 3 << 40, FilesystemAvailableBytes: 1 << 9,
	},
	Reloads: []Reload{{What: "configuration", OK: true}, {What: "tenants"}, {What: "policy", Error: "line 3: <no>"}},
}

// TestPages checks that pages are well-formed whatever text they contain, and that browsers get them.
func TestPages(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	s := newServer(t, Options{Profiles: true})
	for _, path := range []string{"/", "/status"} {
		got := s.do("GET "+path, header("Accept", browser))
		if kind := got.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/html") {
			t.Errorf("%s: %s", path, kind)
		}
		text, _ := io.ReadAll(got.Body)
		d := xml.NewDecoder(strings.NewReader(string(text)))
		d.Entity = xml.HTMLEntity
		elements := 0
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", path, err, text)
			}
			if start, is := token.(xml.StartElement); is {
				elements++
				if name := start.Name.Local; name == "script" || name == "b" || name == "i" || name == "no" {
					t.Errorf("%s: a foreign text became <%s>", path, name)
				}
			}
		}
		for _, want := range []string{
			"5 MiB on disk, 512 B of 3 TiB free", "the present one is not in force", "16384 are configured",
			"7 lines were lost", "stdout; decisions: syslog",
		} {
			if path == "/status" && !strings.Contains(string(text), want) {
				t.Errorf("the page lacks %q:\n%s", want, text)
			}
		}
		if elements < 10 || !strings.Contains(string(text), "<style>"+style+"</style>") {
			t.Errorf("%s: %d elements; the content policy may refuse the style\n%s", path, elements, text)
		}
	}
	for accept, page := range map[string]bool{
		"": false, "*/*": false, "application/json": false, browser: true, ";;": false,
		"text/html;q=0.5, application/json": false, "text/html, application/json;q=0.9": true,
	} {
		got := s.do("GET /status", header("Accept", accept))
		if kind := got.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/html") != page {
			t.Errorf("Accept: %s gets %s", accept, kind)
		}
		if page {
			continue
		}
		var state struct {
			Version string
			Uptime  float64
		}
		err := json.NewDecoder(got.Body).Decode(&state)
		if err != nil || state.Version != example.Version || state.Uptime != 5400 {
			t.Errorf("Accept: %s gets %+v, %v", accept, state, err)
		}
	}
}

// TestIndex checks that all links of the index work.
func TestIndex(t *testing.T) {
	s := newServer(t, Options{Profiles: true})
	text, _ := io.ReadAll(s.do("GET /").Body)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 5 {
		t.Errorf("the index has %d links, want 5:\n%s", len(lines), text)
	}
	for _, line := range lines {
		if path := strings.Fields(line)[0]; s.do("GET "+path).StatusCode != 200 {
			t.Errorf("%s is not found", path)
		}
	}
	if got := s.do("GET /debug/pprof/goroutine?debug=1"); got.StatusCode != 200 {
		t.Errorf("a profile: %d", got.StatusCode)
	}
}
