package server

import (
	"net/netip"
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
}

// ConnInfo describes a connection.
type ConnInfo struct {
	ID       uint64 // counts the connections of this process
	Listener string
	Remote   netip.AddrPort // not valid for a Unix socket
	Identity auth.Identity  // nobody until it has authenticated
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
	PeerLeft         CloseReason = iota // the client closed it, or the network broke
	Quit                                // by the command quit
	Refused                             // by a connection cap or an allowlist
	TLSUnsupported                      // the client speaks TLS and the listener does not
	PlaintextRefused                    // the client may not speak plaintext
	IdleTimeout                         // nothing came for too long
	RequestTimeout                      // a request was begun and not finished
	WriteTimeout                        // the client does not read its replies
	BrokenFraming                       // nobody knows where the next request begins
	ErrorBudget                         // too many errors
	Drained                             // the server is shutting down
	Failed                              // a fault of the server's own
)

func (r CloseReason) String() string {
	return [...]string{"peer_left", "quit", "refused", "tls_unsupported", "plaintext_refused", "idle_timeout", "request_timeout",
		"write_timeout", "broken_framing", "error_budget", "drained", "failed"}[r]
}

type nobody struct{}

func (nobody) ConnOpened(ConnInfo)              {}
func (nobody) ConnClosed(ConnInfo, CloseReason) {}
func (nobody) CommandRan(CommandInfo)           {}
