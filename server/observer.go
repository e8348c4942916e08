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

// Observer is told of every connection once, also of one that is refused, and answers who is told what happens there. It is called by many
// at once and must be quick.
type Observer interface {
	ConnOpened(ConnInfo) ConnObserver
}

// ConnObserver is told what happens on one connection, by one goroutine at a time, and must be quick. Whatever can be found out once for a
// connection, or once for who it acts as, need not be found out at each command.
type ConnObserver interface {
	HandshakeDone(version uint16, took time.Duration) // of TLS, and good
	HandshakeFailed(HandshakeFailure)
	Identified(auth.Identity, auth.Method) // who it acts as from now on, perhaps the same again; nobody, and no method, if it is nobody any more
	AuthFailed(auth.Method)                // credentials were not good, or nobody's
	RateLimited(Scope)                     // by which rate; what was refused for it follows
	Refused(gate, tenant string)           // what is no command, such as the connection itself; tenant is as in CommandInfo
	CommandRan(CommandInfo)
	Closed(CloseReason) // nothing follows
}

// ConnInfo describes a connection.
type ConnInfo struct {
	ID       uint64 // counts the connections of this process
	Listener string
	Remote   netip.AddrPort // not valid for a Unix socket
	TLS      uint16         // the version (tls.VersionTLS12, …); 0 is plaintext, or not known yet
	Identity auth.Identity  // nobody until it has authenticated
}

// tlsVersion names the version of TLS, "none" for plaintext.
func (i ConnInfo) tlsVersion() string { return TLSVersion(i.TLS) }

// TLSVersion names a version of TLS: 1.2 or 1.3, and none for plaintext.
func TLSVersion(version uint16) string {
	if version == 0 {
		return "none"
	}
	return strings.TrimPrefix(tls.VersionName(version), "TLS ")
}

// CommandInfo describes one request that was answered.
type CommandInfo struct {
	Command  string // a name from the command table, or "" if it is unknown: never what a client made up
	Framing  wire.Framing
	Outcome  wire.Code // "" is success
	Gate     string    // who has refused it, of Gates; "" if nobody has
	Tenant   string    // as whose the refusal counts that is not that of who the connection acts as: it was let in by its credentials, and then by a rule not
	PeerLeft bool      // the client left while the command waited: there was no answer
	Duration time.Duration
}

// Scope says whose rate it is.
type Scope string

const (
	OfApp             Scope = "app"
	OfTenant          Scope = "tenant"
	OfAddress         Scope = "address"          // within a tenant
	OfSessionCreation Scope = "session_creation" // an app's, for ids
	OfAppBytes        Scope = "app_bytes"
	OfTenantBytes     Scope = "tenant_bytes"
	OfUnauthenticated Scope = "unauthenticated"
	OfAuthFailures    Scope = "auth_failures"
)

// Scopes are all that there are.
var Scopes = []Scope{OfApp, OfTenant, OfAddress, OfSessionCreation, OfAppBytes, OfTenantBytes, OfUnauthenticated, OfAuthFailures}

// HandshakeFailure says why there was no TLS.
type HandshakeFailure string

const (
	HandshakeTimeout     HandshakeFailure = "timeout"
	HandshakePeerLeft    HandshakeFailure = "peer_left"
	HandshakeNotTLS      HandshakeFailure = "not_tls"            // what came is something else
	HandshakeAlert       HandshakeFailure = "alert"              // the client has turned it down: it does not trust the certificate, say
	HandshakeCertificate HandshakeFailure = "client_certificate" // nobody vouches for the client's
	HandshakeDisagreed   HandshakeFailure = "no_agreement"       // on a version, a cipher, a protocol, or a name to have a certificate for; or the client has none
	HandshakeTooMany     HandshakeFailure = "too_many"           // from this address in a short time
	HandshakeUnserved    HandshakeFailure = "unserved"           // the listener has no TLS
	HandshakeDrained     HandshakeFailure = "drained"            // the server is shutting down
)

// HandshakeFailures are all that there are.
var HandshakeFailures = []HandshakeFailure{
	HandshakeTimeout, HandshakePeerLeft, HandshakeNotTLS, HandshakeAlert, HandshakeCertificate, HandshakeDisagreed, HandshakeTooMany, HandshakeUnserved,
	HandshakeDrained,
}

// handshakeFailureOf sorts an error of a handshake.
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
	case errors.As(err, &op) && op.Op == "remote error": // so crypto/tls calls what the peer says
		return HandshakeAlert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return HandshakePeerLeft
	}
	return HandshakeDisagreed
}

// CloseReason says why a connection ended.
type CloseReason uint8

const (
	PeerLeft          CloseReason = iota // the client closed it, or the network broke
	Quit                                 // by the command quit
	Refused                              // by a connection cap, an allowlist or a tenant's quota of connections, or without a PROXY header
	TLSUnsupported                       // the client speaks TLS and the listener does not
	PlaintextRefused                     // the client may not speak plaintext
	IdleTimeout                          // nothing came for too long
	RequestTimeout                       // a request was begun and not finished
	WriteTimeout                         // the client does not read its replies
	BrokenFraming                        // nobody knows where the next request begins
	ErrorBudget                          // too many errors
	Drained                              // the server is shutting down
	Failed                               // a fault of the server's own
	HandshakeFailed                      // of TLS: it was not good, or took too long
	TooManyHandshakes                    // of TLS, from this address in a short time
	ACMEChallenge                        // an authority has seen what it wanted
	LoginTimeout                         // nobody has authenticated
	TooManyFailures                      // bad credentials, from this address
	Revoked                              // the credentials are not good any more
	RateLimited                          // a new connection of an app that is at its limit
)

func (r CloseReason) String() string {
	return [...]string{"peer_left", "quit", "refused", "tls_unsupported", "plaintext_refused", "idle_timeout", "request_timeout",
		"write_timeout", "broken_framing", "error_budget", "drained", "failed", "handshake_failed", "too_many_handshakes", "acme_challenge", "login_timeout", "too_many_failures", "revoked", "rate_limited",
	}[r]
}

// Unobserved takes no notice of anything. Whoever wants to observe some things only embeds it.
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
