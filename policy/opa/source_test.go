package opa

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"sessionserver/policy"
)

// reloads holds the result of each reload.
type reloads chan error

func (c reloads) record(err error) { c <- err }

func (c reloads) next(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("no reload within the time limit")
		return nil
	}
}

func allows(t *testing.T, e *Engine, in policy.Input, want bool) {
	t.Helper()
	if d, err := e.Decide(t.Context(), &in); err != nil || d.Allow != want {
		t.Errorf("%s/%s: got %v %v, want %v", in.Tenant, in.App, d, err, want)
	}
}

// forApp returns a policy that allows only one app.
func forApp(app string) string { return rules(fmt.Sprintf("allow if input.app == %q", app)) }

func TestFolder(t *testing.T) {
	for name, poll := range map[string]bool{"reloads by the system": false, "by looking": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				t.Helper()
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("a.rego", forApp("one"))
			write("README.md", "no policy")
			write(".b.rego.swp", "garbage")
			source := Folder(dir).(*folder)
			source.settle, source.poll = 10*time.Millisecond, time.Hour
			if poll {
				source.settle, source.unsettled, source.poll = time.Millisecond, time.Millisecond, 10*time.Millisecond
				source.watch = false
			}
			reloaded := make(reloads, 100)
			e := mustStart(t, Options{Source: source, Reloaded: reloaded.record})
			reloaded.next(t)
			var running sync.WaitGroup
			defer running.Wait()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			running.Go(func() { e.Run(ctx) })

			app := func(name string) policy.Input { return policy.Input{Tenant: "acme", App: name} }
			allows(t, e, app("one"), true)

			until := func(want string, steps func()) {
				t.Helper()
				before := e.Status().Loaded
				steps()
				for {
					err := reloaded.next(t) // nil also for a read that finds the policies in force
					changed := !e.Status().Loaded.Equal(before)
					if want == "" && err == nil && changed ||
						want != "" && err != nil && strings.Contains(err.Error(), want) {
						return
					}
				}
			}
			until("", func() { write("a.rego", forApp("two")) })
			allows(t, e, app("one"), false)
			allows(t, e, app("two"), true)

			until("a.rego:", func() { write("a.rego", forApp("three")+"garbage {") })
			allows(t, e, app("two"), true)
			if s := e.Status(); s.Err == nil || !strings.Contains(s.Err.Error(), filepath.Join(dir, "a.rego")+":") ||
				s.Source != dir || s.Checked.Before(s.Loaded) {
				t.Errorf("status %+v", s)
			}

			until("test_x failed", func() {
				write("a.rego", forApp("three"))
				write("a_test.rego", "package t\n\ntest_x if data.sessionserver.authz.allow with input as "+
					"{\"app\": \"two\"}")
			})
			allows(t, e, app("two"), true)

			until("", func() {
				write("a_test.rego", "package t\n\ntest_x if data.sessionserver.authz.allow with input as "+
					"{\"app\": \"three\"}")
			})
			allows(t, e, app("three"), true)

			until("", func() { write("tenants/acme/a.rego", own("allow if input.command == \"get\"")) })
			allows(t, e, app("three"), false)
			allows(t, e, policy.Input{Tenant: "other", App: "three"}, true)

			until("", func() { os.RemoveAll(filepath.Join(dir, "tenants")) })
			allows(t, e, app("three"), true)
			if s := e.Status(); s.Err != nil {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestFolderOfLinks checks a folder like that of Kubernetes: each file is a link through a folder that is replaced.
func TestFolderOfLinks(t *testing.T) {
	dir := t.TempDir()
	for version, app := range map[string]string{"..1": "one", "..2": "two"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "a.rego"), []byte(forApp(app)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		_ = os.Remove(filepath.Join(dir, name))
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link("..data/a.rego", "a.rego")
	source := Folder(dir).(*folder)
	e := mustStart(t, Options{Source: source})
	allows(t, e, policy.Input{App: "one"}, true)
	before := source.fingerprint()
	link("..2", "..data")
	if source.fingerprint() == before {
		t.Error("the change is not detected")
	}
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	allows(t, e, policy.Input{App: "two"}, true)
}

// signer signs bundles.
type signer struct{ private, public string }

func (s signer) file() func() (string, error) { return fixed(s.public) }

func fixed(text string) func() (string, error) {
	return func() (string, error) { return text, nil }
}

func newSigner(t *testing.T) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signer{
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}
}

// pack returns a bundle of files. The zero signer does not sign.
func (s signer) pack(t *testing.T, revision string, files ...string) []byte {
	t.Helper()
	b := bundle.Bundle{Manifest: bundle.Manifest{Revision: revision}, Data: map[string]any{}}
	b.Manifest.Init()
	for i := 0; i < len(files); i += 2 {
		parsed, _ := ast.ParseModuleWithOpts(files[i], files[i+1], ast.ParserOptions{RegoVersion: ast.RegoV1})
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: files[i], Path: files[i], Raw: []byte(files[i+1]),
			Parsed: parsed})
	}
	if s.private != "" {
		if err := b.GenerateSignature(bundle.NewSigningConfig(s.private, "ES256", ""), "default", false); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	if err := bundle.NewWriter(&packed).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// bundleServer serves one bundle.
type bundleServer struct {
	mu        sync.Mutex
	bundle    []byte
	status    int
	requests  int
	unchanged int
}

func (s *bundleServer) put(bundle []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundle, s.status = bundle, http.StatusOK
}

func (s *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(s.bundle))
	switch {
	case r.Header.Get("Authorization") != "Bearer letmein":
		w.WriteHeader(http.StatusUnauthorized)
	case s.status != http.StatusOK:
		w.WriteHeader(s.status)
	case r.Header.Get("If-None-Match") == tag:
		s.unchanged++
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", tag)
		_, _ = w.Write(s.bundle)
	}
}

func letmein() (string, error) { return "letmein", nil }

func TestBundle(t *testing.T) {
	key, other := newSigner(t), newSigner(t)
	server := &bundleServer{}
	web := httptest.NewServer(server)
	defer web.Close()
	opts := BundleOptions{URL: web.URL + "/policy.tar.gz?secret=1", Token: letmein, Key: key.file(), Algorithm: "ES256",
		Keep: filepath.Join(t.TempDir(), "kept")}
	open := func(opts BundleOptions) (*Engine, error) {
		source, err := Bundle(opts)
		if err != nil {
			t.Fatal(err)
		}
		return start(t, Options{Source: source})
	}
	one, two := policy.Input{App: "one"}, policy.Input{App: "two"}

	server.put(other.pack(t, "1", "a.rego", forApp("one")))
	if _, err := open(opts); err == nil {
		t.Fatal("the engine started with a bundle signed by another key")
	}
	server.put(key.pack(t, "1", "a.rego", forApp("one")))
	e, err := open(opts)
	if err != nil {
		t.Fatal(err)
	}
	allows(t, e, one, true)
	if s := e.Status(); s.Revision != "1" || s.Err != nil || s.Kept || s.Source != web.URL+"/policy.tar.gz" {
		t.Errorf("status %+v", s)
	}
	if err := e.Reload(t.Context()); err != nil || server.unchanged != 1 {
		t.Errorf("got %v, and %d replies Not Modified, want 1", err, server.unchanged)
	}

	altered := key.pack(t, "2", "a.rego", forApp("two"))
	unsigned := signer{}.pack(t, "2", "a.rego", forApp("two"))
	for name, bad := range map[string][]byte{
		"another key": other.pack(t, "2", "a.rego", forApp("two")),
		"unsigned":    unsigned,
		"garbage":     []byte(strings.Repeat("garbage", 1000)),
		"cut short":   altered[:len(altered)-40],
		"empty":       {},
		"syntax":      key.pack(t, "2", "a.rego", forApp("two"), "b.rego", rules("allow if input.tenat")),
		"test fails":  key.pack(t, "2", "a.rego", forApp("two"), "a_test.rego", "package t\n\ntest_x if false\n"),
		"large":       bytes.Repeat([]byte{0}, fileMax+1),
	} {
		server.put(bad)
		if err := e.Reload(t.Context()); err == nil {
			t.Errorf("%s: accepted, want an error", name)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		allows(t, e, one, true)
		allows(t, e, two, false)
		if s := e.Status(); s.Err == nil || s.Revision != "1" {
			t.Errorf("%s: status %+v", name, s)
		}
	}
	server.mu.Lock()
	server.status = http.StatusInternalServerError
	server.mu.Unlock()
	if err := e.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("got %v", err)
	}

	server.put(key.pack(t, "22", "a.rego", forApp("two"), "tenants/acme/a.rego", own("allow if true"), "more.rego",
		"package more\n\nx := 1\n"))
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	allows(t, e, two, true)
	if s := e.Status(); s.Err != nil || s.Revision != "22" {
		t.Errorf("status %+v", s)
	}

	// The same policies with another signature are not loaded again, and are not sent twice. With another revision they
	// are loaded.
	server.put(key.pack(t, "22", "a.rego", forApp("two"), "tenants/acme/a.rego", own("allow if true"), "more.rego",
		"package more\n\nx := 1\n"))
	before, unchanged := e.Status().Loaded, server.unchanged
	for range 2 {
		if err := e.Reload(t.Context()); err != nil || !e.Status().Loaded.Equal(before) {
			t.Errorf("got %v, status %+v", err, e.Status())
		}
	}
	if server.unchanged != unchanged+1 {
		t.Errorf("the new bundle was sent twice")
	}
	server.put(key.pack(t, "23", "a.rego", forApp("two"), "tenants/acme/a.rego", own("allow if true"), "more.rego",
		"package more\n\nx := 1\n"))
	if err := e.Reload(t.Context()); err != nil || e.Status().Revision != "23" {
		t.Errorf("got %v, status %+v", err, e.Status())
	}

	// A restart without the server, and one with a server that has no valid bundle.
	server.put([]byte("garbage"))
	for range 2 {
		e, err := open(opts)
		if err != nil {
			t.Fatal(err)
		}
		allows(t, e, two, true)
		if s := e.Status(); !s.Kept || s.Err == nil || s.Revision != "23" || strings.Contains(s.Err.Error(), "secret") {
			t.Errorf("status %+v", s)
		}
		web.Close()
	}
	if err := os.WriteFile(filepath.Join(opts.Keep, keptName), unsigned, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(opts); err == nil {
		t.Error("the engine started with an unsigned kept bundle")
	}
}

// TestBundleKeyRotation checks that the key is read at each fetch. With another key the bundle in force is verified
// again, although it has not changed.
func TestBundleKeyRotation(t *testing.T) {
	old, next := newSigner(t), newSigner(t)
	server := &bundleServer{}
	web := httptest.NewServer(server)
	defer web.Close()
	key, failed := old.public, error(nil)
	source, err := Bundle(BundleOptions{
		URL: web.URL, Token: letmein, Algorithm: "ES256", Key: func() (string, error) { return key, failed },
	})
	if err != nil {
		t.Fatal(err)
	}
	server.put(old.pack(t, "1", "a.rego", forApp("one")))
	e := mustStart(t, Options{Source: source})
	reload := func(works bool, revision string) {
		t.Helper()
		if err := e.Reload(t.Context()); (err == nil) != works {
			t.Errorf("reloaded: %v", err)
		}
		if s := e.Status(); s.Revision != revision || (s.Err == nil) != works {
			t.Errorf("status %+v", s)
		}
	}
	reload(true, "1")
	key = next.public
	reload(false, "1") // the old signer is no longer trusted
	server.put(next.pack(t, "2", "a.rego", forApp("two")))
	reload(true, "2")
	if unchanged := server.unchanged; unchanged != 1 {
		t.Errorf("the server replied Not Modified %d times, want 1", unchanged)
	}
	failed = errors.New("no such file")
	reload(false, "2")
	failed = nil
	reload(true, "2")
	allows(t, e, policy.Input{App: "two"}, true)
}

// TestBundlePoll checks that a running engine loads another bundle, and that an engine starts although its server was
// down at first.
func TestBundlePoll(t *testing.T) {
	key := newSigner(t)
	server := &bundleServer{}
	web := httptest.NewServer(server)
	defer web.Close()
	source, err := Bundle(BundleOptions{URL: web.URL, Token: letmein, Key: key.file(), Algorithm: "ES256",
		Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server.put(key.pack(t, "1", "a.rego", forApp("one")))
	reloaded := make(reloads, 1000)
	e := mustStart(t, Options{Source: source, Reloaded: reloaded.record})
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	running.Go(func() { e.Run(ctx) })
	reloaded.next(t)
	server.put([]byte("garbage"))
	for reloaded.next(t) == nil { // as long as reads find the policies in force
	}
	if s := e.Status(); s.Revision != "1" {
		t.Errorf("invalid bundle accepted: %+v", s)
	}
	server.put(key.pack(t, "two", "a.rego", forApp("two")))
	for reloaded.next(t) != nil || e.Status().Revision != "two" {
	}
	allows(t, e, policy.Input{App: "two"}, true)
}

func TestBundleOptions(t *testing.T) {
	for want, opts := range map[string]BundleOptions{
		"URL":       {URL: "file:///etc/passwd", Key: fixed("k"), Algorithm: "HS256"},
		"algorithm": {URL: "https://example.com/x", Key: fixed("k"), Algorithm: "none"},
		"key":       {URL: "https://example.com/x", Algorithm: "HS256"},
	} {
		if _, err := Bundle(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about the %s", err, want)
		}
	}
}

// swapping is a file system that is replaced while its data is opened, after its module: permanently, or until its
// data is open.
type swapping struct {
	fs.FS
	once, twice sync.Once
	swap, back  func()
}

func (s *swapping) Open(name string) (fs.File, error) {
	if name != "data.json" {
		return s.FS.Open(name)
	}
	s.once.Do(s.swap)
	f, err := s.FS.Open(name)
	s.twice.Do(s.back)
	return f, err
}

// TestFolderNoMixture checks that a folder that is replaced while it is read is read again, so that no policy is a
// mixture.
func TestFolderNoMixture(t *testing.T) {
	dir := t.TempDir()
	for version, app := range map[string]string{"1": "one", "2": "two"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"data.json": `{"app": "` + app + `"}`,
			"a.rego": rules("allow if input.app == data.app\nallow if input.app == \"" + app + " too\"")} {
			if err := os.WriteFile(filepath.Join(dir, version, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, back := range []bool{false, true} {
		now := filepath.Join(dir, "now")
		to := func(version string) func() {
			return func() {
				if err := errors.Join(os.RemoveAll(now), os.Symlink(version, now)); err != nil {
					t.Error(err)
				}
			}
		}
		to("1")()
		source := Folder(now).(*folder)
		swap := &swapping{FS: os.DirFS(now), swap: to("2"), back: func() {}}
		if back {
			swap.back = to("1")
		}
		source.fsys = swap
		e := mustStart(t, Options{Source: source})
		for app, want := range map[string]bool{"one": back, "one too": back, "two": !back, "two too": !back} {
			allows(t, e, policy.Input{App: app}, want)
		}
	}
}
