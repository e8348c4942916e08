package wire

import "fmt"

// Code is the first word after err. It is stable, upper case and for programs. Messages are for people and may
// change.
type Code string

// The error codes of the protocol. PROTOCOL.md describes when each of them is sent.
const (
	NoAuth      Code = "NOAUTH"
	BadAuth     Code = "BADAUTH"
	TLSRequired Code = "TLSREQUIRED"
	IPDenied    Code = "IPDENIED"
	Denied      Code = "DENIED"
	RateLimited Code = "RATELIMITED"
	Quota       Code = "QUOTA"
	NoSession   Code = "NOSESSION"
	Busy        Code = "BUSY"
	NotFound    Code = "NOTFOUND"
	NoKey       Code = "NOKEY"
	ReadOnly    Code = "READONLY"
	LockTimeout Code = "LOCKTIMEOUT"
	LockLost    Code = "LOCKLOST"
	BadID       Code = "BADID"
	BadKey      Code = "BADKEY"
	BadArg      Code = "BADARG"
	TooLarge    Code = "TOOLARGE"
	Binary      Code = "BINARY"
	Unknown     Code = "UNKNOWN"
	Protocol    Code = "PROTOCOL"
	Unavailable Code = "UNAVAILABLE"
	Shutdown    Code = "SHUTDOWN"
	Internal    Code = "INTERNAL"
)

// Codes lists every code in the order of the specification.
var Codes = []Code{
	NoAuth, BadAuth, TLSRequired, IPDenied, Denied, RateLimited, Quota, NoSession, Busy, NotFound, NoKey, ReadOnly,
	LockTimeout, LockLost, BadID, BadKey, BadArg, TooLarge, Binary, Unknown, Protocol, Unavailable, Shutdown, Internal,
}

// Error is a refusal as it is sent on the wire.
type Error struct {
	Code    Code
	Message string // one line: what failed, why, what to do; never a secret

	// Fatal means that the connection cannot continue, because the beginning of the next request is unknown.
	Fatal bool
}

// Errorf returns an Error after which the connection can continue.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func fatalf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Fatal: true}
}

func (e *Error) Error() string { return string(e.Code) + " " + e.Message }

// Is reports whether target is an Error with the same code. So errors.Is(err, &wire.Error{Code: wire.NotFound}) holds
// for any message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
