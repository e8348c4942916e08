package server

import (
	"net/netip"
	"sync"
	"time"

	"sessionserver/audit"
)

// gatherer keeps those from filling the audit log who can be refused as often as they like. Of events that are alike the first is written at once, and
// from then on one a second, which says how many there were and is the last of them. While the log cannot be written they go on being counted.
type gatherer struct {
	log *audit.Log

	mu      sync.Mutex // guards what follows
	kept    map[likeness]*gathered
	ready   []audit.Event // to be written
	ticking bool
	writing bool
	writer  sync.WaitGroup
}

// likeness is what alike events have in common.
type likeness struct {
	code                 audit.Code
	tenant, app, address string // as connections are counted, see caller.ipKey
	listener, reason     string
}

// gathered are alike events that are not written.
type gathered struct {
	last  audit.Event
	count int64
}

const (
	gatherEvery = time.Second

	// gatherMax is how many kinds are told apart. Beyond that, whoever comes is counted together with all who do, whatever their addresses and names.
	gatherMax = 1000
)

// note takes an event. It never waits.
func (g *gatherer) note(e audit.Event, address string) {
	if g.log == nil {
		return
	}
	e.Time = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	like := likeness{e.Code, e.Tenant, e.App, address, e.Listener, e.Reason}
	same := g.kept[like]
	if same == nil && len(g.kept) >= gatherMax {
		like.tenant, like.app, like.address = "", "", ""
		e.Tenant, e.App, e.Address, e.Conn, e.Session = "", "", netip.AddrPort{}, 0, [32]byte{}
		same = g.kept[like]
	}
	if same == nil {
		if g.kept == nil {
			g.kept = make(map[likeness]*gathered)
		}
		same = &gathered{}
		g.kept[like] = same
		if g.log.Err() == nil {
			g.write(e)
			g.tickSoon()
			return
		}
	}
	same.last = e
	same.count++
	g.tickSoon()
}

// write has e written soon. The caller holds g.mu.
func (g *gatherer) write(e audit.Event) {
	g.ready = append(g.ready, e)
	if !g.writing {
		g.writing = true
		g.writer.Go(g.writeReady)
	}
}

func (g *gatherer) writeReady() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.ready) > 0 {
		ready := g.ready
		g.ready = nil
		g.mu.Unlock()
		for _, e := range ready {
			g.log.Note(e)
		}
		g.mu.Lock()
	}
	g.writing = false
}

// tickSoon sees to it that tick is called. The caller holds g.mu.
func (g *gatherer) tickSoon() {
	if !g.ticking {
		g.ticking = true
		time.AfterFunc(gatherEvery, g.tick)
	}
}

// tick writes what has come during the last second, and forgets what has not.
func (g *gatherer) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ticking = false
	if g.log.Err() == nil {
		g.writeAll()
	}
	if len(g.kept) > 0 {
		g.tickSoon()
	}
}

// writeAll has all events written. The caller holds g.mu.
func (g *gatherer) writeAll() {
	for like, same := range g.kept {
		if same.count == 0 {
			delete(g.kept, like)
			continue
		}
		e := same.last
		if same.count > 1 {
			e.Count = same.count
		}
		same.last, same.count = audit.Event{}, 0
		g.write(e)
	}
}

// flush hands over what is kept, and returns when the log has taken it: it is written at the latest when the log is closed.
func (g *gatherer) flush() {
	if g.log == nil {
		return
	}
	g.mu.Lock()
	g.writeAll()
	g.mu.Unlock()
	g.writer.Wait()
}
