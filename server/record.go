package server

import (
	"crypto/x509"
	"strings"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// refusalEvents is the rate of the refusals of one app that are events of their own. Further ones are aggregated, so
// that an app with many refusals does not push the events of others out of the audit log.
var refusalEvents = Rate{PerSecond: 10, Burst: 100}

// Reasons of audit.OperationDenied.
const (
	byAllowlist = "allowlist"
	byPolicy    = "policy"
)

var (
	errUnaudited = &refusal{
		reply: wire.Errorf(wire.Unavailable, "the audit log cannot be written, and nothing was done: "+
			"try again later, or abort; the operator's log has the cause"),
		gate: gateAudit,
	}
	errUnrecorded = wire.Errorf(wire.Unavailable, "the audit log could not be written: "+
		"the operation may have been carried out, look before you repeat it; the operator's log has the cause")
)

// fact is what a command has done, for the audit log.
type fact struct {
	code    audit.Code
	session [32]byte
	reason  string
	detail  string
}

// introduction is an identity that a connection has got, and the method.
type introduction struct {
	identity auth.Identity
	method   string
}

// event returns an event about the caller, as it is now.
func (c *caller) event(code audit.Code) audit.Event {
	id := c.info.Identity
	return audit.Event{
		Code: code, Tenant: id.Tenant, App: id.App, Address: c.info.Remote, Listener: c.info.Listener, Conn: c.info.ID,
	}
}

// recordsRefusal reports whether the next refusal of the caller's app is an event of its own.
func (c *caller) recordsRefusal() bool {
	r := c.access.rules
	return r != nil && r.apps[c.info.Identity.App].refusals.Allow()
}

// authentication returns the fact that the caller has its identity without a command.
func (c *caller) authentication() fact {
	f := fact{code: audit.ConnectionAuthenticated, reason: string(c.access.grant.Method())}
	if c.access.grant.Method() == auth.ByCertificate {
		f.detail = describeCertificate(c.certificate)
	}
	return f
}

// describeCertificate returns what the audit log has of a client certificate: enough to find it.
func describeCertificate(cert *x509.Certificate) string {
	facts := certificateFacts(cert)
	names := make([]string, 0, len(facts.DNSNames)+len(facts.URIs))
	for _, name := range facts.DNSNames {
		names = append(names, "dns:"+name)
	}
	for _, uri := range facts.URIs {
		names = append(names, "uri:"+uri)
	}
	return strings.Join(append([]string{"sha256 " + facts.SHA256, facts.Subject}, names...), "; ")
}

// auditable returns errUnaudited if the audit log cannot be written.
func (c *conn) auditable() error {
	if c.server.opts.Audit.Err() != nil {
		return errUnaudited
	}
	return nil
}

// record writes an event. The connection waits for the audit log out of turn, and so delays no other one. Without an
// audit log it does nothing.
func (c *conn) record(e audit.Event) error {
	return c.account.blocking(func() error {
		if c.server.opts.Audit.Record(e) != nil {
			return errUnrecorded
		}
		return nil
	})
}

// recordFact records what the command has done. The error reports that it could not be recorded.
func (c *conn) recordFact() error {
	f := &c.call.fact
	authenticated := f.code == audit.ConnectionAuthenticated
	now := introduction{c.caller.info.Identity, f.reason}
	if c.server.opts.Audit == nil || f.code == 0 || authenticated && now == c.caller.introduced {
		return nil
	}
	e := c.caller.event(f.code)
	e.Session, e.Command, e.Reason, e.Detail = f.session, c.call.Command.Name, f.reason, f.detail
	switch err := c.record(e); {
	case err != nil && authenticated: // an identity that is not on record may not act
		return &refusal{reply: errUnrecorded, closes: Refused}
	case err != nil:
		return err
	case authenticated:
		c.caller.introduced = now
	}
	return nil
}

// recordIntroduction records that the client has its identity without a command.
func (c *conn) recordIntroduction() error {
	if c.caller.info.Identity.IsZero() {
		return nil
	}
	f := c.caller.authentication()
	e := c.caller.event(f.code)
	e.Reason, e.Detail = f.reason, f.detail
	c.caller.introduced = introduction{c.caller.info.Identity, f.reason}
	return c.record(e)
}

// recordRefusal records a refusal that has an event. Nothing was done, so the reply is the same if that fails.
func (c *conn) recordRefusal(r *refusal) {
	if c.server.opts.Audit == nil || r.event == 0 {
		return
	}
	e := c.caller.event(r.event)
	e.Reason, e.Detail = r.reason, r.detail
	if !r.identity.IsZero() {
		e.Tenant, e.App = r.identity.Tenant, r.identity.App
	}
	if c.call.Command != nil {
		e.Command = c.call.Command.Name
	}
	e.Session = c.subject()
	if r.unbounded() || !c.caller.recordsRefusal() {
		c.server.aggregator.add(e, c.caller.ipKey())
		return
	}
	_ = c.record(e)
}

// subject returns the hash of the id of the session that the command is about. It is zero for any other command.
func (c *conn) subject() [32]byte {
	switch {
	case c.session != nil:
		return c.session.ID()
	case c.call.Command != nil && c.call.Command.TakesID && len(c.call.Args) > 0:
		return session.Hash(c.call.Args[0])
	}
	return [32]byte{}
}

// recordUnidentified records, once, that the client relies on an identity without a command and has none. A client that
// authenticates by a command has not failed.
func (c *conn) recordUnidentified() {
	method := c.caller.unidentified
	if method == "" {
		return
	}
	c.observer.AuthFailed(method)
	if method == auth.ByCertificate {
		e := c.caller.event(audit.AuthFailed)
		e.Reason, e.Detail = string(method), describeCertificate(c.caller.certificate)
		c.server.aggregator.add(e, c.caller.ipKey())
	}
	c.caller.unidentified = ""
}

// recordLockLost records the loss of the lock of a session that the connection has abandoned.
func (c *conn) recordLockLost(id [32]byte) {
	e := c.caller.event(audit.SessionLockLost)
	e.Session = id
	c.account.exit()
	c.server.opts.Audit.Note(e)
}

// recordEnd records the end of a connection that was refused or revoked.
func (c *conn) recordEnd() {
	if c.server.opts.Audit == nil {
		return
	}
	if c.end.reason == Revoked {
		c.server.opts.Audit.Note(c.caller.event(audit.ConnectionRevoked))
		return
	}
	if !c.caller.info.Identity.IsZero() {
		return
	}
	switch c.end.reason {
	case PeerLeft, Quit, Drained, Failed, ACMEChallenge:
		return
	}
	e := c.caller.event(audit.ConnectionRefused)
	e.Reason = c.end.reason.String()
	if r := c.end.refusal; r != nil {
		e.Tenant, e.App, e.Detail = r.identity.Tenant, r.identity.App, r.reply.Message
	}
	c.server.aggregator.add(e, c.caller.ipKey())
}
