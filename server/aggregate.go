package server

import (
	"net/netip"
	"sync"
	"time"

	"sessionserver/audit"
)

// aggregator prevents peers whose refusals are unlimited from filling the audit log. Of equal events the first is
// written at once. Later ones are counted, and once a second the last of them is written with that number. While the
// log cannot be written, the events are only counted.
type aggregator struct {
	log *audit.Log

	mu      sync.Mutex // guards the fields below
	pending map[eventKey]*aggregate
	ready   []audit.Event // for the writer
	ticking bool
	writing bool
	writer  sync.WaitGroup
}

// eventKey is the set of fields in which aggregated events are equal.
type eventKey struct {
	code                 audit.Code
	tenant, app, address string // the address as for connection caps, see caller.ipKey
	listener, reason     string
}

// aggregate is a number of equal events that are not yet written.
type aggregate struct {
	last  audit.Event
	count int64
}

const (
	aggregatePeriod = time.Second

	// aggregateMax is the number of different keys. Beyond it, events of all tenants and addresses are counted
	// together.
	aggregateMax = 1000
)

// add adds an event. It never waits.
func (a *aggregator) add(e audit.Event, address string) {
	if a.log == nil {
		return
	}
	e.Time = time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	key := eventKey{e.Code, e.Tenant, e.App, address, e.Listener, e.Reason}
	events := a.pending[key]
	if events == nil && len(a.pending) >= aggregateMax {
		key.tenant, key.app, key.address = "", "", ""
		e.Tenant, e.App, e.Address, e.Conn, e.Session = "", "", netip.AddrPort{}, 0, [32]byte{}
		events = a.pending[key]
	}
	if events == nil {
		if a.pending == nil {
			a.pending = make(map[eventKey]*aggregate)
		}
		events = &aggregate{}
		a.pending[key] = events
		if a.log.Err() == nil {
			a.write(e)
			a.schedule()
			return
		}
	}
	events.last = e
	events.count++
	a.schedule()
}

// write passes e to the writer. The caller holds a.mu.
func (a *aggregator) write(e audit.Event) {
	a.ready = append(a.ready, e)
	if !a.writing {
		a.writing = true
		a.writer.Go(a.writeReady)
	}
}

func (a *aggregator) writeReady() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.ready) > 0 {
		ready := a.ready
		a.ready = nil
		a.mu.Unlock()
		for _, e := range ready {
			a.log.Note(e)
		}
		a.mu.Lock()
	}
	a.writing = false
}

// schedule makes sure that tick is called within aggregatePeriod. The caller holds a.mu.
func (a *aggregator) schedule() {
	if !a.ticking {
		a.ticking = true
		time.AfterFunc(aggregatePeriod, a.tick)
	}
}

// tick writes the events of the last period, and drops keys without events.
func (a *aggregator) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ticking = false
	if a.log.Err() == nil {
		a.writeAll()
	}
	if len(a.pending) > 0 {
		a.schedule()
	}
}

// writeAll passes all events to the writer. The caller holds a.mu.
func (a *aggregator) writeAll() {
	for key, events := range a.pending {
		if events.count == 0 {
			delete(a.pending, key)
			continue
		}
		e := events.last
		if events.count > 1 {
			e.Count = events.count
		}
		events.last, events.count = audit.Event{}, 0
		a.write(e)
	}
}

// flush passes all events to the log, and returns when the log has taken them. They are written at the latest when
// the log is closed.
func (a *aggregator) flush() {
	if a.log == nil {
		return
	}
	a.mu.Lock()
	a.writeAll()
	a.mu.Unlock()
	a.writer.Wait()
}
