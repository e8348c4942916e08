package client

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"sessionserver/wire"
)

// Error is what the server refused and why: a Code for programs and a Message for people. Compare it with the
// sentinels of this package by errors.Is, or get at it by errors.As.
type Error = wire.Error

// Code is the first word of a refusal.
type Code = wire.Code

// One sentinel for each code of the protocol, for errors.Is.
var (
	ErrNoAuth      error = &Error{Code: wire.NoAuth, Message: "not authenticated"}
	ErrBadAuth     error = &Error{Code: wire.BadAuth, Message: "unknown app or wrong secret"}
	ErrTLSRequired error = &Error{Code: wire.TLSRequired, Message: "the listener wants TLS"}
	ErrIPDenied    error = &Error{Code: wire.IPDenied, Message: "this address may not connect"}
	ErrDenied      error = &Error{Code: wire.Denied, Message: "the policy says no"}
	ErrRateLimited error = &Error{Code: wire.RateLimited, Message: "too many requests"}
	ErrQuota       error = &Error{Code: wire.Quota, Message: "the tenant is full"}
	ErrNoSession   error = &Error{Code: wire.NoSession, Message: "no session is open"}
	ErrBusy        error = &Error{Code: wire.Busy, Message: "a session is open already"}
	ErrNotFound    error = &Error{Code: wire.NotFound, Message: "no such session"}
	ErrNoKey       error = &Error{Code: wire.NoKey, Message: "no such key"}
	ErrReadOnly    error = &Error{Code: wire.ReadOnly, Message: "the session is open for reading only"}
	ErrLockTimeout error = &Error{Code: wire.LockTimeout, Message: "the session is locked"}
	ErrLockLost    error = &Error{Code: wire.LockLost, Message: "the lock was held for too long and went to the next one"}
	ErrBadID       error = &Error{Code: wire.BadID, Message: "malformed session id"}
	ErrBadKey      error = &Error{Code: wire.BadKey, Message: "malformed key"}
	ErrBadArg      error = &Error{Code: wire.BadArg, Message: "malformed argument"}
	ErrTooLarge    error = &Error{Code: wire.TooLarge, Message: "too large"}
	ErrBinary      error = &Error{Code: wire.Binary, Message: "a line cannot carry it"}
	ErrUnknown     error = &Error{Code: wire.Unknown, Message: "unknown command"}
	ErrProtocol    error = &Error{Code: wire.Protocol, Message: "broken framing"}
	ErrUnavailable error = &Error{Code: wire.Unavailable, Message: "try again later"}
	ErrShutdown    error = &Error{Code: wire.Shutdown, Message: "the server is shutting down"}
	ErrInternal    error = &Error{Code: wire.Internal, Message: "something went wrong in the server"}
)

// ErrClosed is the answer of a Client after Close.
var ErrClosed = fmt.Errorf("sessionserver: the client is closed")

// errEnded is the answer of a Session after its end: what the server would say.
var errEnded = wire.Errorf(wire.NoSession, "the session has ended; open it again")

// errChanged is the answer to a save that would undo somebody else's.
var errChanged = wire.Errorf(wire.LockLost, "somebody else has changed the session since it was lost; nothing is saved")

// ConnError says that a connection could not be made, that it broke, or that the server did not answer in time. After
// Close, Save and Commit it leaves open whether the session was saved; after anything else nothing was.
type ConnError struct {
	Op   string // what was to be done: "dial", "open", …
	Addr string // host:port, or a socket's path
	Err  error
}

func (e *ConnError) Error() string {
	return fmt.Sprintf("sessionserver: %s: connection to %s: %v", e.Op, e.Addr, e.Err)
}

// Unwrap returns what the network said.
func (e *ConnError) Unwrap() error { return e.Err }

// lost reports whether an error is that of a connection that broke. One that is silent may have the lock still.
func lost(err error) bool {
	var broken *ConnError
	return errors.As(err, &broken) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TenantError says that the certificate of a DSN is not that of an app of the tenant that the DSN names: sessions would
// be another tenant's.
type TenantError struct {
	Tenant   string // that the DSN names
	Identity string // tenant/app that the server takes the client for
}

func (e *TenantError) Error() string {
	return fmt.Sprintf("sessionserver: dial: the server knows this client as %.140q, and the DSN names the tenant %q", e.Identity, e.Tenant)
}

// DSNError tells everything that is wrong with a DSN, without showing any of its values.
type DSNError struct {
	Problems []string // "name: problem (allowed: …)"
}

func (e *DSNError) Error() string {
	return "sessionserver: DSN: " + strings.Join(e.Problems, "; ")
}

// refused names the operation that a refusal answers.
func refused(op string, e *Error) error {
	return fmt.Errorf("sessionserver: %s: %w", op, e)
}
