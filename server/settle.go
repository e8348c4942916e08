package server

import (
	"errors"
	"time"
)

// settle concludes a request by its outcome. In this order it writes the audit log, writes the log, calls the observer,
// charges the error budget, and completes the reply. cmd is nil for a request without a known command.
func (c *conn) settle(cmd *Command, start time.Time, err error) {
	info := CommandInfo{Framing: c.transport.reply.Framing()}
	if cmd != nil {
		info.Command = cmd.Name
		if err == nil {
			err = c.recordFact()
		}
		if err == nil && !c.transport.reply.Complete() {
			err = errors.New("server: the handler did not send exactly one reply")
		}
	}
	if errors.Is(err, errPeerLeft) {
		c.end.because(PeerLeft)
		info.Outcome, info.PeerLeft, info.Duration = c.transport.reply.Outcome(), true, c.account.tick().Sub(start)
		c.observer.CommandRan(info)
		return
	}
	if err == nil {
		info.Outcome, info.Duration = c.transport.reply.Outcome(), c.account.tick().Sub(start)
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
	info.Outcome, info.Gate, info.Tenant, info.Duration = r.reply.Code, r.gate, r.tenant(), c.account.tick().Sub(start)
	c.observer.CommandRan(info)
	if r.closes != PeerLeft {
		c.end.because(r.closes)
	}
	message := r.reply.Message
	if codeRules[r.reply.Code].budget {
		if c.budget--; c.budget < 0 {
			c.end.because(ErrorBudget)
			message += " (too many errors: the connection is closed)"
		}
	}
	if cmd != nil && !c.transport.retract(info.Framing) {
		c.end.because(Failed) // a client cannot tell half a reply from the refusal
	}
	c.transport.reply.Error(r.reply.Code, message)
}

// turnDown is settle for a refusal of the connection itself. The audit log has it at the end of the connection. The
// reply is left to the calling function, since the framing may be unknown.
func (c *conn) turnDown(r *refusal) {
	c.end.refusal = r
	c.server.notices.refused(c, "", r.reply.Code)
	if r.scope != "" {
		c.observer.RateLimited(r.scope)
	}
	if r.gate != "" {
		c.observer.Refused(r.gate, r.tenant())
	}
}
