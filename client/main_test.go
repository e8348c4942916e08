package client_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"sessionserver/client"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
)

// TestMain runs a server for the examples. After the tests it fails if goroutines of the client are still running.
func TestMain(m *testing.M) {
	t := &mainTB{}
	srv := start(t, servertest.Config{Settings: session.DefaultSettings()})
	os.Setenv("SESSION_DSN", "tcp://shop:"+secret+"@"+srv.Addr+"/acme")
	code := m.Run()
	t.cleanUp()
	if stacks := leakedGoroutines(); stacks != "" && code == 0 {
		fmt.Fprintln(os.Stderr, "leaked goroutines:\n"+stacks)
		code = 1
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of the goroutines of the client that do not end.
func leakedGoroutines() string {
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		var b bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
		if !bytes.Contains(b.Bytes(), []byte("sessionserver/client.(")) {
			return ""
		}
		if time.Now().After(deadline) {
			return b.String()
		}
	}
}

// mainTB is a testing.TB for servertest outside any test.
type mainTB struct {
	testing.TB
	cleanups []func()
}

func (t *mainTB) Helper()                   {}
func (t *mainTB) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *mainTB) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (t *mainTB) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (t *mainTB) cleanUp() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

const secret = "hss_7Q2wS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tX"

// start runs a server with the app acme/shop.
func start(t testing.TB, cfg servertest.Config) *servertest.Server {
	t.Helper()
	if cfg.Tenants == nil {
		acme := servertest.Tenant("acme/shop", secret)
		if cfg.Settings != (session.Settings{}) {
			acme.Sessions = cfg.Settings
		}
		cfg.Tenants = []server.Tenant{acme, servertest.Tenant("dev/app", "")}
	}
	if cfg.Listen.Name == "" {
		cfg.Listen = server.Listen{Name: "test", Allow: servertest.Loopback}
	}
	return servertest.Start(t, cfg)
}

func dsnOf(srv *servertest.Server, parameters string) string {
	return "tcp://shop:" + secret + "@" + srv.Addr + "/acme" + parameters
}

// dial returns a client that is closed at the end of the test.
func dial(t testing.TB, dsn string, opts client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// save creates a session with the given values and returns its id.
func save(t testing.TB, c *client.Client, values map[string]string) string {
	t.Helper()
	s, err := c.New(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutMany(t.Context(), values); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.ID()
}

// network makes network connections for a client and can break all of them at once.
type network struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (n *network) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, nc)
	return nc, err
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, nc := range n.conns {
		nc.Close()
	}
	n.conns = nil
}

func open(t testing.TB, c *client.Client, id string, opts client.OpenOptions) *client.Session {
	t.Helper()
	s, err := c.Open(t.Context(), id, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// all returns values in the form "key=value " for comparisons, in order.
func all(v *client.Values) string {
	var b bytes.Buffer
	for key, value := range v.All() {
		fmt.Fprintf(&b, "%s=%s ", key, value)
	}
	return b.String()
}

// observer records the commands that a server runs, and the reasons for the end of its connections.
type observer struct {
	server.Unobserved
	closed chan server.CloseReason

	mu       sync.Mutex
	commands []string
}

func newObserver() *observer { return &observer{closed: make(chan server.CloseReason, 1000)} }

func (o *observer) ConnOpened(server.ConnInfo) server.ConnObserver { return o }
func (o *observer) Closed(reason server.CloseReason)               { o.closed <- reason }

func (o *observer) CommandRan(info server.CommandInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.commands = append(o.commands, info.Command)
}

// take returns the commands since the previous call.
func (o *observer) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.commands = nil }()
	return strings.Join(o.commands, " ")
}
