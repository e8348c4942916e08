package wire

import "fmt"

// Code is the first word after err: stable, upper case, made for programs. Messages are made for people and may change.
type Code string

// The error codes of the protocol. PROTOCOL.md tells when each is sent.
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

// Error is a refusal as it stands on the wire.
type Error struct {
	Code    Code
	Message string // one line that says what to do; no CR, LF or secret

	// Fatal says that the connection cannot go on, because nobody knows where the next request begins.
	Fatal bool
}

// Errorf makes an Error that leaves the connection usable.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func fatalf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Fatal: true}
}

func (e *Error) Error() string { return string(e.Code) + " " + e.Message }

// Is reports whether target is an Error of the same code, so that errors.Is(err, &wire.Error{Code: wire.NotFound}) holds for every
// message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
