package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// refusal is why a connection or a command was refused. The code that refuses returns it, and settle and turnDown carry
// it out.
type refusal struct {
	reply *wire.Error // what the client reads
	gate  string      // one of Gates; "" for a fault of the request or of the server
	scope Scope       // of the rate that refused; "" for any other refusal
	cause error       // for errors.Is; the client never reads it

	closes CloseReason // of the connection, which the refusal ends; the zero value leaves it open

	// For the audit log, which has no record without an event.
	event    audit.Code
	reason   string
	detail   string        // for people; never a key
	identity auth.Identity // that was refused, if that is not the connection's identity
}

func (r *refusal) Error() string { return r.reply.Error() }

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.reply}
	}
	return []error{r.reply, r.cause}
}

// tenant returns the tenant whose valid credentials were refused, or "". After a failed authentication the identity is
// only a claim of the client.
func (r *refusal) tenant() string {
	if r.event == audit.AuthFailed {
		return ""
	}
	return r.identity.Tenant
}

// unbounded reports whether a client can cause such refusals without limit. The audit log only has aggregates of them.
func (r *refusal) unbounded() bool {
	return r.event == audit.AuthFailed || r.event == audit.OperationRateLimited || r.reason == byAllowlist
}

// codeRule is what the server does about errors of one code.
type codeRule struct {
	gate   string // that refuses with this code, unless the refusal has another
	budget bool   // the error is charged to the error budget: a correct client does not cause it
	logged bool   // the error concerns an operator
}

var codeRules = map[wire.Code]codeRule{
	wire.NoAuth:      {budget: true},
	wire.BadAuth:     {budget: true, logged: true},
	wire.TLSRequired: {logged: true},
	wire.IPDenied:    {gate: gateAllowlist, logged: true},
	wire.Denied:      {gate: gatePolicy, logged: true},
	wire.RateLimited: {gate: gateRates, budget: true, logged: true},
	wire.Quota:       {gate: gateQuota, logged: true},
	wire.NoSession:   {budget: true},
	wire.Busy:        {budget: true},
	wire.NotFound:    {},
	wire.NoKey:       {},
	wire.ReadOnly:    {},
	wire.LockTimeout: {},
	wire.LockLost:    {},
	wire.BadID:       {budget: true},
	wire.BadKey:      {budget: true},
	wire.BadArg:      {budget: true},
	wire.TooLarge:    {budget: true},
	wire.Binary:      {},
	wire.Unknown:     {budget: true},
	wire.Protocol:    {budget: true, logged: true},
	wire.Unavailable: {logged: true},
	wire.Shutdown:    {gate: gateServing},
	wire.Internal:    {}, // logged with its cause
}

// sessionErrors maps the errors of package session to codes; the first match counts. Their texts are for clients.
var sessionErrors = []struct {
	err   error
	code  wire.Code
	event audit.Code
}{
	{session.ErrNotFound, wire.NotFound, 0},
	{session.ErrNoKey, wire.NoKey, 0},
	{session.ErrReadOnly, wire.ReadOnly, 0},
	{session.ErrLockTimeout, wire.LockTimeout, audit.SessionLockTimeout},
	{session.ErrLockLost, wire.LockLost, audit.SessionLockLost},
	{session.ErrClosed, wire.NoSession, 0},
	{session.ErrBadID, wire.BadID, 0},
	{session.ErrBadKey, wire.BadKey, 0},
	{session.ErrBadMode, wire.BadArg, 0},
	{session.ErrBadDuration, wire.BadArg, 0},
	{session.ErrTooLarge, wire.TooLarge, 0},
	{session.ErrQuota, wire.Quota, audit.OperationQuota},
}

var (
	errShutdown = &refusal{
		reply: wire.Errorf(wire.Shutdown, "the server is shutting down; connect again"), gate: gateServing,
	}
	badAuthReply = wire.Errorf(wire.BadAuth, "unknown app or wrong secret: auth tenant/app secret")
	errPeerLeft  = errors.New("server: the peer has left")
)

// panicked is the error of a handler that has panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// refusalOf returns the refusal for an error. An error of the storage becomes UNAVAILABLE and an unknown one INTERNAL,
// with an id under which the log has the cause.
func (c *conn) refusalOf(command string, err error) *refusal {
	var r *refusal
	var reply *wire.Error
	var quota *session.QuotaError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &reply):
		return &refusal{reply: reply, gate: codeRules[reply.Code].gate}
	}
	for _, row := range sessionErrors {
		if errors.Is(err, row.err) {
			r = &refusal{reply: wire.Errorf(row.code, "%v", err), gate: codeRules[row.code].gate, event: row.event}
			if errors.As(err, &quota) {
				r.reason = string(quota.Quota)
			}
			return r
		}
	}
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		return &refusal{reply: badAuthReply}
	case errors.Is(err, context.Canceled) && c.server.ctx.Err() != nil:
		return errShutdown
	}
	return c.fault(command, err)
}

// fault logs an error that the client cannot correct, unless too many are logged, and returns its refusal.
func (c *conn) fault(command string, err error) *refusal {
	kind, code, text := wire.Internal, wire.Internal, "internal error"
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
	r := &refusal{reply: wire.Errorf(code, "%s", text)}
	if panicked != nil {
		r.closes = Failed
	}
	return r
}
