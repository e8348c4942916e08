package client

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sessionserver/wire"
)

// Error is a refusal by the server, with a Code for programs and a Message for people. Compare it with the sentinels of
// this package by errors.Is, or extract it by errors.As.
type Error = wire.Error

// Code is the first word of an error reply.
type Code = wire.Code

// The sentinels for errors.Is, one for each code of the protocol.
var (
	ErrNoAuth      error = &Error{Code: wire.NoAuth, Message: "not authenticated"}
	ErrBadAuth     error = &Error{Code: wire.BadAuth, Message: "unknown app or wrong secret"}
	ErrTLSRequired error = &Error{Code: wire.TLSRequired, Message: "the listener requires TLS"}
	ErrIPDenied    error = &Error{Code: wire.IPDenied, Message: "address not allowed"}
	ErrDenied      error = &Error{Code: wire.Denied, Message: "denied by the policy"}
	ErrRateLimited error = &Error{Code: wire.RateLimited, Message: "too many requests"}
	ErrQuota       error = &Error{Code: wire.Quota, Message: "the tenant has reached its quota"}
	ErrNoSession   error = &Error{Code: wire.NoSession, Message: "no session is open"}
	ErrBusy        error = &Error{Code: wire.Busy, Message: "a session is open already"}
	ErrNotFound    error = &Error{Code: wire.NotFound, Message: "no such session"}
	ErrNoKey       error = &Error{Code: wire.NoKey, Message: "no such key"}
	ErrReadOnly    error = &Error{Code: wire.ReadOnly, Message: "the session is open for reading only"}
	ErrLockTimeout error = &Error{Code: wire.LockTimeout, Message: "the session is locked"}
	ErrLockLost    error = &Error{Code: wire.LockLost, Message: "the lease expired and another client has the lock"}
	ErrBadID       error = &Error{Code: wire.BadID, Message: "invalid session id"}
	ErrBadKey      error = &Error{Code: wire.BadKey, Message: "invalid key"}
	ErrBadArg      error = &Error{Code: wire.BadArg, Message: "invalid argument"}
	ErrTooLarge    error = &Error{Code: wire.TooLarge, Message: "too large"}
	ErrBinary      error = &Error{Code: wire.Binary, Message: "value cannot be sent in a line"}
	ErrUnknown     error = &Error{Code: wire.Unknown, Message: "unknown command"}
	ErrProtocol    error = &Error{Code: wire.Protocol, Message: "invalid framing"}
	ErrUnavailable error = &Error{Code: wire.Unavailable, Message: "temporarily unavailable; try again later"}
	ErrShutdown    error = &Error{Code: wire.Shutdown, Message: "the server is shutting down"}
	ErrInternal    error = &Error{Code: wire.Internal, Message: "internal server error"}
)

// ErrClosed is the error of a Client after Close.
var ErrClosed = errors.New("sessionserver: client closed")

// errEnded is the error of a Session after its end, with the code that the server would send.
var errEnded = wire.Errorf(wire.NoSession, "the session has ended; open it again")

// errChanged is the error of a save that would overwrite the change of another client.
var errChanged = wire.Errorf(wire.LockLost,
	"another client changed the session after the connection was lost, nothing was saved; load the session again")

// ConnError reports a connection that could not be made, that broke, or on which no reply came in time. After Close,
// Save and Commit the session may or may not be saved; after any other method it is not.
type ConnError struct {
	Op   string // the operation: "dial", "open", …
	Addr string // host:port, or the path of a socket
	Err  error
}

func (e *ConnError) Error() string {
	return fmt.Sprintf("sessionserver: %s: connection to %s: %v", e.Op, e.Addr, e.Err)
}

// Unwrap returns the error of the network.
func (e *ConnError) Unwrap() error { return e.Err }

// connectionLost reports whether an error is that of a broken connection. A timeout does not count: the server may
// still hold the lock for a silent connection.
func connectionLost(err error) bool {
	var broken *ConnError
	return errors.As(err, &broken) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TenantError reports that the certificate of a DSN belongs to another tenant than the DSN, whose sessions the client
// would use.
type TenantError struct {
	Tenant   string // the tenant of the DSN
	Identity string // tenant/app of the certificate, as the server reports it
}

func (e *TenantError) Error() string {
	return fmt.Sprintf("sessionserver: dial: the certificate authenticates as %.140q and the DSN has the tenant %q; "+
		"correct one of them", e.Identity, e.Tenant)
}

// DSNError lists the problems of a DSN. It contains none of the DSN's values.
type DSNError struct {
	Problems []string // "name: problem (allowed: …)"
}

func (e *DSNError) Error() string {
	return "sessionserver: DSN: " + strings.Join(e.Problems, "; ")
}

// opError returns an error reply with the operation that it refused.
func opError(op string, e *Error) error {
	return fmt.Errorf("sessionserver: %s: %w", op, e)
}
