package server

import (
	"errors"
	"time"

	"golang.org/x/time/rate"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/wire"
)

// access is who a connection acts as and by which rules. Nobody has a directory and the rates of a stranger only.
type access struct {
	grant    auth.Grant
	from     *directory // where all of this was found
	rules    *rules
	admitted bool             // whether the client may come from where it comes from
	rates    [5]*rate.Limiter // of the address, the app and the tenant; from inBytes on in bytes: of app and tenant
	bucket   *bucket          // the first of them; see addressBook.hold
	creation *rate.Limiter
}

// inBytes is the first of access.rates that is in bytes.
const inBytes = 3

// patience is for how long the connection is held back by a rate at most.
func (c *conn) patience() time.Duration {
	if c.access.rules != nil && c.access.rules.rates.OnLimit == Delay {
		return DelayMax
	}
	return 0
}

var errRevoked = &refusal{
	reply: wire.Errorf(wire.NoAuth,
		"the credentials of this connection are not good any more: it is closed; connect and authenticate again"),
	gate: gateAuthenticated,
}

// notAdmitted returns the refusal of an identity whose allowlists do not have the client's address.
func notAdmitted(id auth.Identity) *refusal {
	return &refusal{
		reply: wire.Errorf(wire.IPDenied, "the tenant or the app does not take clients from this address"),
		gate:  gateAllowlist, event: audit.OperationDenied, reason: byAllowlist, identity: id,
	}
}

// identify makes the connection act as the holder of grant, which may be nobody's. On an error it stays who it was. Strangers may send
// little.
func (c *conn) identify(grant auth.Grant) error {
	for {
		d := c.server.directory.Load()
		if !grant.Identity.IsZero() {
			var err error
			if grant, err = d.auth.Renew(grant); err != nil { // it is of an earlier directory
				return err
			}
		}
		next, err := c.accessOf(grant, d)
		if err != nil {
			return err
		}
		c.assume(next)
		// Tenants that were set meanwhile may not have seen what this connection had become.
		if c.server.directory.Load() == d {
			return nil
		}
	}
}

// become is identify for one who has just shown who it is.
func (c *conn) become(grant auth.Grant) error {
	was := c.info.Identity
	if err := c.identify(grant); err != nil {
		return err
	}
	if now := c.info.Identity; !was.IsZero() || !now.IsZero() {
		c.observer.Identified(now, c.access.grant.Method())
	}
	return nil
}

// accessOf works out the access that a grant gives by a directory, and counts the connection for its tenant.
func (c *conn) accessOf(grant auth.Grant, d *directory) (access, error) {
	next := access{grant: grant, from: d}
	if grant.Identity.IsZero() {
		next.hold(c, unauthenticated, c.server.opts.Unauthenticated)
		return next, nil
	}
	r := d.rules[grant.Identity.Tenant]
	if was := c.access.rules; was == nil || was.usage != r.usage {
		if n := r.usage.conns.Add(1); r.maxConns > 0 && n > int64(r.maxConns) {
			r.usage.conns.Add(-1)
			return access{}, &refusal{
				reply: wire.Errorf(wire.Quota, "the tenant has as many connections as it may, %d: close some, or keep fewer in pools", r.maxConns),
				gate:  gateQuota, event: audit.OperationQuota, reason: "connections", identity: grant.Identity,
			}
		}
	}
	app := r.apps[grant.Identity.App]
	next.rules, next.creation = r, app.creation
	next.rates[1], next.rates[2] = limited(app.rate), limited(r.rate)
	next.rates[3], next.rates[4] = limited(app.bytes), limited(r.bytes)
	next.hold(c, grant.Identity.Tenant, r.rates.Address)
	next.admitted = d.auth.Admits(grant.Identity, c.info.Remote.Addr())
	return next, nil
}

// hold takes the limiter that the client's address has for kind.
func (a *access) hold(c *conn, kind string, r Rate) {
	if a.bucket = c.server.addresses.hold(c.rated(kind), r); a.bucket != nil {
		a.rates[0] = a.bucket.Limiter
	}
}

// limiter is that of the client's address for kind, for use at once.
func (c *conn) limiter(kind string, r Rate) *rate.Limiter {
	return c.server.addresses.limiter(c.rated(kind), r)
}

// rated is the client's address for a limiter of kind. Clients of a Unix socket have none.
func (c *conn) rated(kind string) rated {
	who := rated{kind: kind}
	if c.info.Remote.IsValid() {
		who.address = c.ipKey()
	}
	return who
}

// assume puts an access in the place of the one before.
func (c *conn) assume(next access) {
	if was := c.access.rules; was != nil && (next.rules == nil || next.rules.usage != was.usage) {
		was.usage.conns.Add(-1)
		c.release()
	}
	c.server.addresses.letGo(c.access.bucket)
	c.mu.Lock()
	c.access = next
	c.mu.Unlock()
	c.info.Identity = next.grant.Identity
	c.question.Tenant, c.question.App, c.question.Role = next.grant.Identity.Tenant, next.grant.Identity.App, string(next.grant.Role)
	c.question.Address, c.question.Listener = c.info.Remote.Addr(), c.info.Listener
	if next.grant.Identity.IsZero() {
		c.reader.SetLimits(wire.UnauthenticatedLimits(), nil)
		return
	}
	limits := c.server.opts.Limits
	c.reader.SetLimits(limits, c.server.table.payload(limits))
}

// renew brings the access up to date with the directory as it is now.
func (c *conn) renew() error {
	grant := c.access.grant
	if e := grant.Expires; !e.IsZero() && time.Now().After(e) {
		return c.revoke()
	}
	if c.server.directory.Load() == c.access.from || grant.Identity.IsZero() {
		return nil
	}
	if err := c.identify(grant); err != nil || !c.access.admitted {
		return c.revoke()
	}
	return nil
}

func (c *conn) revoke() error {
	c.reason, c.quit = Revoked, true
	return errRevoked
}

// leave counts the connection out of its tenant.
func (c *conn) leave() {
	if c.access.rules != nil {
		c.access.rules.usage.conns.Add(-1)
		c.release()
	}
	c.server.addresses.letGo(c.access.bucket)
}

// recheck ends the connection if by d nobody may act any more as it does. It is called while the connection does something else, perhaps
// waiting for a lock; the caller holds s.mu.
func (c *conn) recheck(d *directory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.access.grant.Identity
	if id.IsZero() {
		return
	}
	if _, err := d.auth.Renew(c.access.grant); err == nil && d.auth.Admits(id, c.info.Remote.Addr()) {
		return
	}
	c.revoked = true
	if c.interrupt != nil {
		c.interrupt(errRevoked)
	}
	_ = bare(c.nc).Close() // TLS would first say goodbye, and wait for a peer that does not read
}

// initially is who the client is before it has said anything: by its certificate if it has shown one, or else whoever the listener
// takes it for.
func (c *conn) initially() auth.Grant {
	known := c.server.directory.Load().auth
	var grant auth.Grant
	var err error
	method := auth.ByCertificate
	switch {
	case c.checks:
		return auth.Grant{}
	case c.certificate != nil:
		grant, err = known.Certificate(c.certificate)
	case !c.listener.Anonymous.IsZero():
		method = auth.Anonymously
		grant, err = known.Anonymous(c.listener.Anonymous)
	default:
		return auth.Grant{}
	}
	if err != nil {
		c.unknown = method
		c.log.Debug("a client is nobody: no app, or more than one, has its certificate or the listener's anonymous identity",
			"listener", c.listener.Name, "remote", c.remote())
		return auth.Grant{}
	}
	return grant
}

// relied counts that somebody relies upon being known without saying who he is, and is not. A connection that authenticates otherwise has not failed.
func (c *conn) relied() {
	if c.unknown == "" {
		return
	}
	c.observer.AuthFailed(c.unknown)
	if c.unknown == auth.ByCertificate {
		e := c.event(audit.AuthFailed)
		e.Reason, e.Detail = string(c.unknown), describeCertificate(c.certificate)
		c.server.gathered.note(e, c.ipKey())
	}
	c.unknown = ""
}

// authenticate makes the connection act as the app with these credentials; when they are not good it stays who it was.
func (c *Call) authenticate(name, secret string) error {
	if s := c.conn.session; s != nil {
		if err := s.Err(); err != nil {
			return err
		}
		return wire.Errorf(wire.Busy, "a session is open on this connection: close or abort it before auth")
	}
	if err := c.conn.auditable(); err != nil {
		return err
	}
	if c.conn.checks {
		return &refusal{
			reply: wire.Errorf(wire.IPDenied, "this connection is for a balancer's health checks, which may only ping"),
			gate:  gateAllowlist, event: audit.OperationDenied, reason: byAllowlist,
		}
	}
	d := c.conn.server.directory.Load().auth
	grant, err := d.Secret(name, secret)
	if errors.Is(err, auth.ErrBadCredentials) {
		return c.conn.failed(name, err)
	}
	if !d.Admits(grant.Identity, c.conn.info.Remote.Addr()) {
		return notAdmitted(grant.Identity)
	}
	if err := c.conn.become(grant); err != nil {
		return err
	}
	if err := c.conn.chargeLogin(); err != nil {
		return err
	}
	c.fact = fact{code: audit.ConnectionAuthenticated, reason: string(auth.BySecret)}
	return nil
}

// chargeLogin takes what a new connection costs from the rates of the identity that it has got. One beyond them is closed: otherwise whoever
// is at their limit would only have to connect anew.
func (c *conn) chargeLogin() error {
	err := c.pay(loginCost, c.patience())
	var refused *wire.Error
	if errors.As(err, &refused) && refused.Code == wire.RateLimited {
		c.reason, c.quit = RateLimited, true
	}
	return err
}

// failed counts bad credentials. Too many from one address end each connection that brings further ones; good ones are never refused for that,
// since nobody can guess a secret, and many hosts may share an address.
func (c *conn) failed(name string, err error) error {
	c.observer.AuthFailed(auth.BySecret)
	if wait, ok := take(c.limiter(authFailures, c.server.opts.AuthFailures), 1, 0); !ok {
		c.reason, c.quit = TooManyFailures, true
		return &refusal{ // without the identities that were tried
			reply: retryIn(wait), gate: gateRates, scope: OfAuthFailures, event: audit.AuthFailed, reason: "too_many",
		}
	}
	tried, _ := auth.ParseIdentity(name) // what is no name is nowhere shown
	return &refusal{reply: badAuthReply, cause: err, event: audit.AuthFailed, reason: string(auth.BySecret), identity: tried}
}
