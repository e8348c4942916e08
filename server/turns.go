package server

import (
	"container/heap"
	"sync"
	"time"
)

// turns share out the processors among tenants: what a connection does with a request it does in its turn, and no more
// turns are given at once than there are processors. While some wait, the next turn is that of the tenant that has had
// the least. So a tenant gets its share however many connections another has, and all of the server while the others
// want nothing. Sockets and disks are waited for out of turn.
//
// Each tenant has a line. What its turns cost moves the line's time on, and the line that is furthest behind is served
// first; one that nobody has stood in for a while has no claim to what it did not use (start-time fair queuing: Goyal,
// Vin and Cheng, 1996).
//
// Turns are for the server as a whole and about processors only. How much a tenant may hold, and how fast it may ask
// while nobody else does, is for quotas and rates to say.
type turns struct {
	mu      sync.Mutex // guards what follows, and lines; no other mutex is taken under it
	free    int        // turns that nobody has
	lent    int        // turns given for those of others who do not come back; see overdue
	waiting int        // who want one
	clock   time.Duration
	lines   lineHeap      // those in which somebody waits
	begun   uint64        // counts the turns
	deposit time.Duration // cost that a line pays when a turn begins, until the turn has its own; see begin
	looking bool          // whether overdue will look
	waiters sync.Pool     // of those that have had their turn

	polls bool          // whether it is processors that are shared out; see look
	last  *line         // who had the turn that began last
	close int           // how many times the network will be polled soon, since several want turns
	used  time.Duration // by turns since the network was polled
	idle  bool          // no turn is given until it has been polled again
	poll  poller        // used by look alone
}

// line is where the connections of a tenant wait, or all strangers.
type line struct {
	time        time.Duration
	place       int // in the heap, if somebody waits
	first, last *waiter
}

// waiter is a connection that waits in a line.
type waiter struct {
	turn chan struct{}
	next *waiter
}

// Costs of a turn beyond its measured time, which leaves out the work of sockets and the store.
const (
	turnCost = 10 * time.Microsecond // to be woken, to read and to write
	wireCost = 4                     // bytes in a nanosecond that are read
	saveCost = 2                     // nanoseconds for each byte of a session that is saved
	connCPU  = 50 * time.Microsecond // to take a connection in or turn it away
)

const (
	// turnMax is after how long a connection with more requests lets others go first.
	turnMax = 100 * time.Microsecond

	// pollAfter is how much time turns take until the network is polled, where several tenants have had turns during
	// the last pollClose times, and pollAlone where one has had them all.
	pollAfter = 150 * time.Microsecond
	pollAlone = 3 * time.Millisecond
	pollClose = 1000

	// savesMax is how many saves are under way at once. The store makes them durable together; one tenant's are not to
	// be all of them.
	savesMax = 64

	// bulkMax is how many connections may read a request of bulkSize bytes or more, or save as large a session, at
	// once. Many gain nothing: disk and memory are as fast with few, which leave the processors, the collector and
	// the disk to those who move little.
	bulkMax  = 2
	bulkSize = 64 << 10

	// turnLate is after how long without a new turn those who have one are taken to wait for something, and do not
	// count any more.
	turnLate = 5 * time.Millisecond
)

// take waits for a turn. owed is what the line has used out of turn.
func (t *turns) take(l *line, owed time.Duration) {
	t.mu.Lock()
	if l.first == nil {
		l.time = max(l.time, t.clock)
	}
	l.time += owed
	if t.free > 0 && !t.idle {
		t.begin(l)
		t.mu.Unlock()
		return
	}
	t.waiting++
	w, _ := t.waiters.Get().(*waiter)
	if w == nil {
		w = &waiter{turn: make(chan struct{}, 1)}
	}
	if l.first == nil {
		l.first, l.last = w, w
		heap.Push(&t.lines, l)
	} else {
		l.last.next = w
		l.last = w
		heap.Fix(&t.lines, l.place)
	}
	if !t.looking {
		t.looking = true
		begun := t.begun
		time.AfterFunc(turnLate, func() { t.overdue(begun) })
	}
	t.mu.Unlock()
	<-w.turn
	w.next = nil
	t.waiters.Put(w)
}

// give ends a turn that took so long.
func (t *turns) give(l *line, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.time += took + turnCost - t.deposit
	if l.first != nil {
		heap.Fix(&t.lines, l.place)
	}
	if t.lent > 0 && took >= turnLate {
		t.lent--
	} else {
		t.free++
	}
	after := pollAfter
	if t.close == 0 {
		after = pollAlone
	}
	if t.used += took + turnCost; t.used > after && t.polls && !t.idle {
		t.idle, t.close = true, max(t.close-1, 0)
		go t.look()
	}
	if !t.idle {
		t.next()
	}
}

// look lets the runtime poll the network before it goes on giving turns. By itself the runtime does so when it has
// nothing else to do, which is hardly ever while many wait for turns: then nobody would see that a tenant whose turn it
// were has sent something.
func (t *turns) look() {
	t.poll.wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used, t.idle = 0, false
	t.next()
}

// next gives the turns that are free to those who wait. The caller holds t.mu.
func (t *turns) next() {
	for t.free > 0 && len(t.lines) > 0 {
		l := t.lines[0]
		w := l.first
		if l.first = w.next; l.first == nil {
			l.last = nil
			heap.Pop(&t.lines)
		}
		t.waiting--
		t.begin(l)
		if l.first != nil {
			heap.Fix(&t.lines, l.place)
		}
		w.turn <- struct{}{}
	}
}

// begin counts a turn that somebody in l gets. The caller holds t.mu.
//
// Where a turn may include a wait for the network, the line pays a deposit. Otherwise the turns of stalled clients
// would cost nothing until their end, and a line with many of them would stay in front of the others.
func (t *turns) begin(l *line) {
	t.free--
	t.begun++
	t.clock = max(t.clock, l.time)
	l.time += t.deposit
	if l != t.last {
		t.last, t.close = l, pollClose
	}
}

// overdue lends one more turn if none has begun since there were begun turns, so that nobody who hangs holds up the
// others, and goes on looking while anybody waits.
func (t *turns) overdue(begun uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if begun == t.begun && !t.idle {
		t.lent++
		t.free++
		t.next()
	}
	if t.looking = len(t.lines) > 0; t.looking {
		begun = t.begun
		time.AfterFunc(turnLate, func() { t.overdue(begun) })
	}
}

// lineHeap has the line that is furthest behind first.
type lineHeap []*line

func (h lineHeap) Len() int           { return len(h) }
func (h lineHeap) Less(i, j int) bool { return h[i].time < h[j].time }
func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *lineHeap) Push(l any) {
	l.(*line).place = len(*h)
	*h = append(*h, l.(*line))
}
func (h *lineHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}

// ticket is what a connection has to do with turns. It belongs to the connection's goroutine.
type ticket struct {
	line  *line     // in which it got its turn; nil while it has none
	since time.Time // when it got it
	owed  time.Duration
}

// inTurn reports whether the connection has its turn.
func (a *account) inTurn() bool { return a.ticket.line != nil }

// enter waits for the connection's turn, unless it is.
func (a *account) enter() {
	if a.inTurn() {
		return
	}
	l := &a.server.unauthenticated
	if r := a.access.rules; r != nil {
		l = &r.usage.line
	}
	a.server.turns.take(l, a.ticket.owed)
	a.ticket = ticket{line: l, since: a.tick()}
}

// exit ends the connection's turn, if it is: it is about to wait.
func (a *account) exit() {
	if !a.inTurn() {
		return
	}
	a.server.turns.give(a.ticket.line, time.Since(a.ticket.since))
	a.ticket.line = nil
}

// begin waits for the turn in which a request is handled, and returns the time before that. If the turn before was
// long, others go first.
func (a *account) begin() (start time.Time) {
	start = a.clock()
	if a.inTurn() && start.Sub(a.ticket.since) > turnMax {
		a.exit()
	}
	a.enter()
	return start
}

// tick reads the clock.
func (a *account) tick() time.Time {
	a.now = time.Now()
	return a.now
}

// clock returns the time. In turn nothing is waited for, so that is the time at which the turn began or the last
// request ended, which saves reading the clock for each use.
func (a *account) clock() time.Time {
	if !a.inTurn() {
		a.tick()
	}
	return a.now
}

// received accounts for bytes that were read.
func (a *account) received(n int) {
	a.moved += n
	a.ticket.owed += time.Duration(n) / wireCost
}

// save runs a command that waits for the store to save so many bytes, in its turn among all that do, and out of turn on
// the processors.
func (a *account) save(bytes int, run func() error) error {
	if a.access.rules == nil {
		a.exit()
		return run()
	}
	cost := saveCost * time.Duration(bytes)
	a.moved += bytes
	a.ticket.owed += cost
	return a.blocking(func() error {
		if bytes >= bulkSize {
			a.enterBulk(cost)
		}
		s, l := a.server, &a.access.rules.usage.saves
		s.saves.take(l, cost)
		began := time.Now()
		defer func() { s.saves.give(l, time.Since(began)) }()
		return run()
	})
}

// enterBulk waits for the connection's place among those that move many bytes, which it keeps until its request is
// answered.
func (a *account) enterBulk(cost time.Duration) {
	r := a.access.rules
	if r == nil || a.bulk.line != nil {
		return
	}
	a.exit()
	a.server.bulk.take(&r.usage.bulk, cost)
	a.bulk = ticket{line: &r.usage.bulk, since: time.Now()}
}

// exitBulk gives that place to the next.
func (a *account) exitBulk() {
	if a.bulk.line != nil {
		a.server.bulk.give(a.bulk.line, time.Since(a.bulk.since))
		a.bulk.line = nil
	}
}
