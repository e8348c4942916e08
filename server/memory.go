package server

import "sessionserver/wire"

// heldMin is from where on what a connection holds is counted. Less is a connection's own cost, which the quota of connections bounds.
const heldMin = 64 << 10

// account counts what the connection holds in memory for its tenant: the request as far as it has come, the replies that are not sent, and
// the open session. It reports whether the tenant may hold that much.
func (c *conn) account() bool {
	r := c.access.rules
	if r == nil {
		return true // strangers hold little
	}
	holds := c.reader.Held() + c.reply.Len()
	if c.session != nil {
		holds += c.session.Bytes()
	}
	if holds < heldMin {
		holds = 0
	}
	more := holds - c.held
	if more == 0 {
		return true
	}
	c.held = holds
	total := r.usage.memory.Add(int64(more))
	return more < 0 || r.maxMemory == 0 || total <= r.maxMemory
}

// release counts what the connection holds for nobody any more.
func (c *conn) release() {
	if r := c.access.rules; r != nil {
		r.usage.memory.Add(-int64(c.held))
	}
	c.held = 0
}

// errCrowded is the refusal of what would make a tenant hold too much at once. It passes as other connections of the tenant are done.
var errCrowded = wire.Errorf(wire.Quota, "the tenant's connections hold as much in memory as they may; try again, with fewer at once")

// admitMemory lets nothing begin that makes a tenant hold more when it holds as much as it may.
func admitMemory(c *Call) error {
	r := c.conn.access.rules
	if r == nil || r.maxMemory == 0 || c.Command.Access == None || c.Command.Releases || r.usage.memory.Load() < r.maxMemory {
		return nil
	}
	return errCrowded
}
