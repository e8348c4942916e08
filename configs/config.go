package configs

import (
	_ "embed"
	"net/netip"
	"time"
)

// Config is a configuration file. Times are written as in Go ("24m", "1h30m"), sizes as a number with an optional KiB, MiB or GiB.
type Config struct {
	Listen  []Listen `yaml:"listen"`
	Admin   Admin    `yaml:"admin"`
	Storage Storage  `yaml:"storage"`
	Session Session  `yaml:"session"`
	Limits  Limits   `yaml:"limits"`
	Log     Log      `yaml:"log"`

	file  string
	lines map[string]int // where each key stands
}

// Listen is one address that the server listens on.
type Listen struct {
	Name      string   `yaml:"name"`
	Address   string   `yaml:"address"`   // host:port, or unix:/path
	Plaintext string   `yaml:"plaintext"` // loopback, never or always
	Allow     []Prefix `yaml:"allow"`     // who may connect
	Anonymous string   `yaml:"anonymous"` // tenant/app that clients without credentials are, or ""
}

// Admin is the HTTP address for operators.
type Admin struct {
	Address string `yaml:"address"` // host:port, or "" for none
}

// Storage says where sessions are kept.
type Storage struct {
	Driver        string        `yaml:"driver"`
	Path          string        `yaml:"path"`          // folder; not for memory
	Sync          string        `yaml:"sync"`          // always, interval or never: what survives a power failure
	SyncInterval  time.Duration `yaml:"sync_interval"` // for sync: interval
	Cache         Size          `yaml:"cache"`         // bytes of records kept in memory before the driver; 0 is none
	SweepInterval time.Duration `yaml:"sweep_interval"`
	SweepBatch    int           `yaml:"sweep_batch"` // records examined at a time
}

// Session are the rules for sessions; see session.Settings, which states what is allowed.
type Session struct {
	Lifetime         time.Duration `yaml:"lifetime"`
	AbsoluteLifetime time.Duration `yaml:"absolute_lifetime"`
	FreshLifetime    time.Duration `yaml:"fresh_lifetime"`
	Strict           bool          `yaml:"strict"`
	LockLease        time.Duration `yaml:"lock_lease"`
	LockWait         time.Duration `yaml:"lock_wait"`
	GraceMax         time.Duration `yaml:"grace_max"`
	MaxKeys          int           `yaml:"max_keys"`
	MaxValue         Size          `yaml:"max_value"`
	MaxBytes         Size          `yaml:"max_bytes"`
}

// Limits bound what connections may cost.
type Limits struct {
	Line             Size          `yaml:"line"`
	Value            Size          `yaml:"value"`
	Request          Size          `yaml:"request"`
	Args             int           `yaml:"args"`
	Connections      int           `yaml:"connections"`
	ConnectionsPerIP int           `yaml:"connections_per_ip"`
	IdleTimeout      time.Duration `yaml:"idle_timeout"`
	RequestTimeout   time.Duration `yaml:"request_timeout"`
	WriteTimeout     time.Duration `yaml:"write_timeout"`
	ErrorBudget      int           `yaml:"error_budget"`
	DrainTimeout     time.Duration `yaml:"drain_timeout"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text, json, or auto: text on a terminal
}

// Default is what is not written in a file.
func Default() Config {
	return Config{
		Listen: []Listen{{Name: "main", Address: "127.0.0.1:9090", Plaintext: "loopback", Allow: loopback()}},
		Storage: Storage{
			Driver: "pebble", Path: "/var/lib/sessionserver", Sync: "always", SyncInterval: 100 * time.Millisecond,
			Cache: 64 * MiB, SweepInterval: time.Second, SweepBatch: 256,
		},
		Session: Session{
			Lifetime: 24 * time.Minute, FreshLifetime: 2 * time.Minute, LockLease: time.Minute, LockWait: 10 * time.Second,
			GraceMax: 5 * time.Minute, MaxKeys: 1024, MaxValue: 1 * MiB, MaxBytes: 4 * MiB,
		},
		Limits: Limits{
			Line: 64 * KiB, Value: 1 * MiB, Request: 4*MiB + 512*KiB, Args: 2050,
			Connections: 16384, ConnectionsPerIP: 4096,
			IdleTimeout: 10 * time.Minute, RequestTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
			ErrorBudget: 64, DrainTimeout: 20 * time.Second,
		},
		Log: Log{Level: "info", Format: "auto"},
	}
}

// setDefaults fills in what a listener in a file leaves open: a list of its own has nothing from Default.
func (l *Listen) setDefaults() {
	if l.Name == "" {
		l.Name = l.Address
	}
	if l.Plaintext == "" {
		l.Plaintext = "loopback"
	}
}

func loopback() []Prefix {
	return []Prefix{{netip.MustParsePrefix("127.0.0.0/8")}, {netip.MustParsePrefix("::1/128")}}
}

// Dev is the file that `serve --dev` runs.
//
//go:embed dev.yaml
var Dev []byte

// Reference is the file that shows every setting with its default.
//
//go:embed reference.yaml
var Reference []byte
