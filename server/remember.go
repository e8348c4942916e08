package server

import (
	"crypto/x509"
	"errors"
	"strings"

	"sessionserver/auth"
	"sessionserver/server/audit"
	"sessionserver/session"
	"sessionserver/wire"
)

// denial is a refusal that the audit log remembers.
type denial struct {
	error
	event  audit.Code
	reason string
	detail string        // for people; never a key
	who    auth.Identity // if not the connection's
}

func (d *denial) Unwrap() error { return d.error }

// refusedTo is the tenant to whose app something was refused although its credentials were good, "" if nobody shows that it is a tenant's matter.
func refusedTo(err error) string {
	if d := (*denial)(nil); errors.As(err, &d) && d.event != audit.AuthFailed { // which names whoever the client says to be
		return d.who.Tenant
	}
	return ""
}

// frequent reports whether nothing bounds how often somebody is refused like this: such events are always gathered.
func (d *denial) frequent() bool {
	return d.event == audit.AuthFailed || d.event == audit.OperationRateLimited || d.reason == byAllowlist
}

// refusalEvents is how many refusals of one app are events of their own. Beyond that they are gathered, or an app that asks for what it may not have
// could push out of the log what others have done.
var refusalEvents = Rate{PerSecond: 10, Burst: 100}

// distinct reports whether a refusal of whoever the connection acts as is to be an event of its own.
func (c *conn) distinct() bool {
	r := c.access.rules
	return r != nil && r.apps[c.info.Identity.App].refusals.Allow()
}

// Reasons of audit.OperationDenied.
const (
	byAllowlist = "allowlist"
	byPolicy    = "policy"
)

// admitAudit lets nothing be done that the audit log could not remember. What lets go of a session and changes nothing is always possible.
func admitAudit(c *Call) error {
	if c.Command.Access == None || c.Command.Releases && c.access() != Write {
		return nil
	}
	return c.conn.unforgotten()
}

// unforgotten answers why nothing may be done that is to be remembered, or nil.
func (c *conn) unforgotten() error {
	if c.server.opts.Audit.Err() != nil {
		return errUnaudited
	}
	return nil
}

var (
	errUnaudited = wire.Errorf(wire.Unavailable, "the audit log cannot be written, and nothing is done that it would not have: "+
		"try again later, or abort; the operator's log says why")
	errForgotten = wire.Errorf(wire.Unavailable, "the audit log could not be written: the operation may have been carried out, look before you "+
		"repeat it; the operator's log says why")
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

// remember records what the command has done, or that it was refused, before that is answered. It answers err, or that what was done could not be
// recorded. Who waits for the log waits out of turn, and keeps nobody from saving.
func (c *conn) remember(err error) error {
	if c.server.opts.Audit == nil {
		return err
	}
	f := &c.call.fact
	if err != nil {
		c.rememberRefusal(err)
		return err
	}
	came := introduction{c.info.Identity, f.reason}
	if f.code == 0 || f.code == audit.ConnectionAuthenticated && came == c.introduced {
		return nil
	}
	e := c.event(f.code)
	e.Session, e.Command, e.Reason, e.Detail = f.session, c.call.Command.Name, f.reason, f.detail
	if err := c.record(e); err != nil {
		if f.code == audit.ConnectionAuthenticated {
			c.reason, c.quit = Refused, true // nobody acts whose coming is not remembered
		}
		return err
	}
	if f.code == audit.ConnectionAuthenticated {
		c.introduced = came
	}
	return nil
}

// rememberRefusal records why the command was refused, if that is one of those that are remembered. Nothing was done, and so nothing changes if it cannot be.
func (c *conn) rememberRefusal(err error) {
	var d *denial
	var quota *session.QuotaError
	e := c.event(0)
	switch {
	case errors.As(err, &d):
		e.Code, e.Reason, e.Detail = d.event, d.reason, d.detail
		if !d.who.IsZero() {
			e.Tenant, e.App = d.who.Tenant, d.who.App
		}
	case errors.Is(err, errCrowded):
		e.Code, e.Reason = audit.OperationQuota, "memory"
	case errors.As(err, &quota):
		e.Code, e.Reason = audit.OperationQuota, string(quota.Quota)
	case errors.Is(err, session.ErrLockTimeout):
		e.Code = audit.SessionLockTimeout
	case errors.Is(err, session.ErrLockLost):
		e.Code = audit.SessionLockLost
	default:
		return
	}
	if c.call.Command != nil {
		e.Command = c.call.Command.Name
	}
	e.Session = c.subject()
	if d != nil && d.frequent() || !c.distinct() {
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
		return errForgotten
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

// noteEnd notes that the connection was closed, if it was refused or revoked.
func (c *conn) noteEnd(reason CloseReason, wanted auth.Identity, detail string) {
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
	e.Tenant, e.App, e.Reason, e.Detail = wanted.Tenant, wanted.App, reason.String(), detail
	c.server.gathered.note(e, c.ipKey())
}
