package session

import "errors"

// Errors for clients. The text of every error that wraps one of these may be sent to a client. It contains no file
// name, no secret, no id and no other tenant's name.
var (
	ErrNotFound    = errors.New("no such session")
	ErrNoKey       = errors.New("no such key")
	ErrReadOnly    = errors.New("the session is open for reading only")
	ErrLockTimeout = errors.New("the session is locked")
	ErrLockLost    = errors.New("the lock was lost")
	ErrClosed      = errors.New("the session is no longer open; open it again")
	ErrBadID       = errors.New("malformed session id")
	ErrBadKey      = errors.New("malformed key")
	ErrBadMode     = errors.New("unknown mode")
	ErrBadDuration = errors.New("time out of range")
	ErrTooLarge    = errors.New("too large")
	ErrQuota       = errors.New("over quota") // always a *QuotaError, which names the quota
)

// ErrStore reports that the store failed. The errors that it wraps are for the log only.
var ErrStore = errors.New("session: the store failed")
