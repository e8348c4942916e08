package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// refusal is why a connection or a command was refused. It is made by the code that refuses, and settle and turnDown
// carry out what follows from it.
type refusal struct {
	reply *wire.Error // what the client reads
	gate  string      // one of Gates; "" where the request or the server is at fault
	scope Scope       // of the rate that refused; "" for any other refusal
	cause error       // for errors.Is; the client never reads it

	// For the audit log. Nothing is recorded without an event.
	event    audit.Code
	reason   string
	detail   string        // for people; never a key
	identity auth.Identity // whom it was refused to, if that is not the connection's identity
}

func (r *refusal) Error() string { return r.reply.Error() }

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.reply}
	}
	return []error{r.reply, r.cause}
}

// tenant returns the tenant whose credentials were valid although the connection does not act for it, or "". A failed
// authentication has only the name that the client claimed.
func (r *refusal) tenant() string {
	if r.event == audit.AuthFailed {
		return ""
	}
	return r.identity.Tenant
}

// unbounded reports whether a client can cause such refusals without limit: the audit log only has aggregates of them.
func (r *refusal) unbounded() bool {
	return r.event == audit.AuthFailed || r.event == audit.OperationRateLimited || r.reason == byAllowlist
}

// codeRule is what the server does about errors of one code.
type codeRule struct {
	gate   string // that refuses with this code, unless the refusal names another
	budget bool   // the error takes from the error budget of the connection: a correct client does not cause it
	logged bool   // it concerns an operator
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

// sessionErrors maps the errors of package session to codes. The first that matches counts. The client reads the text
// of the error, which package session allows.
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

// panicked is the error that a panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// refusalOf returns the refusal that an error is or becomes. An unknown error becomes INTERNAL, and one of the storage
// UNAVAILABLE, with an id under which the log has the cause.
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

// fault logs an error that the client cannot do anything about, unless too many are logged, and returns its refusal.
func (c *conn) fault(command string, err error) *refusal {
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
	return &refusal{reply: wire.Errorf(code, "%s", text)}
}

// settle concludes a request by what became of it. In this order it writes the audit log, writes the log, calls the
// observer, charges the error budget, and completes the reply. cmd is nil for a request that names no command.
func (c *conn) settle(cmd *Command, start time.Time, err error) {
	info := CommandInfo{Framing: c.reply.Framing()}
	if cmd != nil {
		info.Command = cmd.Name
		if err == nil {
			err = c.recordFact()
		}
		if err == nil && !c.reply.Complete() {
			err = errors.New("server: the handler did not give exactly one answer")
		}
	}
	if errors.Is(err, errPeerLeft) {
		c.reason, c.quit = PeerLeft, true
		info.Outcome, info.PeerLeft, info.Duration = c.reply.Outcome(), true, time.Since(start)
		c.observer.CommandRan(info)
		return
	}
	if err == nil {
		info.Outcome, info.Duration = c.reply.Outcome(), time.Since(start)
		c.observer.CommandRan(info)
		c.budget = min(c.budget+1, c.server.opts.ErrorBudget)
		return
	}
	r := c.refusalOf(info.Command, err)
	c.recordRefusal(r)
	c.server.notices.refused(c, info.Command, r.reply.Code)
	if r.scope != "" {
		c.observer.RateLimited(r.scope)
	}
	info.Outcome, info.Gate, info.Tenant, info.Duration = r.reply.Code, r.gate, r.tenant(), time.Since(start)
	c.observer.CommandRan(info)
	message := r.reply.Message
	if codeRules[r.reply.Code].budget {
		if c.budget--; c.budget < 0 {
			c.reason, c.quit = ErrorBudget, true
			message += " (too many errors: the connection is closed)"
		}
	}
	if cmd != nil {
		c.retractReply(info.Framing)
	}
	c.reply.Error(r.reply.Code, message)
}

// retractReply takes back what the handler has written of a reply.
func (c *conn) retractReply(f wire.Framing) {
	if c.reply.Sunk() { // a half reply cannot be told from the refusal
		c.reason, c.quit = Failed, true
	}
	c.reply.Truncate(c.mark)
	c.reply.Begin(f)
}

// turnDown is settle for a refusal of the connection itself. The audit log records it when the connection ends, and the
// caller sends the reply.
func (c *conn) turnDown(r *refusal) {
	c.refused = r
	c.server.notices.refused(c, "", r.reply.Code)
	if r.scope != "" {
		c.observer.RateLimited(r.scope)
	}
	if r.gate != "" {
		c.observer.Refused(r.gate, r.tenant())
	}
}
