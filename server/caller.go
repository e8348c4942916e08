package server

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/policy"
	"sessionserver/wire"
)

// caller is the client of a connection: where it comes from, the identity that it acts as, and the rules that follow
// from both. It belongs to the connection's goroutine, except for what mu guards.
type caller struct {
	server      *Server
	account     *account
	listener    *Listen
	info        ConnInfo
	certificate *x509.Certificate // verified; nil if the client has presented none
	name        string            // set by CLIENT SETNAME
	question    policy.Input      // the caller's part is always set; the part of the command is set by Call.describe

	balancer    bool // a trusted balancer speaks for itself; see Listen.Proxies
	healthCheck bool // the balancer is admitted for health checks only, and never gets an identity

	unidentified auth.Method  // that yielded no identity; "" if that is reported or there is none
	introduced   introduction // last one that the audit log has

	mu        sync.Mutex // guards writing access, and what follows; comes after Server.mu
	access    access
	revoked   bool                    // by recheck
	interrupt context.CancelCauseFunc // ends the wait of a command; nil if none waits
}

// access is the identity of a caller and the rules that it is subject to. An unauthenticated caller only has a
// directory and the unauthenticated rates.
type access struct {
	grant    auth.Grant
	from     *directory // that the grant and the rules come from
	rules    *rules
	admitted bool             // the allowlists of the tenant and the app have the client's address
	rates    [5]*rate.Limiter // of the address, the app and the tenant; from inBytes on in bytes: of app and tenant
	bucket   *bucket          // the first of the rates; see addressBook.hold
	creation *rate.Limiter
}

// inBytes is the index of the first of access.rates that is in bytes.
const inBytes = 3

// delayMax returns how long a rate may hold the connection back.
func (a *access) delayMax() time.Duration {
	if a.rules != nil && a.rules.rates.OnLimit == Delay {
		return DelayMax
	}
	return 0
}

// scope returns the scope of rates[i].
func (a *access) scope(i int) Scope {
	if a.rules == nil {
		return OfUnauthenticated
	}
	return [len(a.rates)]Scope{OfAddress, OfApp, OfTenant, OfAppBytes, OfTenantBytes}[i]
}

var errRevoked = &refusal{
	reply: wire.Errorf(wire.NoAuth,
		"the credentials of this connection are no longer valid: it is closed; connect and authenticate again"),
	gate: gateAuthenticated, closes: Revoked,
}

// notAdmitted returns the refusal of an identity whose allowlists do not have the client's address.
func notAdmitted(id auth.Identity) *refusal {
	return &refusal{
		reply: wire.Errorf(wire.IPDenied,
			"the tenant or the app does not allow this address; ask the operator to allow it"),
		gate: gateAllowlist, event: audit.OperationDenied, reason: byAllowlist, identity: id,
	}
}

// init makes the caller of a connection.
func (c *caller) init(of *conn, listener *Listen, info ConnInfo) {
	c.server, c.account, c.listener, c.info = of.server, &of.account, listener, info
}

// remote returns the client's address for the log.
func (c *caller) remote() string {
	if c.info.Remote.IsValid() {
		return c.info.Remote.String()
	}
	return "unix"
}

// ipKey returns the address under which connections are counted. An IPv6 host has a whole /64 to choose from.
func (c *caller) ipKey() string {
	ip := c.info.Remote.Addr()
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.String()
	}
	return ip.String()
}

// limiter returns the limiter of the client's address for a kind of cost, for use at once.
func (c *caller) limiter(kind string, r Rate) *rate.Limiter {
	return c.server.addresses.limiter(c.limiterKey(kind), r)
}

// limiterKey returns the key of the client's address in an addressBook. A client of a Unix socket has no address.
func (c *caller) limiterKey(kind string) limiterKey {
	key := limiterKey{kind: kind}
	if c.info.Remote.IsValid() {
		key.address = c.ipKey()
	}
	return key
}

// initial returns the grant that the client has before it sends a command: by its certificate, or else by the listener.
func (c *caller) initial() auth.Grant {
	known := c.server.directory.Load().auth
	var grant auth.Grant
	var err error
	method := auth.ByCertificate
	switch {
	case c.healthCheck:
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
		c.unidentified = method
		return auth.Grant{}
	}
	return grant
}

// mustLogIn reports whether the client still has to authenticate. Before the first grant that is unknown on a listener
// with an anonymous identity.
func (c *caller) mustLogIn() bool {
	return c.access.grant.Identity.IsZero() && (c.access.from != nil || c.listener.Anonymous.IsZero())
}

// identify makes the caller act as the holder of a grant; the zero grant has no identity. On an error the caller keeps
// the access that it had.
func (c *caller) identify(grant auth.Grant) error {
	for {
		d := c.server.directory.Load()
		if !grant.Identity.IsZero() {
			var err error
			if grant, err = d.auth.Renew(grant); err != nil { // the grant is of an earlier directory
				return err
			}
		}
		next, err := c.accessOf(grant, d)
		if err != nil {
			return err
		}
		c.assume(next)
		// A concurrent SetTenants may have checked the access before this one.
		if c.server.directory.Load() == d {
			return nil
		}
	}
}

// accessOf returns the access that a grant has in a directory, and counts the connection for its tenant.
func (c *caller) accessOf(grant auth.Grant, d *directory) (access, error) {
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
				reply: wire.Errorf(wire.Quota,
					"the tenant has reached its limit of %d connections: close some, or keep fewer in pools",
					r.maxConns),
				gate: gateQuota, event: audit.OperationQuota, reason: "connections", identity: grant.Identity,
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

// hold takes the limiter of the client's address for a kind of cost.
func (a *access) hold(c *caller, kind string, r Rate) {
	if a.bucket = c.server.addresses.hold(c.limiterKey(kind), r); a.bucket != nil {
		a.rates[0] = a.bucket.Limiter
	}
}

// assume replaces the access.
func (c *caller) assume(next access) {
	if was := c.access.rules; was != nil && (next.rules == nil || next.rules.usage != was.usage) {
		was.usage.conns.Add(-1)
		c.account.release()
	}
	c.server.addresses.release(c.access.bucket)
	c.mu.Lock()
	c.access = next
	c.mu.Unlock()
	id := next.grant.Identity
	c.info.Identity = id
	c.question.Tenant, c.question.App, c.question.Role = id.Tenant, id.App, string(next.grant.Role)
	c.question.Address, c.question.Listener = c.info.Remote.Addr(), c.info.Listener
}

// renew updates the access to the present directory. The error is errRevoked.
func (c *caller) renew() error {
	grant := c.access.grant
	if e := grant.Expires; !e.IsZero() && c.account.clock().After(e) {
		return errRevoked
	}
	if c.server.directory.Load() == c.access.from || grant.Identity.IsZero() {
		return nil
	}
	if err := c.identify(grant); err != nil || !c.access.admitted {
		return errRevoked
	}
	return nil
}

// recheck revokes the caller's credentials if they are not valid in d, and reports whether it did. It is called by
// another goroutine.
func (c *caller) recheck(d *directory) (revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.access.grant.Identity
	if id.IsZero() {
		return false
	}
	if _, err := d.auth.Renew(c.access.grant); err == nil && d.auth.Admits(id, c.info.Remote.Addr()) {
		return false
	}
	c.revoked = true
	if c.interrupt != nil {
		c.interrupt(errRevoked)
	}
	return true
}

// onRevoked has the wait of a command cancelled if the credentials are revoked, until the returned function is called.
func (c *caller) onRevoked(cancel context.CancelCauseFunc) (stop func()) {
	c.setInterrupt(cancel)
	if c.isRevoked() {
		cancel(errRevoked)
	}
	return func() { c.setInterrupt(nil) }
}

func (c *caller) setInterrupt(cancel context.CancelCauseFunc) {
	c.mu.Lock()
	c.interrupt = cancel
	c.mu.Unlock()
}

// isRevoked reports whether recheck has revoked the credentials.
func (c *caller) isRevoked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked
}

// leave ends the counting of the connection for its tenant.
func (c *caller) leave() {
	if c.access.rules != nil {
		c.access.rules.usage.conns.Add(-1)
		c.account.release()
	}
	c.server.addresses.release(c.access.bucket)
}
