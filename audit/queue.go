package audit

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	retryMin = 100 * time.Millisecond // delay before the first retry after a failure
	retryMax = 2 * time.Second        // longest delay between retries
	queueMax = 4096                   // events that may wait; above this limit Note waits, and decisions are dropped
	spareMax = 256                    // entries that are kept to be used again
	batchMax = 1 << 20                // bytes after which a batch takes no further line: a full queue of usual lines
)

// queue passes events through a channel to one goroutine, which writes all that wait in one batch. Events that are
// recorded at the same time thus share one write and one fsync.
//
// After a failed write the queue takes no events, but counts them. The goroutine then retries with a line that
// reports the number of lost events. A successful retry ends the failure.
type queue struct {
	sink     sink
	timeout  time.Duration // for one batch
	observer Observer

	entries chan *entry     // closed by close
	reopens chan chan error // requests to reopen the sink
	ended   chan struct{}   // closed when run has returned
	spare   chan *entry     // entries to be used again
	lost    atomic.Uint64   // events since the last line that reported them
	state   atomic.Pointer[state]

	senders sync.RWMutex // read-locked while an event is sent, until a failure; locked to close and to recover
	closed  bool         // guarded by senders

	watchdog *time.Timer
	busy     sync.Mutex // guards started; held while the watchdog declares a failure
	started  time.Time  // start of the sink's operation in progress; zero if there is none
}

// entry is an event in the queue.
type entry struct {
	code    Code
	at      time.Time
	body    []byte        // the line without its head
	waiting bool          // a caller waits for written, and releases the entry
	written chan struct{} // holds one; receives a value when the line is in the log
}

// state is the condition of the queue from its start, or from a recovery, to the next recovery.
type state struct {
	failure atomic.Pointer[failure] // cause of the last failed write; nil if there is none
	failed  chan struct{}           // closed after the first failure; releases all callers that wait
}

// ErrNotWritten is wrapped by every error about an event that is not in the log.
var ErrNotWritten = errors.New("audit: the log cannot be written")

var (
	errTimeout = errors.New("timeout")
	errClosed  = errors.New("the log is closed")
)

// failure is the reason why the log cannot be written.
type failure struct{ cause error }

func (f *failure) Error() string   { return ErrNotWritten.Error() + ": " + f.cause.Error() }
func (f *failure) Unwrap() []error { return []error{ErrNotWritten, f.cause} }

func newQueue(s sink, timeout time.Duration, observer Observer) *queue {
	q := &queue{
		sink: s, timeout: timeout, observer: observer,
		entries: make(chan *entry, queueMax), spare: make(chan *entry, spareMax),
		reopens: make(chan chan error), ended: make(chan struct{}),
	}
	q.state.Store(&state{failed: make(chan struct{})})
	q.watchdog = time.AfterFunc(time.Hour, q.expire)
	q.watchdog.Stop()
	return q
}

// start opens the sink.
func (q *queue) start() error {
	opened, s := make(chan struct{}), q.state.Load()
	go q.run(opened)
	select {
	case <-opened:
	case <-s.failed:
		return s.failure.Load()
	}
	return nil
}

// failure returns the reason why the log cannot be written now, or nil.
func (q *queue) failure() *failure { return q.state.Load().failure.Load() }

// newEntry returns an entry with an empty body. The caller passes it to send.
func (q *queue) newEntry(c Code, at time.Time) *entry {
	var e *entry
	select {
	case e = <-q.spare:
	default:
		e = &entry{written: make(chan struct{}, 1)}
	}
	e.code, e.at, e.body = c, at, e.body[:0]
	return e
}

// release keeps an entry to be used again.
func (q *queue) release(e *entry) {
	select {
	case q.spare <- e:
	default:
	}
}

// send puts an event into the queue. With wait it returns when the event is in the log. With drop the event is lost
// if the queue is full; without, send waits for room.
func (q *queue) send(e *entry, wait, drop bool) error {
	e.waiting = wait
	s, err := q.enqueue(e, drop)
	if err != nil {
		q.release(e)
		q.lost.Add(1)
		q.observer.Lost(1)
		return err
	}
	if !wait {
		return nil
	}
	select {
	case <-e.written:
		q.release(e)
		return nil
	case <-s.failed:
		return s.failure.Load()
	}
}

func (q *queue) enqueue(e *entry, drop bool) (*state, error) {
	q.senders.RLock()
	defer q.senders.RUnlock()
	s := q.state.Load()
	if f := s.failure.Load(); f != nil {
		return nil, f
	}
	if q.closed {
		return nil, &failure{errClosed}
	}
	select {
	case q.entries <- e:
		return s, nil
	default:
	}
	if drop {
		return nil, ErrNotWritten
	}
	select {
	case q.entries <- e:
		return s, nil
	case <-s.failed:
		return nil, s.failure.Load()
	}
}

// run writes events until the queue is closed and empty.
func (q *queue) run(opened chan<- struct{}) {
	defer close(q.ended)
	w := writer{queue: q}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	delay := time.Duration(0)
	flush := func() {
		if w.flush() {
			delay = 0
			return
		}
		delay = min(max(2*delay, retryMin), retryMax)
		retry.Reset(delay)
	}
	flush() // opens the sink
	if q.failure() == nil {
		close(opened)
	}
	for {
		// Only an operation of the sink changes this, thus not the select below.
		failing := q.failure() != nil
		if !failing && q.lost.Load() > 0 && len(q.entries) == 0 {
			flush()
			continue
		}
		select {
		case e, open := <-q.entries:
			switch {
			case !open:
				if failing || q.lost.Load() > 0 {
					w.flush()
				}
				if err := q.sink.close(); err != nil {
					q.observer.Troubled(err)
				}
				return
			case failing: // sent while the failure occurred
				q.drop(e)
				q.observer.Lost(1)
			default:
				w.collect(e)
				flush()
			}
		case reply := <-q.reopens:
			reply <- q.reopen()
			if q.failure() != nil {
				flush()
			}
		case <-retry.C:
			if failing {
				flush()
			}
		}
	}
}

// writer turns entries into batches. Only run uses it.
type writer struct {
	*queue
	seq   uint64 // of the last line that was written
	buf   []byte
	batch []*entry
	loss  error // cause of the losses before the last recovery, until reported; nil for a full queue
}

// collect takes e and all entries that wait, up to the size of a batch.
func (w *writer) collect(e *entry) {
	w.batch = append(w.batch, e)
	for size := len(e.body); size < batchMax; size += len(e.body) {
		var open bool
		select {
		case e, open = <-w.entries:
			if !open {
				return
			}
			w.batch = append(w.batch, e)
		default:
			return
		}
	}
}

// flush writes the batch, with a line before it that reports lost events, if there are any. It reports whether all
// lines were written. Numbers are assigned here: a line that is not written leaves its number to the lost events.
func (w *writer) flush() bool {
	failure := w.failure()
	lost, seq, head := w.lost.Swap(0), w.seq, 0
	w.buf = w.buf[:0]
	if lost > 0 {
		seq += lost + 1
		head = 1
		report := Event{Code: AuditLost, Count: int64(lost), Detail: "the queue was full"}
		if failure != nil {
			report.Detail = failure.cause.Error()
		} else if w.loss != nil {
			report.Detail = w.loss.Error()
		}
		w.buf = appendEvent(w.buf, &report, seq, time.Now())
	}
	for _, e := range w.batch {
		seq++
		w.buf = append(appendHead(w.buf, e.code, seq, e.at), e.body...)
	}

	begin, deadline := w.watch()
	n, err := w.sink.write(w.buf, deadline)
	duration := w.unwatch(begin)

	lines := head + len(w.batch)
	if err == nil {
		n = lines
	}
	if n > 0 {
		if head > 0 {
			w.observer.Written(AuditLost)
			w.loss = nil
		}
		for _, e := range w.batch[:n-head] {
			w.observer.Written(e.code)
		}
		w.observer.Flushed(n, duration)
		w.seq = seq - uint64(lines-n)
	} else {
		w.lost.Add(lost)
	}
	if err != nil {
		w.busy.Lock()
		unwritten := len(w.batch) - max(n-head, 0)
		w.fail(err, unwritten)
		w.busy.Unlock()
	} else if f := w.failure(); f != nil {
		w.recover()
		if w.loss = nil; w.lost.Load() > 0 {
			w.loss = f.cause
		}
	}
	for i, e := range w.batch {
		switch {
		case !e.waiting:
			w.release(e)
		case err == nil:
			e.written <- struct{}{}
		}
		w.batch[i] = nil
	}
	w.batch = w.batch[:0]
	if cap(w.buf) > 2*batchMax {
		w.buf = nil
	}
	return err == nil
}

// watch starts the watchdog for an operation of the sink.
func (q *queue) watch() (begin, deadline time.Time) {
	begin = time.Now()
	q.busy.Lock()
	q.started = begin
	q.busy.Unlock()
	q.watchdog.Reset(q.timeout)
	return begin, begin.Add(q.timeout)
}

// unwatch stops the watchdog and returns the duration of the operation.
func (q *queue) unwatch(begin time.Time) time.Duration {
	q.watchdog.Stop()
	q.busy.Lock()
	q.started = time.Time{}
	q.busy.Unlock()
	return time.Since(begin)
}

// expire declares a failure if the sink's operation has reached its deadline. Lines of that operation are not lost
// yet: the sink may still write them.
func (q *queue) expire() {
	q.busy.Lock()
	defer q.busy.Unlock()
	if !q.started.IsZero() && time.Since(q.started) >= q.timeout {
		q.fail(errTimeout, 0)
	}
}

// fail enters the failed state and releases all callers that wait. The events in the queue are lost, in addition to
// the given number of unwritten ones. It is called with busy locked.
func (q *queue) fail(cause error, unwritten int) {
	s := q.state.Load()
	first := s.failure.Swap(&failure{cause}) == nil
	q.lost.Add(uint64(unwritten))
	lost := unwritten + q.discard()
	q.observer.Failed(cause)
	if lost > 0 {
		q.observer.Lost(lost)
	}
	if first {
		close(s.failed)
	}
}

// recover ends the failed state. No event is sent meanwhile, so that each event is either lost or written.
func (q *queue) recover() {
	q.senders.Lock()
	lost := q.discard()
	q.state.Store(&state{failed: make(chan struct{})})
	q.senders.Unlock()
	if lost > 0 {
		q.observer.Lost(lost)
	}
	q.observer.Recovered()
}

// discard drops the events in the queue and returns their number.
func (q *queue) discard() int {
	for n := 0; ; n++ {
		select {
		case e, open := <-q.entries:
			if !open {
				return n
			}
			q.drop(e)
		default:
			return n
		}
	}
}

// drop counts an event as lost. Its caller is released by the state.
func (q *queue) drop(e *entry) {
	q.lost.Add(1)
	if !e.waiting {
		q.release(e)
	}
}

// reopen opens the sink again. A failure remains until a line is written.
func (q *queue) reopen() error {
	begin, deadline := q.watch()
	err := q.sink.reopen(deadline)
	q.unwatch(begin)
	return err
}

// requestReopen makes run open the sink again, and returns its result.
func (q *queue) requestReopen() error {
	q.senders.RLock()
	closed := q.closed
	q.senders.RUnlock()
	if closed {
		return errClosed
	}
	reply := make(chan error, 1)
	patience := time.NewTimer(2 * q.timeout)
	defer patience.Stop()
	select {
	case q.reopens <- reply:
	case <-q.ended:
		return errClosed
	case <-patience.C:
		return errTimeout
	}
	select {
	case err := <-reply:
		return err
	case <-patience.C:
		return errTimeout
	}
}

// close writes the events in the queue and closes the sink. It may be called more than once.
func (q *queue) close() error {
	patience := time.NewTimer(3 * q.timeout) // for the batch in progress, the queue, and the report of lost events
	defer patience.Stop()
	q.senders.Lock()
	if !q.closed {
		q.closed = true
		close(q.entries)
	}
	q.senders.Unlock()
	select {
	case <-q.ended:
	case <-patience.C:
		return &failure{errTimeout}
	}
	if f := q.failure(); f != nil {
		return f
	}
	return nil
}
