package server

import "sessionserver/wire"

// gate may refuse a command before its handler sees it.
type gate struct {
	name  string
	admit func(*Call) error
}

// gates are all that may refuse a well-formed command, asked from top to bottom. Deny is what happens when nobody said yes: a gate that
// cannot decide refuses.
var gates = []gate{
	{"authenticated", admitAuthenticated},
	{"allowlist", admitAddress},
	{"rates", admitRate},
	{"serving", admitServing},
	{"session state", admitState},
	{"memory", admitMemory},
	{"policy", admitPolicy},
	{"audit", admitAudit},
}

// quota is who refuses what the session manager has no room for, and connections beyond how many there may be. It is asked by whoever makes one.
const quota = "quota"

// Gates names all that may refuse something.
func Gates() []string {
	names := make([]string, len(gates), len(gates)+1)
	for i := range gates {
		names[i] = gates[i].name
	}
	return append(names, quota)
}

// gateOf names the gate as whose a refusal counts that came from elsewhere: a handler asks what only it can know, and much is refused before there
// is a command. It is "" for what is wrong with the request, or went wrong.
func gateOf(refused *wire.Error) string {
	switch {
	case refused == errRevoked:
		return "authenticated"
	case refused == errCrowded:
		return "memory"
	case refused == errUndecided:
		return "policy"
	case refused == errUnaudited:
		return "audit"
	}
	switch refused.Code {
	case wire.IPDenied:
		return "allowlist"
	case wire.RateLimited:
		return "rates"
	case wire.Shutdown:
		return "serving"
	case wire.Denied:
		return "policy"
	case wire.Quota:
		return quota
	}
	return ""
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
