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

// Options configure a Server. A zero field takes its default, if it has one.
type Options struct {
	Sessions *session.Manager // required

	// Tenants are all tenants; see Server.SetTenants.
	Tenants []Tenant

	// Policy decides about every command of an authenticated client. It is required: an undecided command is refused.
	Policy policy.Engine

	// Audit records the events of docs/audit.md about connections, sessions and operations, before the reply is sent.
	// Nil records nothing.
	Audit *audit.Log

	// Commands are served in addition to the built-in ones; see Command.
	Commands []Command

	Limits         wire.Limits   // limits of one request; default wire.DefaultLimits
	IdleTimeout    time.Duration // for a connection without a request and without an open session; default 10 min
	RequestTimeout time.Duration // for a request to be complete; default 30 s
	WriteTimeout   time.Duration // for a client to read its replies; default 30 s
	MaxConns       int           // connections of all listeners; default 16,384
	MaxConnsPerIP  int           // connections of one address; default 4,096
	MaxRefusals    int           // refused connections kept open until they have read the reason; default 1,024
	ErrorBudget    int           // errors of a connection beyond its successes; default 64

	// MaxMemory is the limit in bytes for requests, replies and open sessions of all connections at once, counted in
	// steps of 4 KiB for each connection; default 2 GiB.
	MaxMemory int64

	// IdleInSessionTimeout is the time after which a connection without a request, but with an open session, is
	// closed. It is at least the lease of its lock; default 1 h.
	IdleInSessionTimeout time.Duration

	LoginTimeout     time.Duration // for a connection to authenticate; default 1 min
	HandshakeTimeout time.Duration // for a TLS handshake or a PROXY header; default 10 s
	HandshakesPerIP  int           // TLS handshakes of one address at once, others wait; default 64

	// Rates of each address. AuthFailures limits invalid credentials, by default 1 a second and 20 at once.
	// Unauthenticated limits the cost of connections, TLS handshakes and commands before authentication, by default
	// 4,000 a second and 8,000 at once.
	AuthFailures, Unauthenticated Rate

	Version  string       // sent to clients; default "dev"
	Logger   *slog.Logger // default: no log
	Observer Observer     // default: Unobserved
}

// Listen configures the connections of one listener.
type Listen struct {
	Name      string         // for logs and metrics
	Plaintext Plaintext      // clients that may connect without TLS
	TLS       *tls.Config    // nil: TLS is not served
	Allow     auth.Allowlist // clients that may connect; the file system guards Unix sockets instead

	// Proxies are load balancers. Each of their connections must begin with a PROXY header, which is trusted. A
	// connection that a balancer makes for itself is a health check. It is served even if Allow or Plaintext would
	// refuse the balancer's address, and never gets an identity.
	Proxies []netip.Prefix

	Anonymous auth.Identity // identity of a connection without credentials; zero for none
}

// Plaintext determines which peers may connect without TLS.
type Plaintext string

const (
	PlaintextLoopback Plaintext = "loopback" // peers on this machine; the default
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
		{"IdleTimeout", int64(o.IdleTimeout)}, {"IdleInSessionTimeout", int64(o.IdleInSessionTimeout)},
		{"RequestTimeout", int64(o.RequestTimeout)}, {"WriteTimeout", int64(o.WriteTimeout)},
		{"MaxConns", int64(o.MaxConns)}, {"MaxMemory", o.MaxMemory}, {"MaxConnsPerIP", int64(o.MaxConnsPerIP)},
		{"MaxRefusals", int64(o.MaxRefusals)}, {"ErrorBudget", int64(o.ErrorBudget)},
		{"LoginTimeout", int64(o.LoginTimeout)}, {"HandshakeTimeout", int64(o.HandshakeTimeout)},
		{"HandshakesPerIP", int64(o.HandshakesPerIP)},
	} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("server: Options.%s is negative (allowed: 0 or more)", field.name))
		}
	}
	return errors.Join(errs...)
}
