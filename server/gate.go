package server

import (
	"errors"

	"sessionserver/wire"
)

// gate may refuse a command before its handler sees it.
type gate struct {
	name  string
	admit func(*Call) error
}

// Names of the gates. The quota gate has no place among the others: the session manager applies it to new sessions and
// data, and the listener to new connections.
const (
	gateAuthenticated = "authenticated"
	gateAllowlist     = "allowlist"
	gateRates         = "rates"
	gateServing       = "serving"
	gateState         = "session state"
	gateMemory        = "memory"
	gatePolicy        = "policy"
	gateAudit         = "audit"
	gateQuota         = "quota"
)

// gates may refuse a well-formed command, from top to bottom. Deny is the default: a gate that cannot decide refuses.
var gates = []gate{
	{gateAuthenticated, admitAuthenticated},
	{gateAllowlist, admitAddress},
	{gateRates, admitRate},
	{gateServing, admitServing},
	{gateState, admitState},
	{gateMemory, admitMemory},
	{gatePolicy, admitPolicy},
	{gateAudit, admitAudit},
}

// admit sends the call through the gates. A refusal by a gate carries its name, unless it names another gate.
func (c *Call) admit() error {
	for i := range gates {
		err := gates[i].admit(c)
		if err == nil {
			continue
		}
		if errors.Is(err, errPeerLeft) {
			return err
		}
		r := *c.conn.refusalOf(c.Command.Name, err)
		if r.gate == "" {
			r.gate = gates[i].name
		}
		return &r
	}
	return nil
}

// Gates returns the names of all gates.
func Gates() []string {
	names := make([]string, len(gates), len(gates)+1)
	for i := range gates {
		names[i] = gates[i].name
	}
	return append(names, gateQuota)
}

// admitAuthenticated lets only somebody through to what is not for everybody, and only as long as the credentials are good.
func admitAuthenticated(c *Call) error {
	if err := c.conn.renew(); err != nil {
		return err
	}
	if c.Command.Needs == Nothing || !c.Identity().IsZero() {
		return nil
	}
	c.conn.relied()
	if c.conn.certificate != nil {
		return wire.Errorf(wire.NoAuth, "the client certificate is no app's, or that of several; authenticate first: auth tenant/app secret")
	}
	return wire.Errorf(wire.NoAuth, "authenticate first: auth tenant/app secret")
}

// admitAddress lets only those through whom the tenant and the app take from where they come from.
func admitAddress(c *Call) error {
	if c.Command.Needs == Nothing || c.conn.access.admitted {
		return nil
	}
	return notAdmitted(c.Identity())
}

// admitServing lets no new session begin when the server is about to leave. Those that are open go on.
func admitServing(c *Call) error {
	if c.Command.Needs == NoSession && c.conn.server.isDraining() {
		return errShutdown
	}
	return nil
}

// admitState holds a command to what it needs of the session on its connection.
func admitState(c *Call) error {
	switch open := c.conn.session != nil; {
	case c.Command.Needs == OpenSession && !open:
		return wire.Errorf(wire.NoSession, "no session is open on this connection: new, or open ID")
	case c.Command.Needs == NoSession && open:
		return wire.Errorf(wire.Busy, "a session is open on this connection: close or abort it first")
	}
	return nil
}
