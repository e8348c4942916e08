package server

import (
	"errors"

	"sessionserver/wire"
)

// gate can refuse a command before its handler runs.
type gate struct {
	name  string
	admit func(*Call) error
}

// Names of the gates. The quota gate is not in the list below: the session manager applies it to new sessions and data,
// and the listener to new connections.
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

// gates can refuse a well-formed command, from top to bottom. Deny is the default: a gate that cannot decide refuses.
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

// Gates returns the names of all gates.
func Gates() []string {
	names := make([]string, len(gates), len(gates)+1)
	for i := range gates {
		names[i] = gates[i].name
	}
	return append(names, gateQuota)
}

// admit sends the call through the gates. A refusal has the name of the gate, unless it has the name of another one.
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

// admitAuthenticated requires an identity with valid credentials, unless the command needs none.
func admitAuthenticated(c *Call) error {
	caller := &c.conn.caller
	if err := caller.renew(); err != nil {
		return err
	}
	if c.Command.Needs == Nothing || !c.Identity().IsZero() {
		return nil
	}
	c.conn.recordUnidentified()
	if caller.certificate != nil {
		return wire.Errorf(wire.NoAuth,
			"the client certificate belongs to no app, or to several; authenticate first: auth tenant/app secret")
	}
	return wire.Errorf(wire.NoAuth, "authenticate first: auth tenant/app secret")
}

// admitAddress requires that the allowlists of the tenant and the app have the client's address.
func admitAddress(c *Call) error {
	if c.Command.Needs == Nothing || c.conn.caller.access.admitted {
		return nil
	}
	return notAdmitted(c.Identity())
}

// admitRate charges the rates for the command. A command that releases the open session is charged for and never
// refused: a refusal would only keep the lock from other clients. The debt is limited, since each opened session allows
// for one such command.
func admitRate(c *Call) error {
	if c.Command.Releases && c.conn.session != nil {
		c.conn.account.payLater(c.Command.Cost)
		return nil
	}
	return c.conn.account.pay(c.Command.Cost, c.conn.holdBack)
}

// admitServing refuses new sessions while the server drains. Open sessions continue.
func admitServing(c *Call) error {
	if c.Command.Needs == NoSession && c.conn.server.isDraining() {
		return errShutdown
	}
	return nil
}

// admitState requires the session state that the command needs.
func admitState(c *Call) error {
	switch open := c.conn.session != nil; {
	case c.Command.Needs == OpenSession && !open:
		return wire.Errorf(wire.NoSession, "no session is open on this connection: new, or open ID")
	case c.Command.Needs == NoSession && open:
		return wire.Errorf(wire.Busy, "a session is open on this connection: close or abort it first")
	}
	return nil
}

// admitMemory refuses new data that exceeds the memory limits: opening a session, and setting values. The open session
// can be read, made smaller, saved and released.
func admitMemory(c *Call) error {
	if c.Command.Releases {
		return nil
	}
	more := int64(0)
	switch {
	case c.Command.Mode != nil: // the size of the session is known when it is open; see runOpen
	case c.Command.Access == Write && c.Command.Keys != NoKeys && c.Command.Keys != EveryKey:
		for _, arg := range c.Args {
			more += int64(len(arg))
		}
		more = max(more-int64(c.conn.transport.reader.Held()), 0) // counted already; see transport.room
	default:
		return nil
	}
	if !c.conn.account.hasRoom(more, spare) {
		return errMemoryLimit
	}
	return nil
}

// admitPolicy requires the policy to allow the command and each key among its arguments. A command with SessionKeys
// asks about those keys in its handler.
func admitPolicy(c *Call) error {
	if c.Command.Needs == Nothing {
		return nil
	}
	c.describe()
	step := 1
	switch c.Command.Keys {
	case NoKeys, SessionKeys:
		return c.decide(nil)
	case FirstKey:
		return c.decideKey(c.Args[0])
	case KeysAndValues:
		step = 2
	}
	for i := 0; i < len(c.Args); i += step {
		if err := c.decideKey(c.Args[i]); err != nil {
			return err
		}
	}
	return nil
}

// admitAudit refuses a command that the audit log could not record. A command that releases a session without saving is
// always admitted.
func admitAudit(c *Call) error {
	if c.Command.Access == None || c.Command.Releases && c.access() != Write {
		return nil
	}
	return c.conn.auditable()
}
