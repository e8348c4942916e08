package server

import (
	"sessionserver/audit"
	"sessionserver/wire"
)

// heldUnit is in what steps the memory of a connection is counted. Less than one is the connection's own cost, which
// the quota of connections bounds.
const heldUnit = 4 << 10

// spare is the part of a limit, one in so many, that new data leaves free: what is there can be read and saved
// although the rest is full.
const spare = 16

// account counts what the connection holds in memory for its tenant and for all: the request as far as it has come,
// the replies that are not sent, and the open session. It reports whether there is room for that; see hold.
func (c *conn) account(leave int64) bool {
	holds := c.reply.Held() + c.reader.Held()
	if c.session != nil {
		holds += c.session.Held()
	}
	return c.hold(holds, leave)
}

// hold counts bytes in place of what was counted for the connection. It reports whether that is no more than before,
// or there is room for it beside a part of the limit: one in leave, or none.
func (c *conn) hold(bytes int, leave int64) bool {
	r := c.access.rules
	if r == nil {
		return true // strangers hold little
	}
	bytes &^= heldUnit - 1
	more := bytes - c.held
	if more == 0 {
		return true
	}
	c.held = bytes
	tenants, all := r.usage.memory.Add(int64(more)), c.server.memory.Add(int64(more))
	return more < 0 || c.within(tenants, all, leave)
}

// within reports whether so much may be held by the tenant and by all.
func (c *conn) within(tenants, all, leave int64) bool {
	below := func(limit int64) int64 {
		if leave > 0 {
			limit -= limit / leave
		}
		return limit
	}
	most := c.access.rules.maxMemory
	return (most == 0 || tenants <= below(most)) && all <= below(c.server.opts.MaxMemory)
}

// room is asked by the reader before its buffer grows to size.
func (c *conn) room(size int) *wire.Error {
	if size >= bulkSize {
		c.enterBulk(0) // what is read is paid for as it comes
	}
	before := c.held
	if c.hold(before+size-c.reader.Held(), spare) {
		return nil
	}
	c.hold(before, 0)
	return errMemoryLimit.reply
}

// flushAt is how many bytes of replies are collected before they are sent: no more than a connection holds by itself
// where there is no room. Connections that ask at the same moment get the same answer, so that as many as have a turn
// may pass the limit by so much.
func (c *conn) flushAt() int {
	r := c.access.rules
	if r != nil && !c.within(r.usage.memory.Load()+flushSize, c.server.memory.Load()+flushSize, 0) {
		return heldUnit
	}
	return flushSize
}

// release counts what the connection holds for nobody any more.
func (c *conn) release() {
	if r := c.access.rules; r != nil {
		r.usage.memory.Add(-int64(c.held))
		c.server.memory.Add(-int64(c.held))
	}
	c.held = 0
}

// errMemoryLimit refuses what would exceed the memory limit of the tenant or of the server. It passes as other
// connections are done.
var errMemoryLimit = &refusal{
	reply: wire.Errorf(wire.Quota,
		"connections hold as much in memory as they may; try again, with fewer large requests and sessions at once"),
	gate: gateMemory, event: audit.OperationQuota, reason: "memory",
}

// admitMemory refuses new data where there is no room for it: a session that would be opened, and values that would
// be put. The open session can be looked at, made smaller, saved and let go.
func admitMemory(c *Call) error {
	r := c.conn.access.rules
	if r == nil || c.Command.Releases {
		return nil
	}
	more := int64(0)
	switch {
	case c.Command.Mode != nil: // how large the session is its opening will show
	case c.Command.Access == Write && c.Command.Keys != NoKeys && c.Command.Keys != EveryKey:
		for _, arg := range c.Args {
			more += int64(len(arg))
		}
		more = max(more-int64(c.conn.reader.Held()), 0) // which room has let in, and which the values replace
	default:
		return nil
	}
	if !c.conn.within(r.usage.memory.Load()+more, c.conn.server.memory.Load()+more, spare) {
		return errMemoryLimit
	}
	return nil
}
