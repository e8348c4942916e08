package session

import "errors"

// What a caller may have to be told. The text of every error that is one of these, with all that is wrapped around
// it, is fit for the eyes of a client: it names no file, no secret, no id and no other tenant.
var (
	ErrNotFound    = errors.New("no such session")
	ErrNoKey       = errors.New("no such key")
	ErrReadOnly    = errors.New("the session is open for reading only")
	ErrLockTimeout = errors.New("the session is locked")
	ErrLockLost    = errors.New("the lock was lost")
	ErrClosed      = errors.New("the session is not open any more")
	ErrBadID       = errors.New("malformed session id")
	ErrBadKey      = errors.New("malformed key")
	ErrBadMode     = errors.New("unknown mode")
	ErrBadDuration = errors.New("time out of range")
	ErrTooLarge    = errors.New("too large")
	ErrQuota       = errors.New("over quota") // always a *QuotaError, which says of which
)

// ErrStore says that the store failed; what it wraps besides is for the log only.
var ErrStore = errors.New("session: the store failed")
