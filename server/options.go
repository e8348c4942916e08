package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/session"
	"sessionserver/wire"
)

// Options configure a Server. A zero field that has a default takes it.
type Options struct {
	Sessions *session.Manager // required

	// Tenants are all that there are; see Server.SetTenants.
	Tenants []Tenant

	// Policy decides about every command of somebody who has an identity. Required: what nobody has decided is denied.
	Policy policy.Engine

	// Audit is told of all that is in docs/audit.md about connections, sessions and operations, before it is answered. Nil remembers nothing.
	Audit *audit.Log

	// Commands are served beside the built-in ones; see Command.
	Commands []Command

	Limits         wire.Limits   // what one request may hold; default wire.DefaultLimits
	IdleTimeout    time.Duration // until a connection without a request is closed, if no session is open; default 10 min
	RequestTimeout time.Duration // until a request that was begun must be complete; default 30 s
	WriteTimeout   time.Duration // until a client must have read its replies; default 30 s
	MaxConns       int           // connections of all listeners; default 16,384
	MaxConnsPerIP  int           // connections of one address; default 4,096
	MaxRefusals    int           // refused connections that are kept for a moment, so that they read why; default 1,024
	ErrorBudget    int           // errors that a connection may make more than successes; default 64

	MaxMemory int64 // bytes of requests, replies and open sessions that connections hold at once, in steps of 4 KiB each; default 2 GiB

	// IdleInSessionTimeout is the time until a connection without a request is closed on which a session is open, and at
	// least the lease of its lock; default 1 h.
	IdleInSessionTimeout time.Duration

	LoginTimeout     time.Duration // until a connection must have said who it is; default 1 min
	HandshakeTimeout time.Duration // for a TLS handshake or a PROXY header; default 10 s
	HandshakesPerIP  int           // TLS handshakes of one address at once, further ones wait; default 64

	// By each address: how often bad credentials are heard, by default once a second, 20 at once; and what connections, TLS handshakes
	// and the commands before anybody has authenticated may cost, by default 4,000 a second, 8,000 at once.
	AuthFailures, Unauthenticated Rate

	Version  string       // told to clients; default "dev"
	Logger   *slog.Logger // default: nothing is logged
	Observer Observer     // default: nobody
}

// Listen says how the connections of one listener are treated.
type Listen struct {
	Name      string         // for logs and metrics
	Plaintext Plaintext      // who may speak without TLS
	TLS       *tls.Config    // nil: TLS is not served
	Allow     auth.Allowlist // who may connect. Unix sockets are guarded by the file system instead

	// Proxies are balancers: each of their connections must begin with a PROXY header, which is believed. A balancer that speaks for itself is
	// checking health: where Allow or Plaintext would refuse its own address, it is served and never gets an identity.
	Proxies []netip.Prefix

	Anonymous auth.Identity // who a connection is without credentials; zero is nobody
}

// Plaintext says which peers are served without TLS.
type Plaintext string

const (
	PlaintextLoopback Plaintext = "loopback" // those on this machine; the default
	PlaintextNever    Plaintext = "never"
	PlaintextAlways   Plaintext = "always"
)

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	number := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	limits := wire.DefaultLimits()
	number(&o.Limits.Line, limits.Line)
	number(&o.Limits.Value, limits.Value)
	number(&o.Limits.Request, limits.Request)
	number(&o.Limits.Args, limits.Args)
	set(&o.IdleTimeout, 10*time.Minute)
	set(&o.IdleInSessionTimeout, time.Hour)
	set(&o.RequestTimeout, 30*time.Second)
	set(&o.WriteTimeout, 30*time.Second)
	number(&o.MaxConns, 16<<10)
	number(&o.MaxConnsPerIP, 4<<10)
	number(&o.MaxRefusals, 1024)
	number(&o.ErrorBudget, 64)
	if o.MaxMemory == 0 {
		o.MaxMemory = 2 << 30
	}
	set(&o.LoginTimeout, time.Minute)
	set(&o.HandshakeTimeout, 10*time.Second)
	number(&o.HandshakesPerIP, 64)
	if o.AuthFailures == (Rate{}) {
		o.AuthFailures = Rate{PerSecond: 1, Burst: 20}
	}
	if o.Unauthenticated == (Rate{}) {
		o.Unauthenticated = Rate{PerSecond: 4000, Burst: 8000}
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = Unobserved{}
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if o.Sessions == nil {
		errs = append(errs, errors.New("server: Options.Sessions is required"))
	}
	if o.Policy == nil {
		errs = append(errs, errors.New("server: Options.Policy is required"))
	}
	if err := o.AuthFailures.validate(1); err != nil {
		errs = append(errs, fmt.Errorf("server: Options.AuthFailures %w", err))
	}
	if err := o.Unauthenticated.validate(BurstMin); err != nil {
		errs = append(errs, fmt.Errorf("server: Options.Unauthenticated %w", err))
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"IdleTimeout", int64(o.IdleTimeout)}, {"IdleInSessionTimeout", int64(o.IdleInSessionTimeout)}, {"RequestTimeout", int64(o.RequestTimeout)}, {"WriteTimeout", int64(o.WriteTimeout)},
		{"MaxConns", int64(o.MaxConns)}, {"MaxMemory", o.MaxMemory}, {"MaxConnsPerIP", int64(o.MaxConnsPerIP)}, {"MaxRefusals", int64(o.MaxRefusals)},
		{"ErrorBudget", int64(o.ErrorBudget)},
		{"LoginTimeout", int64(o.LoginTimeout)}, {"HandshakeTimeout", int64(o.HandshakeTimeout)}, {"HandshakesPerIP", int64(o.HandshakesPerIP)},
	} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("server: Options.%s is negative", field.name))
		}
	}
	return errors.Join(errs...)
}
