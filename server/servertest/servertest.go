package servertest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/server"
	"sessionserver/session"
	"sessionserver/storage"
	"sessionserver/storage/memory"
)

// Config describes a server. Its zero value is an ordinary server in memory.
type Config struct {
	Store    storage.Store    // default: in memory, closed with the test
	Settings session.Settings // default: Settings
	Observe  func(session.Event)
	Tenants  []server.Tenant // default: tenant test, with Settings and the app named app
	Options  server.Options  // Sessions and Tenants are set by Start; the default Policy is Permissive
	Listen   server.Listen   // default: loopback only, where clients act as test/app
}

// Server is a running server.
type Server struct {
	*server.Server
	Addr     string // host:port
	Sessions *session.Manager
}

// Start runs a server until the test ends.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Store == nil {
		store := memory.New(memory.Options{})
		t.Cleanup(func() { _ = store.Close() })
		cfg.Store = store
	}
	if cfg.Settings == (session.Settings{}) {
		cfg.Settings = Settings()
	}
	if cfg.Listen.Name == "" {
		cfg.Listen = server.Listen{Name: "test", Allow: Loopback, Anonymous: auth.Identity{Tenant: "test", App: "app"}}
	}
	sessions := session.NewManager(cfg.Store, session.Options{Observe: cfg.Observe})
	cfg.Options.Sessions = sessions
	if cfg.Options.Policy == nil {
		cfg.Options.Policy = Permissive{}
	}
	if cfg.Tenants == nil {
		cfg.Tenants = []server.Tenant{Tenant("test/app", "")}
		cfg.Tenants[0].Sessions = cfg.Settings
	}
	cfg.Options.Tenants = cfg.Tenants
	srv, err := server.New(cfg.Options)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, cfg.Listen) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx) // closes connections that a test left open
		if err := <-served; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return &Server{Server: srv, Addr: l.Addr().String(), Sessions: sessions}
}

// Settings returns the default settings without strict ids, since tests choose their ids.
func Settings() session.Settings {
	s := session.DefaultSettings()
	s.Strict = false
	return s
}

// Permissive is a policy that allows everything.
type Permissive struct{}

// Decide allows.
func (Permissive) Decide(context.Context, *policy.Input) (policy.Decision, error) {
	return policy.Decision{Allow: true}, nil
}

// Loopback contains the addresses of this machine, Everywhere all addresses.
var (
	Loopback = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("::1/128")}}
	Everywhere = auth.Allowlist{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"),
		netip.MustParsePrefix("::/0")}}
)

// Tenant returns a tenant with one app, given as tenant/app, that every address may use with this secret; "" is no
// secret.
func Tenant(name, secret string) server.Tenant {
	id, err := auth.ParseIdentity(name)
	if err != nil {
		panic(err)
	}
	app := auth.App{Name: id.App, Role: auth.ReadWrite}
	if secret != "" {
		app.Secrets = []auth.SecretHash{auth.HashSecret(secret)}
	}
	return server.Tenant{
		Tenant:   auth.Tenant{Name: id.Tenant, Access: Everywhere, Apps: []auth.App{app}},
		Sessions: Settings(),
	}
}

// Dial opens a connection to the server.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Addr)
}
