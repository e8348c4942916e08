package audit

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	probeMin   = 100 * time.Millisecond // until it is tried again after the first failure,
	probeMax   = 2 * time.Second        // and after many
	pendingMax = 1 << 20                // bytes of lines that wait; beyond, even those wait who need not
	spareMax   = 4                      // batches that are kept to be used again
)

// queue gathers lines into batches, which one goroutine writes: while it writes one, the next fills up, so that many who record at once share a
// write. The sink may hang; then a watchdog answers those who wait.
//
// Either all is well, or there is a failure: then nothing is taken any more but counted, and the goroutine tries from time to time to write one
// line that tells how much was lost. When that works all is well again.
type queue struct {
	sink     sink
	timeout  time.Duration // for writing a batch
	observer Observer
	failure  atomic.Pointer[failure] // why nothing can be written now, or nil; stored with mu locked

	wake     chan struct{} // there is something to do; holds one
	ended    chan struct{} // closed when run has returned
	watchdog *time.Timer

	mu      sync.Mutex   // guards what follows; nothing is called with it locked that may wait
	next    *batch       // gathers lines; empty while there is a failure
	current *batch       // is being written; nil for none
	since   time.Time    // when writing it began
	spare   []*batch     //
	seq     uint64       // of the last line
	lost    uint64       // events since the last line that told of them
	again   uint64       // the number of a line that told of them and was lost itself: the next one's, so that as many numbers are missing as events; or 0
	retry   time.Time    // when to try again after a failure
	reopens []chan error // those who want the sink to be opened anew
	closing bool
	last    bool // closing, the last try was made
}

// batch are lines that are written together.
type batch struct {
	buf   []byte
	codes []Code // one a line
	carry uint64 // lost events that the first line tells of,
	seq   uint64 // which has this number
	done  bool   // it is known what became of it
	err   error
	refs  int       // the queue, and those who wait for it
	over  sync.Cond // done has changed; its lock is the queue's
}

// ErrNotWritten is in every error about an event that is not in the log.
var ErrNotWritten = errors.New("audit: the log cannot be written")

var (
	errTimeout = errors.New("it took too long")
	errClosed  = errors.New("it is closed")
)

// failure is why nothing can be written.
type failure struct{ cause error }

func (f *failure) Error() string   { return ErrNotWritten.Error() + ": " + f.cause.Error() }
func (f *failure) Unwrap() []error { return []error{ErrNotWritten, f.cause} }

func newQueue(s sink, timeout time.Duration, observer Observer) *queue {
	q := &queue{sink: s, timeout: timeout, observer: observer, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	q.next = q.fresh()
	q.watchdog = time.AfterFunc(time.Hour, q.overdue)
	q.watchdog.Stop()
	return q
}

// start opens the sink and answers whether that worked.
func (q *queue) start() error {
	first := q.fresh()
	first.refs++
	go q.run(first)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.await(first)
}

// begin answers the batch that takes the next line, with the queue locked until end; or an error. With drop the line is given up if too many wait.
func (q *queue) begin(drop bool) (*batch, error) {
	q.mu.Lock()
	q.seq++
	var err error
	if f := q.failure.Load(); f != nil {
		err = f
	} else if q.closing {
		err = &failure{errClosed}
	} else if drop && len(q.next.buf) >= pendingMax {
		err = ErrNotWritten
	} else {
		return q.next, nil
	}
	q.lost++
	q.mu.Unlock()
	q.observer.Lost(1)
	return nil, err
}

// end takes the line that was appended to b.buf since begin. With wait it answers what became of it.
func (q *queue) end(b *batch, c Code, wait bool) error {
	defer q.mu.Unlock()
	b.codes = append(b.codes, c)
	if q.current == nil && len(b.codes) == 1 { // otherwise run looks anyhow
		q.nudge()
	}
	if !wait {
		return nil
	}
	b.refs++
	return q.await(b)
}

// await answers what became of b, and lets go of it. It is called with mu locked.
func (q *queue) await(b *batch) error {
	for !b.done {
		b.over.Wait()
	}
	err := b.err
	q.release(b)
	return err
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
}

// run writes batches until the queue is closed.
func (q *queue) run(first *batch) {
	defer close(q.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var backoff time.Duration
	for b := first; ; {
		if b != nil {
			if q.write(b) {
				backoff = 0
			} else {
				backoff = min(max(2*backoff, probeMin), probeMax)
			}
		}
		q.mu.Lock()
		if b != nil {
			q.retry = time.Now().Add(backoff)
		}
		asked := q.reopens
		q.reopens = nil
		if len(asked) > 0 {
			b = q.fresh()
		} else {
			b = q.take(time.Now())
		}
		closing := q.closing
		timer.Stop()
		if q.failure.Load() != nil {
			timer.Reset(time.Until(q.retry))
		}
		q.mu.Unlock()
		switch {
		case len(asked) > 0:
			err := q.reopen(b)
			for _, answer := range asked {
				answer <- err
			}
			b = nil
		case b != nil:
		case closing:
			if err := q.sink.close(); err != nil {
				q.observer.Troubled(err)
			}
			return
		default:
			select {
			case <-q.wake:
			case <-timer.C:
			}
		}
	}
}

// take answers what is to be written now, or nil. It is called with mu locked.
func (q *queue) take(now time.Time) *batch {
	b := q.next
	switch {
	case q.failure.Load() == nil:
		if len(b.codes) == 0 {
			q.tell(b)
		}
		if len(b.codes) == 0 {
			return nil
		}
	case q.closing:
		if q.last {
			return nil
		}
		q.last = true
		q.tell(b)
	case now.Before(q.retry):
		return nil
	default:
		q.tell(b)
	}
	q.next = q.fresh()
	if q.failure.Load() == nil {
		q.tell(q.next)
	}
	return b
}

// tell makes the first line of b say how many events were lost, if any were. It is called with mu locked.
func (q *queue) tell(b *batch) {
	if q.lost == 0 {
		return
	}
	e := Event{Code: AuditLost, Count: int64(q.lost), Detail: "there were too many at once"}
	if f := q.failure.Load(); f != nil {
		e.Detail = f.cause.Error()
	}
	if b.seq, q.again = q.again, 0; b.seq == 0 {
		q.seq++
		b.seq = q.seq
	}
	b.buf = appendEvent(b.buf, &e, b.seq, time.Now())
	b.codes = append(b.codes, AuditLost)
	b.carry, q.lost = q.lost, 0
}

// write writes b and reports whether that went well.
func (q *queue) write(b *batch) bool {
	deadline := q.watch(b)
	n, err := q.sink.write(b.buf, deadline)
	took := q.unwatch()
	if err == nil {
		n = len(b.codes)
	}
	if n > 0 {
		for _, c := range b.codes[:n] {
			q.observer.Written(c)
		}
		q.observer.Flushed(n, took)
	}
	q.finish(b, n, err)
	return err == nil
}

// reopen opens the sink anew. b has no lines; whether there is a failure stays as it is, unless it hangs.
func (q *queue) reopen(b *batch) error {
	deadline := q.watch(b)
	err := q.sink.reopen(deadline)
	q.unwatch()
	q.mu.Lock()
	q.current = nil
	q.settle(b, nil)
	q.retry = time.Time{} // at once
	q.mu.Unlock()
	return err
}

// watch begins to watch that b does not take too long, until the deadline that it returns.
func (q *queue) watch(b *batch) time.Time {
	q.mu.Lock()
	q.current, q.since = b, time.Now()
	deadline := q.since.Add(q.timeout)
	q.mu.Unlock()
	q.watchdog.Reset(q.timeout)
	return deadline
}

func (q *queue) unwatch() time.Duration {
	q.watchdog.Stop()
	return time.Since(q.since) // nobody else writes it
}

// finish draws the conclusions of having written the first n lines of b.
func (q *queue) finish(b *batch, n int, err error) {
	q.mu.Lock()
	q.current = nil
	lost, dropped, recovered := 0, (*batch)(nil), false
	if err != nil {
		lost = q.forget(b, n)
		var more int
		dropped, more = q.fail(err)
		lost += more
	} else if f := q.failure.Load(); f != nil {
		q.tell(q.next) // of what was lost while this one was being written
		q.failure.Store(nil)
		recovered = true
	}
	q.mu.Unlock()

	if err != nil {
		q.observer.Failed(err)
		if lost > 0 {
			q.observer.Lost(lost)
		}
	}
	if recovered {
		q.observer.Recovered()
	}

	q.mu.Lock()
	q.settle(b, q.whyNot(err))
	if dropped != nil {
		q.settle(dropped, q.whyNot(err))
	}
	q.mu.Unlock()
}

// overdue answers those who wait for a batch that is not written in time. Whether its lines are lost is known when the sink answers, if ever.
func (q *queue) overdue() {
	q.mu.Lock()
	b := q.current
	if b == nil || time.Since(q.since) < q.timeout { // it was another batch that took so long
		q.mu.Unlock()
		return
	}
	b.refs++
	dropped, lost := q.fail(errTimeout)
	q.mu.Unlock()

	q.observer.Failed(errTimeout)
	if lost > 0 {
		q.observer.Lost(lost)
	}

	q.mu.Lock()
	q.settle(b, q.whyNot(errTimeout))
	if dropped != nil {
		q.settle(dropped, q.whyNot(errTimeout))
	}
	q.mu.Unlock()
}

func (q *queue) whyNot(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

// fail notes that nothing can be written, and takes out the batch that was to come next, if it has lines: they are lost. It is called with mu locked.
func (q *queue) fail(err error) (dropped *batch, lost int) {
	q.failure.Store(&failure{err})
	if len(q.next.codes) == 0 {
		return nil, 0
	}
	dropped = q.next
	q.next = q.fresh()
	return dropped, q.forget(dropped, 0)
}

// forget counts what is lost of b, of which n lines are written, and answers how many events nobody counted before. It is called with mu locked.
func (q *queue) forget(b *batch, n int) int {
	lost := len(b.codes) - n
	if b.carry > 0 && n == 0 {
		lost-- // the line that tells of others
		q.lost += b.carry
		q.again = b.seq
	}
	q.lost += uint64(lost)
	return lost
}

// settle says what became of b, unless that was said before, and lets go of it. It is called with mu locked.
func (q *queue) settle(b *batch, err error) {
	if !b.done {
		b.done, b.err = true, err
		b.over.Broadcast()
	}
	q.release(b)
}

// fresh answers an empty batch. It is called with mu locked, or before anybody else has the queue.
func (q *queue) fresh() *batch {
	n := len(q.spare)
	if n == 0 {
		return &batch{refs: 1, over: sync.Cond{L: &q.mu}}
	}
	b := q.spare[n-1]
	q.spare = q.spare[:n-1]
	b.refs = 1
	return b
}

// release lets go of b, which is used again after the last one has. It is called with mu locked.
func (q *queue) release(b *batch) {
	b.refs--
	if b.refs == 0 && len(q.spare) < spareMax && cap(b.buf) <= pendingMax {
		b.buf, b.codes, b.carry, b.done, b.err = b.buf[:0], b.codes[:0], 0, false, nil
		q.spare = append(q.spare, b)
	}
}

// reopenNow opens the sink anew and answers whether that worked.
func (q *queue) reopenNow() error {
	answer := make(chan error, 1)
	q.mu.Lock()
	if q.closing {
		q.mu.Unlock()
		return errClosed
	}
	q.reopens = append(q.reopens, answer)
	q.mu.Unlock()
	q.nudge()
	patience := time.NewTimer(2 * q.timeout)
	defer patience.Stop()
	select {
	case err := <-answer:
		return err
	case <-patience.C:
		return errTimeout
	}
}

// close writes what waits and closes the sink. It may be called again.
func (q *queue) close() error {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.nudge()
	patience := time.NewTimer(3 * q.timeout) // for what is being written, for what waits, and for what was lost
	defer patience.Stop()
	select {
	case <-q.ended:
	case <-patience.C:
		return &failure{errTimeout}
	}
	if f := q.failure.Load(); f != nil {
		return f
	}
	return nil
}
