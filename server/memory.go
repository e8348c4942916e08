package server

import "sessionserver/wire"

// heldMin is from where on what a connection holds is counted. Less is a connection's own cost, which the quota of connections bounds.
const heldMin = 64 << 10

// account counts what the connection holds in memory for its tenant and for all: the request as far as it has come, the replies that are not sent, and
// the open session. It reports whether that much may be held.
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
	tenants, all := r.usage.memory.Add(int64(more)), c.server.memory.Add(int64(more))
	return more < 0 || (r.maxMemory == 0 || tenants <= r.maxMemory) && all <= c.server.opts.MaxMemory
}

// release counts what the connection holds for nobody any more.
func (c *conn) release() {
	if r := c.access.rules; r != nil {
		r.usage.memory.Add(-int64(c.held))
		c.server.memory.Add(-int64(c.held))
	}
	c.held = 0
}

// errCrowded is the refusal of what would make a tenant, or all together, hold too much at once. It passes as other connections are done.
var errCrowded = wire.Errorf(wire.Quota, "connections hold as much in memory as they may; try again, with fewer large requests and sessions at once")

// admitMemory lets nothing begin that makes a tenant hold more when it holds as much as it may, or all do.
func admitMemory(c *Call) error {
	r := c.conn.access.rules
	if r == nil || c.Command.Access == None || c.Command.Releases {
		return nil
	}
	if r.maxMemory > 0 && r.usage.memory.Load() >= r.maxMemory || c.conn.server.memory.Load() >= c.conn.server.opts.MaxMemory {
		return errCrowded
	}
	return nil
}
