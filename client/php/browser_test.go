package php_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestBrowser uses a real browser to log in on one host, to read the cart on the other, and to log out of both.
func TestBrowser(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longLease)
	s := startSite(t, siteOptions{SavePath: "tcp://" + d.addr, Workers: 1})
	b := startChromium(t)
	visit := func(host string) {
		t.Helper()
		b.visit(s.urls[host] + "/shop.php")
		if got := b.text("#host"); got != host {
			t.Fatalf("the page is from host %s, want %s", got, host)
		}
	}

	visit("east")
	anonymous := b.cookie("PHPSESSID")
	b.fill("#name", "Zoë <b>")
	b.click("#login")
	if got := b.text("#user"); got != "Zoë <b>" {
		t.Errorf("user on east: %q", got)
	}
	loggedIn := b.cookie("PHPSESSID")
	if loggedIn == anonymous {
		t.Error("the log-in did not change the id of the session")
	}
	b.fill("#thing", "teapot 🫖")
	b.click("#add")
	b.text("#cart li")

	visit("west")
	if got := b.text("#user"); got != "Zoë <b>" {
		t.Errorf("user on west: %q", got)
	}
	if got := b.text("#cart li"); got != "teapot 🫖" {
		t.Errorf("cart on west: %q", got)
	}
	b.fill("#thing", "cup")
	b.click("#add")
	b.text("#cart li:nth-child(2)")

	visit("east")
	if got := b.text("#cart li:nth-child(2)"); got != "cup" {
		t.Errorf("cart on east: %q", got)
	}
	b.click("#logout")
	b.text("#login")
	visit("west")
	b.text("#login")
	visit("east")
	b.text("#login")
	if b.cookie("PHPSESSID") == loggedIn {
		t.Error("the id of the destroyed session is in use again")
	}
}

// chromium is a headless browser controlled through WebDriver (https://www.w3.org/TR/webdriver2/).
type chromium struct {
	tb      testing.TB
	session string // the URL of its WebDriver session
}

// startChromium starts a browser with its own profile, and stops it at the end of the test.
func startChromium(tb testing.TB) *chromium {
	tb.Helper()
	driver, binary := program(tb, "chromedriver"), program(tb, "chromium")
	profile, err := os.MkdirTemp("", "sessionserver-chromium")
	if err != nil {
		tb.Fatal(err)
	}
	// The last processes of the browser may still write there, so that tb.TempDir would fail.
	tb.Cleanup(func() { _ = os.RemoveAll(profile) })
	proc := startChild(tb, exec.Command(driver, "--port=0"))
	started := regexp.MustCompile(`started successfully on port (\d+)`)
	port := started.FindStringSubmatch(proc.await("chromedriver to listen", 1, started.MatchString)[0])[1]

	b := &chromium{tb: tb, session: "http://127.0.0.1:" + port + "/session"}
	var opened struct{ SessionID string }
	b.post("", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome",
		// The times to find an element and to load a page, in milliseconds.
		"timeouts": map[string]any{"implicit": timeLimit.Milliseconds(), "pageLoad": timeLimit.Milliseconds()},
		"goog:chromeOptions": map[string]any{"binary": binary, "args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
			"--no-first-run", "--no-proxy-server", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--user-data-dir=" + profile,
		}},
	}}}, &opened)
	b.session += "/" + opened.SessionID
	tb.Cleanup(func() { _ = b.command(http.MethodDelete, "", nil, nil) }) // ends the browser
	return b
}

func (b *chromium) visit(url string) { b.tb.Helper(); b.post("/url", map[string]any{"url": url}, nil) }

// text waits for an element and returns its text.
func (b *chromium) text(selector string) string {
	b.tb.Helper()
	var text string
	b.must(b.command(http.MethodGet, b.element(selector)+"/text", nil, &text))
	return text
}

func (b *chromium) click(selector string) {
	b.tb.Helper()
	b.post(b.element(selector)+"/click", map[string]any{}, nil)
}

// fill sets the text of a field by a script, since chromedriver cannot type characters outside the Basic Multilingual
// Plane.
func (b *chromium) fill(selector, text string) {
	b.tb.Helper()
	b.post("/execute/sync", map[string]any{
		"script": "document.querySelector(arguments[0]).value = arguments[1]", "args": []string{selector, text},
	}, nil)
}

func (b *chromium) cookie(name string) string {
	b.tb.Helper()
	var cookie struct{ Value string }
	b.must(b.command(http.MethodGet, "/cookie/"+name, nil, &cookie))
	return cookie.Value
}

// element waits for an element and returns its path.
func (b *chromium) element(selector string) string {
	b.tb.Helper()
	var found map[string]string
	b.post("/element", map[string]any{"using": "css selector", "value": selector}, &found)
	for _, id := range found {
		return "/element/" + id
	}
	b.tb.Fatalf("element %s not found", selector)
	return ""
}

func (b *chromium) post(path string, body, result any) {
	b.tb.Helper()
	b.must(b.command(http.MethodPost, path, body, result))
}

func (b *chromium) must(err error) {
	b.tb.Helper()
	if err != nil {
		b.tb.Fatal(err)
	}
}

// command sends a command to chromedriver and decodes its result.
func (b *chromium) command(method, path string, body, result any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, b.session+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * timeLimit}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var reply struct{ Value json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s %s: %s", method, path, text, strings.ReplaceAll(string(reply.Value), `\n`, "\n"))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Value, result)
}
