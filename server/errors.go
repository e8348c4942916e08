package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

var (
	errShutdown = wire.Errorf(wire.Shutdown, "the server is shutting down; connect again")
	errPeerLeft = errors.New("server: the peer has left")
)

// codes maps what the packages behind the gates detect to the words of the protocol. The first that matches counts.
var codes = []struct {
	err  error
	code wire.Code
}{
	{session.ErrNotFound, wire.NotFound},
	{session.ErrNoKey, wire.NoKey},
	{session.ErrReadOnly, wire.ReadOnly},
	{session.ErrLockTimeout, wire.LockTimeout},
	{session.ErrLockLost, wire.LockLost},
	{session.ErrClosed, wire.NoSession},
	{session.ErrBadID, wire.BadID},
	{session.ErrBadKey, wire.BadKey},
	{session.ErrBadMode, wire.BadArg},
	{session.ErrBadDuration, wire.BadArg},
	{session.ErrTooLarge, wire.TooLarge},
	{session.ErrQuota, wire.Quota},
}

// panicked is the error that a panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// refusal turns any error into what the client is told. Of errors that are in codes the client sees the whole text, as package session
// promises that it may; of those it does not know it sees an id, under which
// the log has the truth, unless there are too many to log.
func (c *conn) refusal(command string, err error) *wire.Error {
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return wire.Errorf(known.code, "%v", err)
		}
	}
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		return wire.Errorf(wire.BadAuth, "unknown app or wrong secret: auth tenant/app secret")
	case errors.Is(err, context.Canceled) && c.server.ctx.Err() != nil:
		return errShutdown
	}
	kind, code, text := wire.Internal, wire.Internal, "something went wrong here"
	if errors.Is(err, session.ErrStore) {
		kind, code, text = storeFailed, wire.Unavailable, "the storage failed; try again later"
	}
	var b [4]byte
	rand.Read(b[:])
	id := fmt.Sprintf("%x", b)
	attrs := []any{"error_id", id, "command", command, "code", code, "err", err}
	var panicked *panicked
	if errors.As(err, &panicked) {
		text += " and the connection is closed"
		attrs = append(attrs, "stack", string(panicked.stack))
	}
	if c.server.notices.log(c.log, slog.LevelError, kind, "command failed", attrs...) {
		text += "; the server's log has it as " + id
	}
	return wire.Errorf(code, "%s", text)
}

// counted reports whether an error takes from the connection's error budget: those that a correct client does not make.
func counted(code wire.Code) bool {
	switch code {
	case wire.NoAuth, wire.BadAuth, wire.BadID, wire.BadKey, wire.BadArg, wire.TooLarge, wire.Unknown, wire.Protocol, wire.RateLimited, wire.NoSession, wire.Busy:
		return true
	}
	return false
}
