package server

import (
	"io"
	"time"

	"sessionserver/audit"
	"sessionserver/wire"
)

// account is what a connection uses of the server on behalf of its tenant: its turn on the processors, memory, and the
// bytes that its rates are charged for. It belongs to the connection's goroutine.
type account struct {
	server  *Server
	access  *access   // of the caller
	session int       // bytes of the open session, as counted last
	held    int       // bytes of memory that are counted
	moved   int       // bytes that the rates are not charged for yet; see charge
	now     time.Time // last reading of the clock; see clock
	ticket  ticket
	bulk    ticket // see enterBulk
}

// heldUnit is the step in which the memory of a connection is counted. Less than one step is the connection's own cost,
// which the quota of connections limits.
const heldUnit = 4 << 10

// spare is the fraction of a limit, 1/spare, that new data leaves free. Existing sessions can be read and saved
// although the rest is full.
const spare = 16

// flushSize is the size of the collected replies at which they are sent although more requests wait.
const flushSize = 64 << 10

// errMemoryLimit refuses data that would exceed the memory limit of the tenant or of the server. The condition passes
// as other connections finish.
var errMemoryLimit = &refusal{
	reply: wire.Errorf(wire.Quota,
		"connections have reached the memory limit; try again, with fewer large requests and sessions at once"),
	gate: gateMemory, event: audit.OperationQuota, reason: "memory",
}

// hold counts bytes in place of the number counted before. It reports whether that is not an increase, or the memory
// limits have room for it; see within.
func (a *account) hold(bytes int, leave int64) bool {
	r := a.access.rules
	if r == nil {
		return true // an unauthenticated connection holds little
	}
	bytes &^= heldUnit - 1
	more := bytes - a.held
	if more == 0 {
		return true
	}
	a.held = bytes
	tenant, all := r.usage.memory.Add(int64(more)), a.server.memory.Add(int64(more))
	return more < 0 || a.within(tenant, all, leave)
}

// hasRoom reports whether the memory limits have room for so many more bytes; see within.
func (a *account) hasRoom(more, leave int64) bool {
	r := a.access.rules
	return r == nil || a.within(r.usage.memory.Load()+more, a.server.memory.Load()+more, leave)
}

// within reports whether the tenant and the server may hold so many bytes. The fraction 1/leave of each limit stays
// free; 0 leaves nothing free.
func (a *account) within(tenant, all, leave int64) bool {
	below := func(limit int64) int64 {
		if leave > 0 {
			limit -= limit / leave
		}
		return limit
	}
	most := a.access.rules.maxMemory
	return (most == 0 || tenant <= below(most)) && all <= below(a.server.opts.MaxMemory)
}

// flushAt returns the size of the collected replies at which they are sent. Without room it is what a connection holds
// by itself. Connections that ask at the same moment get the same result, so that as many connections as have a turn
// may exceed the limit by flushSize each.
func (a *account) flushAt() int {
	if !a.hasRoom(flushSize, 0) {
		return heldUnit
	}
	return flushSize
}

// release gives back all memory that the connection holds.
func (a *account) release() {
	if r := a.access.rules; r != nil {
		r.usage.memory.Add(-int64(a.held))
		a.server.memory.Add(-int64(a.held))
	}
	a.held = 0
}

// conclude ends the accounting of one request.
func (a *account) conclude() {
	a.exitBulk()
	a.charge()
}

// blocking runs a function that waits for a disk, the network or another client. The function runs out of turn. Whether
// it fails or not, a connection that was in turn is so again: what follows is charged to its tenant.
func (a *account) blocking(wait func() error) error {
	if !a.inTurn() {
		return wait()
	}
	a.exit()
	defer a.enter()
	return wait()
}

// receive reads out of turn. The connection continues in turn if there is anything to process.
//
// It takes a reader rather than a function: an idle connection waits here, and with one more call the stacks of ten
// thousand of them are twice as large.
func (a *account) receive(r io.Reader, p []byte) (n int, err error) {
	a.exit()
	if n, err = r.Read(p); n > 0 {
		a.received(n)
		a.enter()
	}
	return n, err
}
