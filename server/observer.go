package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"sessionserver/auth"
	"sessionserver/wire"
)

// Observer receives the beginning of every connection, also of one that is refused, and returns the observer of that
// connection. It must be quick and safe for concurrent use.
type Observer interface {
	ConnOpened(ConnInfo) ConnObserver
}

// ConnObserver receives the events of one connection, from one goroutine at a time. It must be quick. It can prepare
// what depends only on the connection or its identity, instead of doing so for each command.
type ConnObserver interface {
	HandshakeDone(version uint16, duration time.Duration) // a TLS handshake succeeded
	HandshakeFailed(HandshakeFailure)
	// Identified is called with the identity from now on, which may be the same. It is zero, with no method, when the
	// connection loses its identity.
	Identified(auth.Identity, auth.Method)
	AuthFailed(auth.Method)      // the credentials are invalid or unknown
	RateLimited(Scope)           // the exceeded rate; the refusal follows
	Refused(gate, tenant string) // outside a command, such as the connection itself; tenant is as in CommandInfo
	CommandRan(CommandInfo)
	Closed(CloseReason) // the last event
}

// ConnInfo describes a connection.
type ConnInfo struct {
	ID       uint64 // number of the connection in this process
	Listener string
	Remote   netip.AddrPort // invalid for a Unix socket
	TLS      uint16         // version (tls.VersionTLS12, …); 0 for plaintext, or before the handshake
	Identity auth.Identity  // zero until it has authenticated
}

// tlsVersion returns the version of TLS, or "none" for plaintext.
func (i ConnInfo) tlsVersion() string { return TLSVersion(i.TLS) }

// TLSVersion returns the name of a version of TLS, 1.2 or 1.3, or none for plaintext.
func TLSVersion(version uint16) string {
	if version == 0 {
		return "none"
	}
	return strings.TrimPrefix(tls.VersionName(version), "TLS ")
}

// CommandInfo describes one request after its reply.
type CommandInfo struct {
	Command string // a name of the command table, or "" for an unknown command
	Framing wire.Framing
	Outcome wire.Code // "" is success
	Gate    string    // the gate of Gates that refused it; "" for none
	// Tenant is the tenant of a refusal whose identity the connection did not get: the credentials were valid, and a
	// rule refused them.
	Tenant   string
	PeerLeft bool // the client left while the command waited, so there was no reply
	Duration time.Duration
}

// Scope is the kind of an exceeded rate.
type Scope string

const (
	OfApp             Scope = "app"
	OfTenant          Scope = "tenant"
	OfAddress         Scope = "address"          // of an address within a tenant
	OfSessionCreation Scope = "session_creation" // of new ids of an app
	OfAppBytes        Scope = "app_bytes"
	OfTenantBytes     Scope = "tenant_bytes"
	OfUnauthenticated Scope = "unauthenticated"
	OfAuthFailures    Scope = "auth_failures"
)

// Scopes lists all scopes.
var Scopes = []Scope{
	OfApp, OfTenant, OfAddress, OfSessionCreation, OfAppBytes, OfTenantBytes, OfUnauthenticated, OfAuthFailures,
}

// HandshakeFailure is the cause of a failed TLS handshake.
type HandshakeFailure string

const (
	HandshakeTimeout  HandshakeFailure = "timeout"
	HandshakePeerLeft HandshakeFailure = "peer_left"
	HandshakeNotTLS   HandshakeFailure = "not_tls" // the bytes are not TLS
	// HandshakeAlert: the client refused, for example because of an untrusted certificate.
	HandshakeAlert       HandshakeFailure = "alert"
	HandshakeCertificate HandshakeFailure = "client_certificate" // the client's is signed by an unknown authority
	// HandshakeDisagreed: no common version, cipher, protocol or name, or the client has no certificate.
	HandshakeDisagreed HandshakeFailure = "no_agreement"
	HandshakeTooMany   HandshakeFailure = "too_many" // too many from this address in a short time
	HandshakeUnserved  HandshakeFailure = "unserved" // the listener has no TLS
	HandshakeDrained   HandshakeFailure = "drained"  // the server is shutting down
)

// HandshakeFailures lists all failures.
var HandshakeFailures = []HandshakeFailure{
	HandshakeTimeout, HandshakePeerLeft, HandshakeNotTLS, HandshakeAlert, HandshakeCertificate, HandshakeDisagreed,
	HandshakeTooMany, HandshakeUnserved, HandshakeDrained,
}

// handshakeFailureOf returns the failure for an error of a handshake.
func handshakeFailureOf(err error) HandshakeFailure {
	var notTLS tls.RecordHeaderError
	var unknown *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.Is(err, errShutdown):
		return HandshakeDrained
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return HandshakeTimeout
	case errors.As(err, &notTLS):
		return HandshakeNotTLS
	case errors.As(err, &unknown):
		return HandshakeCertificate
	case errors.As(err, &op) && op.Op == "remote error": // the alert of the peer, in the words of crypto/tls
		return HandshakeAlert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return HandshakePeerLeft
	}
	return HandshakeDisagreed
}

// CloseReason is the reason for the end of a connection.
type CloseReason uint8

const (
	PeerLeft CloseReason = iota // the client closed it, or the network failed
	Quit                        // the command quit
	// Refused by a cap, an allowlist, a quota of connections, or for a missing PROXY header.
	Refused
	TLSUnsupported    // the client uses TLS and the listener does not
	PlaintextRefused  // the client must use TLS
	IdleTimeout       // no request for too long
	RequestTimeout    // a request was incomplete for too long
	WriteTimeout      // the client does not read its replies
	BrokenFraming     // the beginning of the next request is unknown
	ErrorBudget       // too many errors
	Drained           // the server is shutting down
	Failed            // a fault of the server
	HandshakeFailed   // the TLS handshake failed or timed out
	TooManyHandshakes // too many TLS handshakes of this address
	ACMEChallenge     // the ACME authority has validated
	LoginTimeout      // no authentication in time
	TooManyFailures   // too many invalid credentials from this address
	Revoked           // the credentials are no longer valid
	RateLimited       // a new connection of an app at its limit
)

func (r CloseReason) String() string {
	return [...]string{
		"peer_left", "quit", "refused", "tls_unsupported", "plaintext_refused", "idle_timeout", "request_timeout",
		"write_timeout", "broken_framing", "error_budget", "drained", "failed", "handshake_failed",
		"too_many_handshakes", "acme_challenge", "login_timeout", "too_many_failures", "revoked", "rate_limited",
	}[r]
}

// Unobserved ignores all events. An observer of a few events embeds it.
type Unobserved struct{}

var (
	_ Observer     = Unobserved{}
	_ ConnObserver = Unobserved{}
)

func (Unobserved) ConnOpened(ConnInfo) ConnObserver      { return Unobserved{} }
func (Unobserved) HandshakeDone(uint16, time.Duration)   {}
func (Unobserved) HandshakeFailed(HandshakeFailure)      {}
func (Unobserved) Identified(auth.Identity, auth.Method) {}
func (Unobserved) AuthFailed(auth.Method)                {}
func (Unobserved) RateLimited(Scope)                     {}
func (Unobserved) Refused(string, string)                {}
func (Unobserved) CommandRan(CommandInfo)                {}
func (Unobserved) Closed(CloseReason)                    {}
