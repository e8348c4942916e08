package policy

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Engine decides. It is safe for concurrent use.
type Engine interface {
	// Decide answers whether the operation may run. An error means no: the Decision beside it never allows. The engine keeps nothing of in.
	Decide(ctx context.Context, in *Input) (Decision, error)
}

// ErrTimeout is the error of a decision that used more processor time than it may.
var ErrTimeout = errors.New("policy: no decision in time")

// Decision is the answer of a policy. The zero Decision denies.
type Decision struct {
	Allow   bool
	Reasons []string // why not, in words for the client; shared, not to be changed. Empty if it is allowed
}

// Input is one operation as policies see it. The JSON schema beside the engine names the same facts.
type Input struct {
	Tenant, App, Role string

	Command  string // its name in lower case
	Access   Access
	Mode     string // of the open session, or asked for by open: rw, u, r or s; "" if there is neither
	Key      []byte // nil if the question is not about a key; empty and not nil is the empty key
	Address  netip.Addr
	Listener string // its name in the configuration

	TLS         string       // its version: 1.2 or 1.3; "" for plaintext
	Certificate *Certificate // that the client has shown, verified; nil for none

	Session Session
}

// Access is what an operation does to the session.
type Access uint8

const (
	None  Access = iota // it is about the connection
	Read                // it shows something of the session
	Write               // it makes, changes or removes something
)

func (a Access) String() string {
	if a > Write {
		return "invalid"
	}
	return [...]string{"none", "read", "write"}[a]
}

// Certificate is what is known of a client's certificate.
type Certificate struct {
	Subject  string // as in RFC 2253: CN=shop,O=Acme
	DNSNames []string
	URIs     []string
	SHA256   string // of the whole certificate, in lower-case hexadecimal
	NotAfter time.Time
}

// Session is what is known of the session that is open on the connection.
type Session struct {
	Open bool // all else is unknown if it is false
	New  bool // it was never saved
	Age  int64
	// Bytes and Keys are how much it holds, with the changes of this connection; Age is in seconds since it was made.
	Bytes, Keys int
}

// Tenant is what policies may know of a tenant: data.tenants[Name].
type Tenant struct {
	Name     string
	Settings map[string]any // the operator's own, made of what JSON knows: data.tenants[Name].settings
	Apps     []App
}

// App is what policies may know of an app: data.tenants[tenant].apps[Name].
type App struct {
	Name, Role  string
	Read, Write []string // patterns of keys; nil is every key, empty is none
}

// Observer is told what an engine does. Its methods must be quick and safe for concurrent use.
type Observer interface {
	Decided(Evaluation)
	Reloaded(err error) // the source was looked at: nil if what it holds decides now
}

// Evaluation is how a decision came about.
type Evaluation struct {
	Outcome Outcome
	Cached  bool
	Took    time.Duration // zero if it was cached: looking at the clock would take longer
}

// Outcome is how a decision ended.
type Outcome uint8

const (
	Failed Outcome = iota // there was an error: denied
	Denied
	Allowed
)

func (o Outcome) String() string {
	if o > Allowed {
		return "invalid"
	}
	return [...]string{"failed", "denied", "allowed"}[o]
}

// DecisionLog receives decisions. An Input has no session id and no value in it; keys are there as they are. All arguments are the log's only until
// it returns. It must be safe for concurrent use.
type DecisionLog interface {
	Decided(in *Input, d Decision, how Evaluation, err error)
}
