package policy

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Engine decides about operations. It is safe for concurrent use.
type Engine interface {
	// Decide returns whether the operation may run. A Decision that is returned with an error never allows. The
	// engine keeps no reference to in.
	Decide(ctx context.Context, in *Input) (Decision, error)
}

// ErrTimeout is the error of a decision that exceeded its limit of processor time.
var ErrTimeout = errors.New("policy: decision exceeded its time limit")

// Decision is the result of a policy. The zero Decision denies.
type Decision struct {
	Allow   bool
	Reasons []string // for the client; empty if allowed. The slice is shared and must not be modified
}

// Input describes one operation to a policy. The JSON schema in package opa describes the same facts.
type Input struct {
	Tenant, App, Role string

	Command  string // name in lower case
	Access   Access
	Mode     string // of the open session, or requested by open: rw, u, r or s; "" for neither
	Key      []byte // nil for an operation without a key; empty and not nil is the empty key
	Address  netip.Addr
	Listener string // name in the configuration

	TLS         string       // version 1.2 or 1.3; "" for plaintext
	Certificate *Certificate // the verified certificate of the client; nil for none

	Session Session
}

// Access is the effect of an operation on the session.
type Access uint8

const (
	None  Access = iota // concerns only the connection
	Read                // shows a part of the session
	Write               // creates, changes or removes
)

func (a Access) String() string {
	if a > Write {
		return "invalid"
	}
	return [...]string{"none", "read", "write"}[a]
}

// Certificate describes the certificate of a client.
type Certificate struct {
	Subject  string // as in RFC 2253: CN=shop,O=Acme
	DNSNames []string
	URIs     []string
	SHA256   string // of the whole certificate, in lower-case hexadecimal
	NotAfter time.Time
}

// Session describes the session that is open on the connection.
type Session struct {
	Open bool // the other fields are zero if false
	New  bool // never saved
	Age  int64
	// Bytes and Keys include unsaved changes of this connection. Age is in seconds since the session was created.
	Bytes, Keys int
}

// Tenant describes a tenant to policies, as data.tenants[Name].
type Tenant struct {
	Name     string
	Settings map[string]any // JSON values of the operator: data.tenants[Name].settings
	Apps     []App
}

// App describes an app to policies, as data.tenants[tenant].apps[Name].
type App struct {
	Name, Role  string
	Read, Write []string // patterns of keys; nil is every key, empty is no key
}

// Evaluation describes how a decision was made.
type Evaluation struct {
	Outcome  Outcome
	Cached   bool
	Duration time.Duration // zero for a cached decision, since reading the clock would take longer
}

// Outcome is the result of a decision.
type Outcome uint8

const (
	Failed Outcome = iota // denied because of an error
	Denied
	Allowed
)

func (o Outcome) String() string {
	if o > Allowed {
		return "invalid"
	}
	return [...]string{"failed", "denied", "allowed"}[o]
}

// DecisionLog receives decisions. An Input contains no session id and no value; keys are in plain text. The arguments
// are valid only until Decided returns. A DecisionLog must be safe for concurrent use.
type DecisionLog interface {
	Decided(in *Input, d Decision, e Evaluation, err error)
}
