package server

import (
	"errors"
	"time"

	"sessionserver/audit"
	"sessionserver/auth"
	"sessionserver/wire"
)

// initial returns the grant that the client has before it sends a command.
func (c *conn) initial() auth.Grant {
	grant := c.caller.initial()
	if c.caller.unidentified != "" {
		c.log.Debug("client unidentified: its certificate or the listener's anonymous identity is not that of one app",
			"listener", c.caller.listener.Name, "remote", c.caller.remote())
	}
	return grant
}

// become makes the client act as the holder of a grant that it has just shown.
func (c *conn) become(grant auth.Grant) error {
	before := c.caller.info.Identity
	err := c.caller.identify(grant)
	now := c.caller.info.Identity
	if now.IsZero() {
		c.transport.reader.SetLimits(wire.UnauthenticatedLimits(), nil)
	} else {
		limits := c.server.opts.Limits
		c.transport.reader.SetLimits(limits, c.table().payload(limits))
	}
	if err == nil && (!before.IsZero() || !now.IsZero()) {
		c.observer.Identified(now, c.caller.access.grant.Method())
	}
	return err
}

// authenticate makes the connection act as the app with these credentials. On an error it keeps the identity that it
// had.
func (c *conn) authenticate(name, secret string) error {
	if c.session != nil {
		if err := c.session.Err(); err != nil {
			return err
		}
		return wire.Errorf(wire.Busy, "a session is open on this connection: close or abort it before auth")
	}
	if err := c.auditable(); err != nil {
		return err
	}
	if c.caller.healthCheck {
		return &refusal{
			reply: wire.Errorf(wire.IPDenied, "this connection is for a balancer's health checks, which may only ping"),
			gate:  gateAllowlist, event: audit.OperationDenied, reason: byAllowlist,
		}
	}
	d := c.server.directory.Load().auth
	grant, err := d.Secret(name, secret)
	if errors.Is(err, auth.ErrBadCredentials) {
		return c.loginFailed(name, err)
	}
	if !d.Admits(grant.Identity, c.caller.info.Remote.Addr()) {
		return notAdmitted(grant.Identity)
	}
	if err := c.become(grant); err != nil {
		return err
	}
	if err := c.chargeLogin(); err != nil {
		return err
	}
	c.call.fact = fact{code: audit.ConnectionAuthenticated, reason: string(auth.BySecret)}
	return nil
}

// chargeLogin charges the rates of the new identity for a connection. A connection that exceeds them is closed:
// otherwise a client at its limit would only have to connect anew.
func (c *conn) chargeLogin() error {
	err := c.account.pay(loginCost, c.holdBack)
	var r *refusal
	if errors.As(err, &r) && r.scope != "" {
		r.closes = RateLimited
	}
	return err
}

// loginFailed counts invalid credentials. When an address exceeds the rate, each connection that brings further ones is
// closed. Valid credentials are never refused for that: a secret cannot be guessed, and many hosts can share an
// address.
func (c *conn) loginFailed(name string, err error) error {
	c.observer.AuthFailed(auth.BySecret)
	if wait, ok := take(c.caller.limiter(authFailures, c.server.opts.AuthFailures), time.Now(), 1, 0); !ok {
		return &refusal{ // without the identities that were tried
			reply: retryIn(wait), gate: gateRates, scope: OfAuthFailures, event: audit.AuthFailed, reason: "too_many",
			closes: TooManyFailures,
		}
	}
	tried, _ := auth.ParseIdentity(name) // an invalid name is not recorded
	return &refusal{
		reply: badAuthReply, cause: err, event: audit.AuthFailed, reason: string(auth.BySecret), identity: tried,
	}
}
