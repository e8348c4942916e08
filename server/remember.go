package server

import (
	"crypto/x509"
	"errors"
	"strings"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/session"
	"sessionserver/wire"
)

// refusalEvents is how many refusals of one app are events of their own. Further ones are aggregated: an app that asks
// for what it may not have must not push the events of others out of the log.
var refusalEvents = Rate{PerSecond: 10, Burst: 100}

// recordsRefusal reports whether the next refusal of the connection's app is to be an event of its own.
func (c *conn) recordsRefusal() bool {
	r := c.access.rules
	return r != nil && r.apps[c.info.Identity.App].refusals.Allow()
}

// Reasons of audit.OperationDenied.
const (
	byAllowlist = "allowlist"
	byPolicy    = "policy"
)

// admitAudit refuses what the audit log could not record. A command that only lets go of a session is always admitted.
func admitAudit(c *Call) error {
	if c.Command.Access == None || c.Command.Releases && c.access() != Write {
		return nil
	}
	return c.conn.auditable()
}

// auditable returns errUnaudited if the audit log cannot be written.
func (c *conn) auditable() error {
	if c.server.opts.Audit.Err() != nil {
		return errUnaudited
	}
	return nil
}

var (
	errUnaudited = &refusal{
		reply: wire.Errorf(wire.Unavailable, "the audit log cannot be written, and nothing is done that it would not have: "+
			"try again later, or abort; the operator's log says why"),
		gate: gateAudit,
	}
	errUnrecorded = wire.Errorf(wire.Unavailable, "the audit log could not be written: the operation may have been carried out, "+
		"look before you repeat it; the operator's log says why")
)

// event is one about the connection, as it is now.
func (c *conn) event(code audit.Code) audit.Event {
	id := c.info.Identity
	return audit.Event{Code: code, Tenant: id.Tenant, App: id.App, Address: c.info.Remote, Listener: c.info.Listener, Conn: c.info.ID}
}

// subject is the hash of the id of the session that the command is about, if it is about one.
func (c *conn) subject() [32]byte {
	switch {
	case c.session != nil:
		return c.session.ID()
	case c.call.Command != nil && c.call.Command.TakesID && len(c.call.Args) > 0:
		return session.Hash(c.call.Args[0])
	}
	return [32]byte{}
}

// fact is what a command has done, for the audit log.
type fact struct {
	code    audit.Code
	session [32]byte
	reason  string
	detail  string
}

// introduction is who a connection has become, and how.
type introduction struct {
	who auth.Identity
	how string
}

// recordFact records what the command has done. The error says that it could not be recorded. The connection waits for
// the log out of turn, and so delays no other.
func (c *conn) recordFact() error {
	f := &c.call.fact
	came := introduction{c.info.Identity, f.reason}
	if c.server.opts.Audit == nil || f.code == 0 || f.code == audit.ConnectionAuthenticated && came == c.introduced {
		return nil
	}
	e := c.event(f.code)
	e.Session, e.Command, e.Reason, e.Detail = f.session, c.call.Command.Name, f.reason, f.detail
	if err := c.record(e); err != nil {
		if f.code == audit.ConnectionAuthenticated {
			c.reason, c.quit = Refused, true // an identity that is not on record may not act
		}
		return err
	}
	if f.code == audit.ConnectionAuthenticated {
		c.introduced = came
	}
	return nil
}

// recordRefusal records a refusal that has an event. Nothing was done, and so the reply is the same if that fails.
func (c *conn) recordRefusal(r *refusal) {
	if c.server.opts.Audit == nil || r.event == 0 {
		return
	}
	e := c.event(r.event)
	e.Reason, e.Detail = r.reason, r.detail
	if !r.identity.IsZero() {
		e.Tenant, e.App = r.identity.Tenant, r.identity.App
	}
	if c.call.Command != nil {
		e.Command = c.call.Command.Name
	}
	e.Session = c.subject()
	if r.unbounded() || !c.recordsRefusal() {
		c.server.gathered.note(e, c.ipKey())
		return
	}
	_ = c.record(e)
}

// record writes an event, out of turn.
func (c *conn) record(e audit.Event) error {
	if c.ticket.line != nil {
		c.exit()
		defer c.enter()
	}
	if c.server.opts.Audit.Record(e) != nil {
		return errUnrecorded
	}
	return nil
}

// manner is how the connection has become who it is without having said anything, and by which certificate.
func (c *conn) manner() (reason, detail string) {
	method := c.access.grant.Method()
	if method == auth.ByCertificate {
		detail = describeCertificate(c.certificate)
	}
	return string(method), detail
}

// describeCertificate is what the audit log has of a client's certificate: enough to find it.
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

// authenticated records that the connection has become somebody without having said anything.
func (c *conn) authenticated() error {
	if c.info.Identity.IsZero() {
		return nil
	}
	e := c.event(audit.ConnectionAuthenticated)
	e.Reason, e.Detail = c.manner()
	c.introduced = introduction{c.info.Identity, e.Reason}
	return c.record(e)
}

// abandon drops what was not saved of the open session. That its lock was lost nobody hears any more but the audit log.
func (c *conn) abandon() {
	s := c.session
	if s == nil {
		return
	}
	c.session = nil
	if errors.Is(s.Abort(), session.ErrLockLost) {
		e := c.event(audit.SessionLockLost)
		e.Session = s.ID()
		c.exit()
		c.server.opts.Audit.Note(e)
	}
}

// recordEnd records the end of a connection that was refused or revoked.
func (c *conn) recordEnd(reason CloseReason) {
	if c.server.opts.Audit == nil {
		return
	}
	if reason == Revoked {
		c.server.opts.Audit.Note(c.event(audit.ConnectionRevoked))
		return
	}
	if !c.info.Identity.IsZero() {
		return
	}
	switch reason {
	case PeerLeft, Quit, Drained, Failed, ACMEChallenge:
		return
	}
	e := c.event(audit.ConnectionRefused)
	e.Reason = reason.String()
	if r := c.refused; r != nil {
		e.Tenant, e.App, e.Detail = r.identity.Tenant, r.identity.App, r.reply.Message
	}
	c.server.gathered.note(e, c.ipKey())
}
