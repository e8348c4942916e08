package server

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"sessionserver/auth"
	"sessionserver/wire"
)

// Observer is told what happens, for metrics and audit. Its methods are called by many connections at once and must be quick. Each
// connection is opened once and closed once, also one that is refused.
type Observer interface {
	ConnOpened(ConnInfo)
	ConnClosed(ConnInfo, CloseReason)
	CommandRan(CommandInfo)
	HandshakeDone(ConnInfo, time.Duration) // of TLS, and good
}

// ConnInfo describes a connection.
type ConnInfo struct {
	ID       uint64 // counts the connections of this process
	Listener string
	Remote   netip.AddrPort // not valid for a Unix socket
	TLS      uint16         // the version (tls.VersionTLS12, …); 0 is plaintext
	Identity auth.Identity  // nobody until it has authenticated
}

// tlsVersion names the version of TLS, "none" for plaintext.
func (i ConnInfo) tlsVersion() string {
	if i.TLS == 0 {
		return "none"
	}
	return strings.TrimPrefix(tls.VersionName(i.TLS), "TLS ")
}

// CommandInfo describes one request that was answered.
type CommandInfo struct {
	Conn     ConnInfo
	Command  string // a name from the command table, or "" if it is unknown: never what a client made up
	Framing  wire.Framing
	Outcome  wire.Code // "" is success
	PeerLeft bool      // the client left while the command waited: there was no answer
	Duration time.Duration
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
	Crowded                              // the tenant holds too much in memory
	RateLimited                          // a new connection of an app that is at its limit
)

func (r CloseReason) String() string {
	return [...]string{"peer_left", "quit", "refused", "tls_unsupported", "plaintext_refused", "idle_timeout", "request_timeout",
		"write_timeout", "broken_framing", "error_budget", "drained", "failed", "handshake_failed", "too_many_handshakes", "acme_challenge", "login_timeout", "too_many_failures", "revoked", "crowded", "rate_limited"}[r]
}

type nobody struct{}

func (nobody) ConnOpened(ConnInfo)                   {}
func (nobody) ConnClosed(ConnInfo, CloseReason)      {}
func (nobody) CommandRan(CommandInfo)                {}
func (nobody) HandshakeDone(ConnInfo, time.Duration) {}
