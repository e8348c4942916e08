package php_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hosts are the web hosts of a site. Each is a server of nginx with a pool of PHP-FPM.
var hosts = []string{"east", "west"}

// siteOptions holds the settings of a site.
type siteOptions struct {
	SavePath string // session.save_path
	Workers  int    // of each host
	Ini      map[string]string
}

// site is a web site on several hosts, with one nginx and one PHP-FPM. Both have their own configurations, folders and
// ports. The site serves testdata/web with the library prepended as in docs/php.md.
type site struct {
	tb   testing.TB
	dir  string
	urls map[string]string // by host
	gate *gate
}

// startSite starts a site and stops it at the end of the test. Both servers inherit listening sockets, so that no
// port can be taken meanwhile and requests need not wait for the servers.
func startSite(tb testing.TB, opts siteOptions) *site {
	tb.Helper()
	fpm, nginx := program(tb, "php-fpm8.2", "php-fpm"), program(tb, "nginx")
	s := &site{tb: tb, dir: tb.TempDir(), urls: map[string]string{}}
	s.open()
	s.gate = newGate(tb, filepath.Join(s.dir, "gate.sock"))
	s.copyCode()

	var tcp, unix []*os.File
	fpmSockets, nginxSockets := "", ""
	for i, host := range hosts {
		l, err := net.Listen("unix", s.socket(host))
		if err != nil {
			tb.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		s.must(os.Chmod(s.socket(host), 0o666))
		unix = append(unix, s.file(l))
		fpmSockets += fmt.Sprintf("%s=%d,", s.socket(host), 3+i)

		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			tb.Fatal(err)
		}
		tcp = append(tcp, s.file(l))
		nginxSockets += fmt.Sprintf("%d;", 3+i)
		s.urls[host] = "http://" + l.Addr().String()
	}
	s.write("fpm.conf", s.fpmConfig(opts))
	s.write("nginx.conf", s.nginxConfig())

	cmd := exec.Command(fpm, "--nodaemonize", "--fpm-config", filepath.Join(s.dir, "fpm.conf"))
	cmd.Env = append(os.Environ(), "FPM_SOCKETS="+strings.TrimSuffix(fpmSockets, ","))
	s.run(cmd, unix, false)
	cmd = exec.Command(nginx, "-p", s.dir, "-c", filepath.Join(s.dir, "nginx.conf"), "-e", "stderr")
	cmd.Env = append(os.Environ(), "NGINX="+nginxSockets)
	s.run(cmd, tcp, true)
	return s
}

// open gives the user of the workers access to the folder of the test.
func (s *site) open() {
	s.tb.Helper()
	s.must(os.Chmod(s.dir, 0o755))
	s.must(os.Chmod(filepath.Dir(s.dir), 0o755))
}

// copyCode copies the library and the pages to the folder, which the user of the workers can read.
func (s *site) copyCode() {
	s.tb.Helper()
	for from, to := range map[string]string{"src": "lib/src", "testdata/web": "web"} {
		s.must(os.CopyFS(filepath.Join(s.dir, to), os.DirFS(from)))
	}
	for _, name := range []string{"autoload.php", "register.php"} {
		code, err := os.ReadFile(name)
		s.must(err)
		s.write(filepath.Join("lib", name), string(code))
	}
}

func (s *site) socket(host string) string { return filepath.Join(s.dir, host+".sock") }

// file returns a listener as a file that a child can inherit, and closes the listener.
func (s *site) file(l net.Listener) *os.File {
	s.tb.Helper()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	s.must(err)
	s.must(l.Close())
	return f
}

// run starts a program with the given sockets, in blocking or nonblocking mode.
func (s *site) run(cmd *exec.Cmd, sockets []*os.File, nonblocking bool) {
	s.tb.Helper()
	cmd.ExtraFiles = sockets
	startChild(s.tb, cmd)
	for _, f := range sockets {
		s.must(syscall.SetNonblock(int(f.Fd()), nonblocking))
		s.must(f.Close())
	}
}

func (s *site) fpmConfig(opts siteOptions) string {
	var b strings.Builder
	b.WriteString("[global]\nerror_log = /proc/self/fd/2\nlog_limit = 8192\n")
	for _, host := range hosts {
		fmt.Fprintf(&b, "[%s]\nlisten = %s\nlisten.mode = 0666\n", host, s.socket(host))
		fmt.Fprintf(&b, "pm = static\npm.max_children = %d\n", opts.Workers)
		if os.Getuid() == 0 {
			fmt.Fprintf(&b, "user = %s\ngroup = %s\n", workerUser, workerUser)
		}
		b.WriteString("catch_workers_output = yes\ndecorate_workers_output = no\n")
		fmt.Fprintf(&b, "env[WEB_HOST] = %s\nenv[GATE] = %s\n", host, s.gate.path)
		ini := map[string]string{
			"auto_prepend_file":       filepath.Join(s.dir, "lib/register.php"),
			"session.save_path":       opts.SavePath,
			"session.use_strict_mode": "1",
			"session.gc_probability":  "0",
			"error_log":               "/proc/self/fd/2",
			"log_errors":              "1",
			"display_errors":          "0",
			"post_max_size":           "16M",
			"memory_limit":            "64M",
		}
		for name, value := range opts.Ini {
			ini[name] = value
		}
		for name, value := range ini {
			fmt.Fprintf(&b, "php_admin_value[%s] = %q\n", name, value)
		}
	}
	return b.String()
}

// workerUser is the user of PHP and nginx if root runs the tests.
const workerUser = "www-data"

func (s *site) nginxConfig() string {
	var b strings.Builder
	if os.Getuid() == 0 {
		fmt.Fprintf(&b, "user %s;\n", workerUser)
	}
	b.WriteString(`daemon off;
pid nginx.pid;
worker_processes 1;
error_log stderr warn;
events { worker_connections 512; }
http {
	access_log off;
	client_max_body_size 16m;
	client_body_temp_path body;
	fastcgi_temp_path fastcgi;
	proxy_temp_path proxy;
	scgi_temp_path scgi;
	uwsgi_temp_path uwsgi;
	fastcgi_read_timeout 120s;
	default_type text/plain;
`)
	for _, host := range hosts {
		fmt.Fprintf(&b, `	server {
		listen %s;
		server_name %s;
		root %s;
		location ~ \.php$ {
			fastcgi_pass unix:%s;
			fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
			fastcgi_param REQUEST_METHOD $request_method;
			fastcgi_param REQUEST_URI $request_uri;
			fastcgi_param QUERY_STRING $query_string;
			fastcgi_param CONTENT_TYPE $content_type;
			fastcgi_param CONTENT_LENGTH $content_length;
			fastcgi_param SERVER_PROTOCOL $server_protocol;
		}
	}
`, strings.TrimPrefix(s.urls[host], "http://"), host, filepath.Join(s.dir, "web"), s.socket(host))
	}
	b.WriteString("}\n")
	return b.String()
}

func (s *site) write(name, text string) {
	s.tb.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644))
}

func (s *site) must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}

// browser returns a client with the cookies of one visitor. Cookies apply to all hosts of a site, since they ignore
// ports.
func (s *site) browser() *visitor {
	s.tb.Helper()
	jar, err := cookiejar.New(nil)
	s.must(err)
	return &visitor{s, &http.Client{Jar: jar, Timeout: timeLimit}}
}

// visitor is an HTTP client with its own cookies.
type visitor struct {
	site *site
	http *http.Client
}

// response is the response of a page.
type response struct {
	Status int
	Host   string // the host that served the page
	PID    int    // the process id of the worker
	Body   string
}

// fetch requests a page from a host, by POST if there is a body.
func (v *visitor) fetch(host, page string, body io.Reader) (response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, v.site.urls[host]+"/"+page, body)
	if err != nil {
		return response{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	res, err := v.http.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return response{}, err
	}
	pid, _ := strconv.Atoi(res.Header.Get("X-Worker"))
	return response{res.StatusCode, res.Header.Get("X-Host"), pid, string(text)}, nil
}

// get requests a page and returns its response, which must be successful.
func (v *visitor) get(host, page string) response {
	v.site.tb.Helper()
	return v.send(host, page, nil)
}

// send is get with a body.
func (v *visitor) send(host, page string, body io.Reader) response {
	v.site.tb.Helper()
	a, err := v.fetch(host, page, body)
	if err != nil {
		v.site.tb.Fatal(err)
	}
	if a.Status != http.StatusOK || a.Host != host {
		v.site.tb.Fatalf("%s/%s: status %d from host %q: %s", host, page, a.Status, a.Host, a.Body)
	}
	return a
}

// expect requests a page whose body must be the given text.
func (v *visitor) expect(host, page, text string) response {
	v.site.tb.Helper()
	a := v.get(host, page)
	if a.Body != text {
		v.site.tb.Fatalf("%s/%s: body %q, want %q", host, page, a.Body, text)
	}
	return a
}

// start requests a page without waiting for the response.
func (v *visitor) start(host, page string) <-chan response {
	done := make(chan response, 1)
	go func() {
		a, err := v.fetch(host, page, nil)
		if err != nil {
			a = response{Body: err.Error()}
		}
		done <- a
	}()
	return done
}

// id returns the id of the visitor's session.
func (v *visitor) id() string {
	v.site.tb.Helper()
	u, err := url.Parse(v.site.urls[hosts[0]])
	v.site.must(err)
	for _, c := range v.http.Jar.Cookies(u) {
		if c.Name == "PHPSESSID" {
			return c.Value
		}
	}
	v.site.tb.Fatal("session cookie not found")
	return ""
}

// gate is a point at which scripts wait until the test lets them pass.
type gate struct {
	tb       testing.TB
	path     string
	arrivals chan *arrival

	mu   sync.Mutex
	open []net.Conn
}

// arrival is a script that waits at the gate.
type arrival struct {
	Message string
	conn    net.Conn
}

func newGate(tb testing.TB, path string) *gate {
	tb.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		tb.Fatal(err)
	}
	g := &gate{tb: tb, path: path, arrivals: make(chan *arrival, 256)}
	tb.Cleanup(func() {
		_ = l.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, conn := range g.open {
			_ = conn.Close()
		}
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.open = append(g.open, conn)
			g.mu.Unlock()
			go g.receive(conn)
		}
	}()
	return g
}

func (g *gate) receive(conn net.Conn) {
	var message []byte
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return
		}
		if b[0] == '\n' {
			g.arrivals <- &arrival{string(message), conn}
			return
		}
		message = append(message, b[0])
	}
}

// await returns the next script that waits at the gate.
func (g *gate) await() *arrival {
	g.tb.Helper()
	select {
	case a := <-g.arrivals:
		return a
	case <-time.After(timeLimit):
		g.tb.Fatal("no script reached the gate")
		return nil
	}
}

// pass lets the script continue.
func (a *arrival) pass() {
	_, _ = a.conn.Write([]byte("go\n"))
	_ = a.conn.Close()
}
