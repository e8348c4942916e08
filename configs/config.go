package configs

import (
	_ "embed"
	"net/netip"
	"time"
)

// Config is a configuration file. Durations are written as in Go ("24m", "1h30m"), sizes as a number with an optional
// KiB, MiB or GiB.
type Config struct {
	Listen        []Listen    `yaml:"listen"`
	PublicAddress string      `yaml:"public_address"` // the server's address in DSNs, as tls://host:port, or ""
	Tenants       string      `yaml:"tenants"`        // folder of the tenants' files, or "" for none
	TLS           TLS         `yaml:"tls"`
	Policy        Policy      `yaml:"policy"`
	Admin         Admin       `yaml:"admin"`
	Storage       Storage     `yaml:"storage"`
	Session       Session     `yaml:"session"`
	Quotas        Quotas      `yaml:"quotas"`
	Rates         ServerRates `yaml:"rates"`
	Limits        Limits      `yaml:"limits"`
	Audit         Audit       `yaml:"audit"`
	Metrics       Metrics     `yaml:"metrics"`
	Log           Log         `yaml:"log"`

	document
}

// Listen is one address that the server listens on.
type Listen struct {
	Name      string   `yaml:"name"`
	Address   string   `yaml:"address"`   // host:port, or unix:/path
	Plaintext string   `yaml:"plaintext"` // loopback, never or always
	Allow     []Prefix `yaml:"allow"`     // addresses that may connect
	Deny      []Prefix `yaml:"deny"`      // addresses that may not connect, although allow has them
	Proxies   []Prefix `yaml:"proxies"`   // balancers, which must send the client's address with the PROXY protocol
	Anonymous string   `yaml:"anonymous"` // tenant/app of clients without credentials, or ""

	ClientCertificates string `yaml:"client_certificates"` // none, optional or required
	ClientCA           string `yaml:"client_ca"`           // file of the authorities that sign client certificates
}

// Storage holds the settings of the storage driver.
type Storage struct {
	Driver        string        `yaml:"driver"`
	Path          string        `yaml:"path"`          // folder; not for memory
	Sync          string        `yaml:"sync"`          // always, interval or never: what survives a power failure
	SyncInterval  time.Duration `yaml:"sync_interval"` // for sync: interval
	Cache         Size          `yaml:"cache"`         // bytes of the newest records that log keeps in memory
	MaxIndex      Size          `yaml:"max_index"`     // bytes of the largest index of log
	SweepInterval time.Duration `yaml:"sweep_interval"`
	SweepBatch    int           `yaml:"sweep_batch"` // records examined at a time
}

// Session holds the session settings. The allowed values are those of session.Settings.
type Session struct {
	Lifetime         time.Duration `yaml:"lifetime"`
	AbsoluteLifetime time.Duration `yaml:"absolute_lifetime"`
	EmptyLifetime    time.Duration `yaml:"empty_lifetime"`
	Strict           bool          `yaml:"strict"`
	LockLease        time.Duration `yaml:"lock_lease"`
	LockWait         time.Duration `yaml:"lock_wait"`
	GraceMax         time.Duration `yaml:"grace_max"`
	MaxKeys          int           `yaml:"max_keys"`
	MaxValue         Size          `yaml:"max_value"`
	MaxBytes         Size          `yaml:"max_bytes"`
}

// Quotas limit the resources of a tenant. 0 is unlimited.
type Quotas struct {
	Sessions    int  `yaml:"sessions"`
	Bytes       Size `yaml:"bytes"`       // of all its sessions
	Connections int  `yaml:"connections"` // of all its apps
	Waiters     int  `yaml:"waiters"`     // for locks
	Memory      Size `yaml:"memory"`      // of requests, replies and open sessions, in steps of 4 KiB per connection
}

// Rates limit the cost of a tenant's commands per second.
type Rates struct {
	OnLimit         string `yaml:"on_limit"`         // reject or delay
	Tenant          Rate   `yaml:"tenant"`           // of all its apps together
	App             Rate   `yaml:"app"`              // of each app
	Address         Rate   `yaml:"address"`          // of each client address
	SessionCreation Rate   `yaml:"session_creation"` // ids that each app creates, and unknown ids that it requests

	TenantBytes ByteRate `yaml:"tenant_bytes"` // moved by all its apps together
	AppBytes    ByteRate `yaml:"app_bytes"`    // moved by each app
}

// ServerRates are the default rates of tenants, and the rates that belong to no tenant.
type ServerRates struct {
	Rates
	AuthFailures Rate `yaml:"auth_failures"` // of each client address

	// Unauthenticated is the rate of each client address before authentication: commands, connections and TLS
	// handshakes.
	Unauthenticated Rate `yaml:"unauthenticated"`
}

// Rate is an average per second and the maximum at once. 0 per second is unlimited.
type Rate struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
}

// ByteRate is a Rate of bytes that are moved: received, sent, loaded and saved.
type ByteRate struct {
	PerSecond Size `yaml:"per_second"`
	Burst     Size `yaml:"burst"`
}

// Limits are the limits of connections.
type Limits struct {
	Line             Size          `yaml:"line"`
	Value            Size          `yaml:"value"`
	Request          Size          `yaml:"request"`
	Args             int           `yaml:"args"`
	Memory           Size          `yaml:"memory"`                  // bytes of requests, replies and open sessions of all tenants at once
	Connections      int           `yaml:"connections"`             // of all listeners
	ConnectionsPerIP int           `yaml:"connections_per_ip"`      // of one address, or of one /64 of IPv6
	IdleTimeout      time.Duration `yaml:"idle_timeout"`            // until a connection without a request or a session is closed
	IdleInSession    time.Duration `yaml:"idle_in_session_timeout"` // the same with a session open
	LoginTimeout     time.Duration `yaml:"login_timeout"`           // until a client must have authenticated
	RequestTimeout   time.Duration `yaml:"request_timeout"`         // until a request must be complete
	WriteTimeout     time.Duration `yaml:"write_timeout"`           // until a client must have read its replies
	ErrorBudget      int           `yaml:"error_budget"`            // errors of a connection in excess of its successes
	DrainTimeout     time.Duration `yaml:"drain_timeout"`           // until open sessions must end at shutdown
}

// Log holds the settings of the operational log.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text, json, or auto: text on a terminal
}

// Default returns the configuration of an empty file: every setting with its default.
func Default() Config {
	return Config{
		Listen: []Listen{{
			Name: "main", Address: "127.0.0.1:9090", Plaintext: "loopback", Allow: loopback(),
			ClientCertificates: "none",
		}},
		TLS: TLS{
			ACME: ACME{
				Directory: "https://acme-v02.api.letsencrypt.org/directory", Storage: "/var/lib/sessionserver-acme",
			},
			HandshakeTimeout: 10 * time.Second, HandshakesPerIP: 64,
		},
		Policy: Policy{
			Bundle: Bundle{
				KeyID: "default", Algorithm: "ES256", Poll: time.Minute, Keep: "/var/lib/sessionserver-policy",
			},
			Timeout: 100 * time.Millisecond, Cache: 131072,
		},
		Storage: Storage{
			Driver: "log", Path: "/var/lib/sessionserver", Sync: "always", SyncInterval: 100 * time.Millisecond,
			Cache: 64 * MiB, MaxIndex: 4 * GiB, SweepInterval: time.Second, SweepBatch: 256,
		},
		Session: Session{
			Lifetime: 24 * time.Minute, EmptyLifetime: 2 * time.Minute, Strict: true,
			LockLease: time.Minute, LockWait: 10 * time.Second, GraceMax: 5 * time.Minute,
			MaxKeys: 1024, MaxValue: 1 * MiB, MaxBytes: 4 * MiB,
		},
		Quotas: Quotas{Connections: 8192, Memory: GiB}, // no single tenant can take the whole server
		Rates: ServerRates{
			Rates:        Rates{OnLimit: "reject", SessionCreation: Rate{PerSecond: 200, Burst: 5000}},
			AuthFailures: Rate{PerSecond: 1, Burst: 20}, Unauthenticated: Rate{PerSecond: 4000, Burst: 8000},
		},
		Limits: Limits{
			Line: 64 * KiB, Value: 1 * MiB, Request: 4*MiB + 512*KiB, Args: 2050,
			Memory: 2 * GiB, Connections: 16384, ConnectionsPerIP: 4096,
			IdleTimeout: 10 * time.Minute, IdleInSession: time.Hour, LoginTimeout: time.Minute,
			RequestTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
			ErrorBudget: 64, DrainTimeout: 20 * time.Second,
		},
		Audit: Audit{
			Events: []string{"all"}, MaxSize: 100 * MiB, MaxAge: 30 * 24 * time.Hour, Keep: 10, OnFailure: "refuse",
			Decisions: Decisions{Sample: 0.01, Keys: "hash"},
		},
		Metrics: Metrics{Tenants: "full"},
		Log:     Log{Level: "info", Format: "auto"},
	}
}

// setDefaults sets the defaults of a listener in a file, since a list in a file replaces that of Default.
func (l *Listen) setDefaults() {
	if l.Name == "" {
		l.Name = l.Address
	}
	if l.Plaintext == "" {
		l.Plaintext = "loopback"
	}
	if l.ClientCertificates == "" {
		l.ClientCertificates = "none"
	}
}

func loopback() []Prefix {
	return []Prefix{{netip.MustParsePrefix("127.0.0.0/8")}, {netip.MustParsePrefix("::1/128")}}
}

// Dev is the configuration of `serve --dev`.
//
//go:embed dev.yaml
var Dev []byte

// Reference is a configuration with every setting and its default.
//
//go:embed reference.yaml
var Reference []byte
